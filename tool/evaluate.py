"""Evaluate a network on the validation split of a recipe: one table of all protocols, then the classes under each.

--report writes an HTML page with the scores and the worst and best images. --compare evaluates two networks under the
first protocol and tests whether they differ. --engine evaluates the class maps that are deployed, those of tool.predict
and of an exported network; without it, results equal those of PaddleSeg's evaluation pixel by pixel. --calibrate fits
the temperature of the confidence. Under Paddle's launcher the processes share the images:
PYTHONPATH=. python -m paddle.distributed.launch tool/evaluate.py ...
"""

import functools
import operator
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple, Union

from compat import UserError, check_writable, logger, unknown_name, write_json, write_text
from compat.options import check

import paddle
from paddle import nn

from data import SegmentationDataset
from engine.build import dataset_of, network_of, weight_file
from engine.command import (
    SIDE,
    WORKERS,
    add_recipe_flags,
    choose_device,
    dataset_overrides,
    parser,
    real_number,
    run,
    whole_number,
)
from engine.evaluation.calibration import Calibration, calibrate
from engine.evaluation.comparison import Comparison
from engine.evaluation.metrics import ABSENT
from engine.evaluation.scorecard import ScoreOptions, score_protocols
from engine.parallel import gather, join_devices, launched_devices, shard, silence_other_ranks
from engine.protocols import STANDARD_PROTOCOLS, deployed_scale, describe, first_protocol
from engine.recipe import Protocol, Recipe, load_recipe
from engine.resilience.checkpoint import prepare_save_dir
from engine.runtime import (
    ENGINES,
    EXPORTED_ENGINES,
    PRECISIONS,
    EagerNetwork,
    Network,
    exported_folder,
    open_network,
)
from engine.weights import recipe_of_weights
from models.weights import load_weights
from tool.evaluation.build_report import build_report
from tool.evaluation.comparison import (
    Evaluated,
    Subject,
    check_same_images,
    compare_networks,
    comparison_rows,
    comparison_table,
    table_text,
)
from tool.evaluation.exported import drop_table
from tool.evaluation.report.gathered import Gathered
from tool.evaluation.report.page import write_report
from tool.evaluation.score_table import as_csv, as_dict, class_table, protocol_table

