"""What the flags of tool.evaluate choose, and which contradict each other."""

from typing import Dict

from compat import UserError, unknown_name
from compat.options import check

from engine.evaluation.scorecard import ScoreOptions
from engine.protocols import STANDARD_PROTOCOLS
from engine.recipe import Protocol, Recipe
from engine.runtime import exported_folder

NEEDED = {  # flags that mean nothing without another one
    "scales": ("flip_horizontal", "flip_vertical", "is_slide"),
    "compare": ("compare_config",),
    "engine": ("precision",),
}


def check_flags(arguments) -> None:
    """Raise UserError for a flag that has no effect beside the others, and for one file of two contents."""
    for other, flags in NEEDED.items():
        for flag in flags:
            if getattr(arguments, flag) and not getattr(arguments, other):
                raise UserError(f"--{flag}: has no effect without --{other}; add that flag, or leave this one out")
    if arguments.engine and arguments.align_corners:
        raise UserError("--align_corners: --engine resizes as every deployed network does; leave one of them out")
    if arguments.engine and arguments.detail:
        raise UserError("--detail: --engine scores deployed class maps, which hold no details; leave one of them out")
    if (
        arguments.compare
        and arguments.engine not in (None, "eager")
        and not any(map(exported_folder, arguments.compare))
    ):
        raise UserError(
            f"--engine {arguments.engine}: neither {' nor '.join(arguments.compare)} is an exported network; two "
            "checkpoints are scored as they are deployed with --engine eager"
        )
    if arguments.json and arguments.csv and arguments.json.resolve() == arguments.csv.resolve():
        raise UserError(f"--json and --csv: both would write {arguments.json}; name two files")


def chosen_protocols(arguments, recipe: Recipe) -> Dict[str, Protocol]:
    """The protocols that the flags choose; by default all of the recipe.

    Raises:
        UserError: for a name that is neither in the recipe nor in STANDARD_PROTOCOLS, and for --crop_size or --stride
            if no protocol has a sliding window.
    """
    window = {flag: getattr(arguments, flag) for flag in ("crop_size", "stride") if getattr(arguments, flag)}
    if arguments.scales:
        flags = ("scales", "flip_horizontal", "flip_vertical", "is_slide")
        protocols = {
            "command line": check(
                Protocol, {**{flag: getattr(arguments, flag) for flag in flags}, **window}, "command line"
            )
        }
    elif arguments.protocols:
        known = {**STANDARD_PROTOCOLS, **recipe.test_config}
        names = list(STANDARD_PROTOCOLS) if arguments.protocols == ["all"] else arguments.protocols
        unknown = [name for name in names if name not in known]
        if unknown:
            raise unknown_name("--protocols", unknown[0], known)
        protocols = {name: known[name] for name in names}
    else:
        protocols = dict(recipe.test_config)
    if window:
        if not any(protocol.is_slide for protocol in protocols.values()):
            flags = " and ".join(f"--{flag}" for flag in window)
            raise UserError(f"{flags}: no protocol has a sliding window; choose --protocols sliding_window")
        protocols = {
            name: check(Protocol, {**dict(protocol), **window}, name) if protocol.is_slide else protocol
            for name, protocol in protocols.items()
        }
    if arguments.align_corners:
        protocols = {name: p.model_copy(update={"align_corners": True}) for name, p in protocols.items()}
    return protocols


def score_options(arguments, recipe: Recipe) -> ScoreOptions:
    """The options of the scores that the flags choose; the detail target is that of the recipe's loss."""
    terms = [term for terms in recipe.loss.values() for term in terms]
    return ScoreOptions(
        absent=arguments.absent,
        bootstrap=arguments.bootstrap,
        boundary_widths=tuple(arguments.boundary_widths),
        details=arguments.detail,
        ignored_as_label=any(getattr(term, "ignored_as_label", False) for term in terms),
    )
