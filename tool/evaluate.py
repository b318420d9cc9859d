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
from typing import List, Optional, Sequence, Tuple, Union

from compat import UserError, check_writable, logger, write_json, write_text

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
from engine.evaluation.scorecard import score_protocols
from engine.parallel import gather, join_devices, launched_devices, shard, silence_other_ranks
from engine.protocols import STANDARD_PROTOCOLS, deployed_scale, describe, first_protocol
from engine.recipe import Recipe, load_recipe
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
from tool.evaluation.flags import check_flags, chosen_protocols, score_options
from tool.evaluation.report.gathered import Gathered
from tool.evaluation.report.page import write_report
from tool.evaluation.score_table import as_csv, as_dict, class_table, protocol_table


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
        prepare_save_dir(arguments.report, "--report")
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
    if isinstance(model, Network):  # resizes in one way alone, whatever the recipe says
        protocols = {name: one.model_copy(update={"align_corners": False}) for name, one in protocols.items()}
    elif arguments.detail and not any(name.startswith("detail") for name in model.output_names):
        raise UserError(f"--detail: the network {recipe.model.type} has no detail head; leave the flag out")
    return Subject(path, config, recipe, dataset, model, protocols)


def open_model(arguments, path: str, recipe: Recipe, dataset: SegmentationDataset) -> Union[nn.Layer, Network]:
    """The recipe's network with the weights of `path`; with --engine, the network as it is deployed.

    When a checkpoint is compared with an exported network, --engine is for the exported one, and the checkpoint is
    scored by the same rules in eager mode.
    """
    engine, precision = arguments.engine, arguments.precision
    exported = exported_folder(path) is not None
    if exported and not engine:
        raise UserError(f"{path}: is an exported network; choose its engine: --engine {'|'.join(EXPORTED_ENGINES)}")
    if not engine:
        model = network_of(recipe, dataset.num_classes, weights=False)
        load_weights(model, weight_file(path))
        return model
    if arguments.compare and not exported and engine != "eager":
        engine, precision = "eager", None
    network = open_network(recipe, dataset.num_classes, path, engine, precision)
    if network.size:
        size = "x".join(map(str, network.size[::-1]))
        logger.warning("%s: has a fixed input size of %s; the scales of the protocols are ignored", path, size)
    return network


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


def _about(networks: Sequence[Evaluated], comparison: Optional[Comparison], calibration: Optional[Calibration]) -> dict:
    first = networks[0].subject
    about = {
        "config": first.config,
        "model_path": first.path,
        "scored": first.way,
        "dataset_root": first.recipe.val_dataset.dataset_root,
        "paddle": paddle.__version__,
        "device": paddle.get_device(),
    }
    if comparison:
        other = networks[1].subject
        rows = comparison_rows(comparison, networks[0].card)
        about["compared_with"] = {
            "config": other.config,
            "model_path": other.path,
            "scored": other.way,
            "rows": rows,
        }
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
