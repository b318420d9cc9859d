"""Evaluate a network on the validation split of a recipe: every protocol in one table, then the classes of each.

--report writes it as a page to look at, with the worst and the best images. --compare evaluates two networks under the
first protocol, and tests whether they differ. --engine evaluates the class maps that ship: those of tool.predict and of
what tool.export wrote; without it a network is evaluated by PaddleSeg's protocols, to the last pixel. --calibrate fits
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
from engine.parallel import gather, join_devices, launched_devices, only_the_first_speaks, shard
from engine.protocols import STANDARD_PROTOCOLS, deployed_scale, describe, first_protocol
from engine.recipe import Protocol, Recipe, load_recipe
from engine.resilience.checkpoint import prepare_save_dir
from engine.runtime import ENGINES, EXPORTED_ENGINES, PRECISIONS, EagerNetwork, Network, open_network
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
from tool.evaluation.exported import drop_table, is_exported
from tool.evaluation.report.gathered import Gathered
from tool.evaluation.report.page import write_report
from tool.evaluation.score_table import as_csv, as_dict, class_table, protocol_table


def main(argv: Optional[Sequence[str]] = None) -> None:
    arguments = _parser().parse_args(argv)
    choose_device(arguments.device)
    devices = join_devices()
    only_the_first_speaks(devices)
    check_writable(arguments.json, arguments.csv)
    if arguments.report:
        prepare_save_dir(arguments.report)
    if arguments.compare:
        subjects = [open_subject(arguments, *one) for one in compared_recipes(arguments)]
        check_same_images(*subjects)
        networks = [evaluate_subject(arguments, subject) for subject in subjects]
        comparison = compare_networks(*networks)
        tables = [comparison_table(comparison, networks[0].card)]
        print(f"\nA: {networks[0].describe()}\nB: {networks[1].describe()}\n\n{table_text(tables[0])}")
    else:
        networks = [
            evaluate_subject(arguments, open_subject(arguments, arguments.model_path, arguments.config, arguments.opts))
        ]
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


def compared_recipes(arguments) -> List[Tuple[str, str, Sequence[str]]]:
    """(path, recipe file, overrides) of A and of B: those of the flags, or without --config those that names bring."""
    first, second = arguments.compare
    recipe, typed = (arguments.config, arguments.opts), arguments.typed_opts
    if typed is None:  # --config is given, and there are no overrides but the typed ones
        other = (arguments.compare_config or arguments.config, arguments.opts)
    elif arguments.compare_config:
        other = (arguments.compare_config, typed)
    else:
        named = recipe_of_weights(second)
        other = (named[0], [*named[1], *typed]) if named else recipe
    return [(first, *recipe), (second, *other)]


def open_subject(arguments, path: str, config: str, opts: Sequence[str]) -> Subject:
    """The network of a recipe with the weights of `path`, its images, and how it is to be evaluated."""
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
    """The recipe's network with the weights of `path`; with --engine as it is deployed."""
    exported = is_exported(path)
    if exported and not arguments.engine:
        raise UserError(f"{path}: an exported network; say what computes it: --engine {'|'.join(EXPORTED_ENGINES)}")
    # Of two networks, one may be a checkpoint: the engine is the other's.
    if arguments.engine and (exported or not arguments.compare):
        network = open_network(recipe, dataset.num_classes, path, arguments.engine, arguments.precision)
        if network.size:
            size = "x".join(map(str, network.size[::-1]))
            logger.warning("%s: fixed to %s: it sees images at this size, whatever scale a protocol names", path, size)
        return network
    model = network_of(recipe, dataset.num_classes, weights=False)
    load_weights(model, weight_file(path))
    return model


def evaluate_subject(arguments, subject: Subject) -> Evaluated:
    """Every score, and what a comparison or a report needs of each image; processes share the images."""
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
    """The temperature of a network as it is deployed under the first protocol; see engine.evaluation.calibration."""
    network, normalize = subject.model, subject.dataset.transform.normalize
    if not isinstance(network, Network):
        network = EagerNetwork(network, subject.dataset.num_classes, normalize)
    return calibrate(network, subject.dataset, deployed_scale(*first_protocol(subject.protocols)), progress=True)


def print_scores(network: Evaluated) -> None:
    """The table of the protocols, and the classes of each."""
    protocols = network.subject.protocols
    print(f"\n{network.describe()}\n\n{protocol_table(network.cards, protocols)}")
    for name, card in network.cards.items():
        print(f"\n{name}: {describe(protocols[name])}\n{class_table(card)}")


def chosen_protocols(arguments, recipe: Recipe) -> Dict[str, Protocol]:
    """The protocols that the command's flags ask for; by default the recipe's.

    Raises:
        UserError: for a name that neither the recipe nor the field's list has.
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
        protocols = {
            name: check(Protocol, {**dict(protocol), **window}, name) if protocol.is_slide else protocol
            for name, protocol in protocols.items()
        }
    if arguments.align_corners:
        protocols = {name: p.model_copy(update={"align_corners": True}) for name, p in protocols.items()}
    return protocols


def score_options(arguments, recipe: Recipe) -> ScoreOptions:
    """What the command's flags ask to be counted; the detail target is that of the recipe's loss."""
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
        "--model_path", help="weight file, name of weights, folder of a checkpoint, or with --engine of an export"
    )
    which.add_argument("--compare", nargs=2, metavar=("A", "B"), help="two of these: test whether they differ")
    add("--compare_config", metavar="F", help="recipe of B, where it is another than A's")
    add("--engine", choices=ENGINES, help="evaluate class maps as this engine makes them of each image")
    add("--precision", choices=PRECISIONS, help="with --engine; by default that of the file, or fp32")
    add("--report", metavar="DIR", help="write DIR/report.html, a page with everything and the worst and best images")
    add(
        "--protocols",
        nargs="+",
        metavar="NAME",
        help=f"instead of all of the recipe's: some of them or of {', '.join(STANDARD_PROTOCOLS)}; `all` for these",
    )
    add("--scales", nargs="+", type=real_number(0.01, 16), help="scales to average over, instead of named protocols")
    add("--flip_horizontal", action="store_true", help="with --scales: average with the mirrored image")
    add("--flip_vertical", action="store_true", help="with --scales: average with the image upside down")
    add("--is_slide", action="store_true", help="with --scales: sliding window")
    add("--crop_size", nargs=2, type=SIDE, metavar=("W", "H"), help="of sliding windows")
    add("--stride", nargs=2, type=SIDE, metavar=("W", "H"), help="of sliding windows")
    add("--align_corners", action="store_true", help="resize images and logits as the original STDC-Seg does")
    add("--absent", choices=tuple(ABSENT), default="zero", help="IoU of a class that does not occur; nan: no IoU")
    add("--boundary_widths", nargs="+", type=SIDE, default=[], metavar="D", help="boundary scores, D pixels wide")
    add("--detail", action="store_true", help="also score the detail head against its target")
    add("--calibrate", action="store_true", help="fit the temperature of the confidence, and say what it is worth")
    add(
        "--bootstrap",
        type=whole_number(0, 10**6),
        default=1000,
        metavar="N",
        help="replicates for the interval of the mean IoU",
    )
    add("--json", type=Path, metavar="F", help="write all figures and the confusion matrices to F")
    add("--csv", type=Path, metavar="F", help="write all figures to F, one a line")
    add("--num_workers", type=WORKERS, default=0, help="loader processes")
    return arguments


if __name__ == "__main__":
    run(main)