NEEDED = {  # flags that mean nothing without another one
    "scales": ("flip_horizontal", "flip_vertical", "is_slide"),
    "compare": ("compare_config",),
    "engine": ("precision",),
}


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Evaluate one network or compare two, print the tables, and write the files that the flags ask for.

    Raises:
        UserError: before the evaluation, for flags, files or networks that do not fit together.
    """
    arguments = _parser().parse_args(argv)
    check_flags(arguments)
    choose_device(arguments.device)
    devices = join_devices()
    silence_other_ranks(devices)
    check_writable(arguments.json, arguments.csv)
    if arguments.report:
        prepare_save_dir(arguments.report)
    if arguments.compare:
        subjects = [open_subject(arguments, *one) for one in compared_recipes(arguments)]
        check_same_images(*subjects)
        check_calibration(arguments, subjects[0])
        networks = [evaluate_subject(arguments, subject) for subject in subjects]
        comparison = compare_networks(*networks)
        tables = [comparison_table(comparison, networks[0].card)]
        print(f"\nA: {networks[0].describe()}\nB: {networks[1].describe()}\n\n{table_text(tables[0])}")
    else:
        subject = open_subject(arguments, arguments.model_path, arguments.config, arguments.opts)
        check_calibration(arguments, subject)
        networks = [evaluate_subject(arguments, subject)]
        print_scores(networks[0])
        if arguments.engine:
            print(f"\n{drop_table(networks[0], lambda subject: evaluate_subject(arguments, subject))}")
        comparison, tables = None, []
    if devices.rank > 0:
        return
    first = networks[0]
    calibration = calibrate_subject(first.subject) if arguments.calibrate else None
    if calibration:
        print(f"\n{calibration}")
    if arguments.json:
        write_json(
            arguments.json, as_dict(first.cards, first.subject.protocols, _about(networks, comparison, calibration))
        )
    if arguments.csv:
        write_text(arguments.csv, as_csv(first.cards))
    if arguments.report:
        print(f"report: {write_report(arguments.report, build_report(networks, tables))}")


def check_flags(arguments) -> None:
    """Raise UserError for a flag without effect, as another one is missing, and for one file of two contents."""
    for other, flags in NEEDED.items():
        for flag in flags:
            if getattr(arguments, flag) and not getattr(arguments, other):
                raise UserError(f"--{flag}: has no effect without --{other}; add that flag, or leave this one out")
    if arguments.json and arguments.csv and arguments.json.resolve() == arguments.csv.resolve():
        raise UserError(f"--json and --csv: both would write {arguments.json}; name two files")


def check_calibration(arguments, subject: Subject) -> None:
    """Raise UserError if --calibrate is given for a network or a first protocol that has no temperature to fit."""
    if not arguments.calibrate:
        return
    deployed_scale(*first_protocol(subject.protocols))
    if isinstance(subject.model, Network) and not subject.model.gives_logits:
        raise UserError(f"--calibrate: {subject.path} returns no logits; export it with --output_op none")


def compared_recipes(arguments) -> List[Tuple[str, str, Sequence[str]]]:
    """(path, recipe file, overrides) of A and B: from the flags, or without --config from the named weights."""
    first, second = arguments.compare
    recipe, typed = (arguments.config, arguments.opts), arguments.typed_opts
    if typed is None:  # --config is given, so all overrides come from --opts
        other = (arguments.compare_config or arguments.config, arguments.opts)
    elif arguments.compare_config:
        other = (arguments.compare_config, typed)
    else:
        named = recipe_of_weights(second)
        other = (named[0], [*named[1], *typed]) if named else recipe
    return [(first, *recipe), (second, *other)]


def open_subject(arguments, path: str, config: str, opts: Sequence[str]) -> Subject:
    """The network of recipe `config` with the weights of `path`, its validation images and its protocols."""
    recipe = load_recipe(config, dataset_overrides(arguments.dataset_root), opts)
    protocols = chosen_protocols(arguments, recipe)
    if arguments.compare:
        protocols = dict(list(protocols.items())[:1])
    dataset = dataset_of(recipe.val_dataset)
    model = open_model(arguments, path, recipe, dataset)
    outputs = () if isinstance(model, Network) else model.output_names
    if arguments.detail and not any(name.startswith("detail") for name in outputs):
        raise UserError(f"--detail: the network {recipe.model.type} has no detail head; leave the flag out")
    return Subject(path, config, recipe, dataset, model, protocols)


def open_model(arguments, path: str, recipe: Recipe, dataset: SegmentationDataset) -> Union[nn.Layer, Network]:
    """The recipe's network with the weights of `path`; with --engine, the network as it is deployed."""
    exported = exported_folder(path) is not None
    if exported and not arguments.engine:
        raise UserError(f"{path}: is an exported network; choose its engine: --engine {'|'.join(EXPORTED_ENGINES)}")
    # When a checkpoint is compared with an exported network, --engine is for the exported one.
    if arguments.engine and (exported or not arguments.compare):
        network = open_network(recipe, dataset.num_classes, path, arguments.engine, arguments.precision)
        if network.size:
            size = "x".join(map(str, network.size[::-1]))
            logger.warning("%s: has a fixed input size of %s; the scales of the protocols are ignored", path, size)
        return network
    model = network_of(recipe, dataset.num_classes, weights=False)
    load_weights(model, weight_file(path))
    return model


def evaluate_subject(arguments, subject: Subject) -> Evaluated:
    """All scores, and the results of each image that a comparison or a report needs; processes share the images."""
    devices = launched_devices()
    gathered = Gathered(subject.dataset, views=bool(arguments.report))
    name = next(iter(subject.protocols))
    cards = score_protocols(
        subject.model,
        subject.dataset,
        subject.protocols,
        score_options(arguments, subject.recipe),
        arguments.num_workers,
        progress=devices.rank == 0,
        on_image=(lambda results: gathered.add(results[name])) if arguments.report or arguments.compare else None,
        indices=shard(len(subject.dataset), devices),
    )
    parts = gather((cards, gathered.results), devices)
    gathered.take(results for _, results in parts)
    cards = {name: functools.reduce(operator.add, (part[name] for part, _ in parts)) for name in cards}
    return Evaluated(subject, cards, gathered)


def calibrate_subject(subject: Subject) -> Calibration:
    """Fit the temperature of a network as deployed under the first protocol; see engine.evaluation.calibration."""
    network, normalize = subject.model, subject.dataset.transform.normalize
    if not isinstance(network, Network):
        network = EagerNetwork(network, subject.dataset.num_classes, normalize)
    return calibrate(network, subject.dataset, deployed_scale(*first_protocol(subject.protocols)), progress=True)


def print_scores(network: Evaluated) -> None:
    """Print the table of the protocols, and the table of the classes under each."""
    protocols = network.subject.protocols
    print(f"\n{network.describe()}\n\n{protocol_table(network.cards, protocols)}")
    for name, card in network.cards.items():
        print(f"\n{name}: {describe(protocols[name])}\n{class_table(card)}")


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


def _about(networks: Sequence[Evaluated], comparison: Optional[Comparison], calibration: Optional[Calibration]) -> dict:
    first = networks[0].subject
    about = {
        "config": first.config,
        "model_path": first.path,
        "dataset_root": first.recipe.val_dataset.dataset_root,
        "paddle": paddle.__version__,
        "device": paddle.get_device(),
    }
    if comparison:
        other = networks[1].subject
        rows = comparison_rows(comparison, networks[0].card)
        about["compared_with"] = {"config": other.config, "model_path": other.path, "rows": rows}
    if calibration:
        about["calibration"] = calibration._asdict()
    return about


def _parser():
    arguments = parser(
        __doc__,
        "python -m tool.evaluate --config configs/stdc1_seg_sample.yml --model_path output/best_model --protocols all",
    )
    add_recipe_flags(arguments, weights=("model_path", "compare"))
    add = arguments.add_argument
    which = arguments.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--model_path", help="weight file, name of weights, or folder of a checkpoint; with --engine also of an export"
    )
    which.add_argument("--compare", nargs=2, metavar=("A", "B"), help="test whether two such networks differ")
    add("--compare_config", metavar="F", help="recipe of B, if it differs from that of A")
    add("--engine", choices=ENGINES, help="evaluate the deployed class maps, computed by this engine")
    add("--precision", choices=PRECISIONS, help="with --engine: by default that of the file, or fp32")
    add("--report", metavar="DIR", help="write DIR/report.html: all scores, and the worst and best images")
    chosen = arguments.add_mutually_exclusive_group()
    chosen.add_argument(
        "--protocols",
        nargs="+",
        metavar="NAME",
        help=f"some of the recipe's, or of {', '.join(STANDARD_PROTOCOLS)} (`all` for all of these); by default all of "
        "the recipe's",
    )
    chosen.add_argument(
        "--scales", nargs="+", type=real_number(0.01, 16), help="scales to average over, instead of named protocols"
    )
    add("--flip_horizontal", action="store_true", help="with --scales: average with the mirrored image")
    add("--flip_vertical", action="store_true", help="with --scales: average with the image upside down")
    add("--is_slide", action="store_true", help="with --scales: predict in sliding windows")
    add("--crop_size", nargs=2, type=SIDE, metavar=("W", "H"), help="of sliding windows")
    add("--stride", nargs=2, type=SIDE, metavar=("W", "H"), help="of sliding windows")
    add("--align_corners", action="store_true", help="resize images and logits as the original STDC-Seg does")
    add("--absent", choices=tuple(ABSENT), default="zero", help="IoU of a class that does not occur (zero); nan: none")
    add(
        "--boundary_widths",
        nargs="+",
        type=SIDE,
        default=[],
        metavar="D",
        help="also score boundaries that are D pixels wide",
    )
    add("--detail", action="store_true", help="also score the detail head against its target")
    add("--calibrate", action="store_true", help="fit the temperature of the confidence, and measure its effect")
    add(
        "--bootstrap",
        type=whole_number(0, 10**6),
        default=1000,
        metavar="N",
        help="bootstrap replicates for the interval of the mean IoU (1000)",
    )
    add("--json", type=Path, metavar="F", help="write all figures and the confusion matrices to F")
    add("--csv", type=Path, metavar="F", help="write all figures to F, one per line")
    add("--num_workers", type=WORKERS, default=0, help="loader processes")
    return arguments


if __name__ == "__main__":
    run(main)
