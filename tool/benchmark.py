"""Compare all formats of a network, each engine in each precision that is installed here, and recommend one.

The network is exported for every engine, quantised with images of the training split, evaluated on the validation
split as it is deployed, and timed from a uint8 image to its class map, one image at a time, all formats in alternation.
Memory is measured in a separate process that loads and runs the network. The recommendation respects --at_least_miou
and --at_most_ms, with status 1 if no format does; without these flags it is the fastest format within 0.5 points of the
mIoU of float32, or of the best if float32 was not measured. A format that does not work here stays in the table, with
the reason.

Writes benchmark.md, .csv, .json and .svg (mIoU against latency) into --save_dir, and the exported networks beside them.
"""

from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from compat import UserError, write_json, write_text
from compat.processor import physical_cores

import numpy as np
import paddle

from engine.build import dataset_of
from engine.command import (
    add_recipe_flags,
    choose_device,
    dataset_overrides,
    image_size,
    parser,
    real_number,
    run,
    whole_number,
)
from engine.export.folder import remove_drafts
from engine.protocols import first_protocol
from engine.recipe import load_recipe
from engine.resilience.checkpoint import prepare_save_dir
from engine.resilience.folder_lock import FolderLock
from engine.runtime import EXPORTED_ENGINES, PRECISIONS, Description, exported_folder, read_description
from engine.runtime.segmenter import scaled_size
from tool.benchmarking.choice import Budget, choose, reference
from tool.benchmarking.formats import COMBINATIONS, Source, exported_folders, wanted_formats
from tool.benchmarking.measurement import Measurement
from tool.benchmarking.plot import Point, draw
from tool.benchmarking.run import Exports, Subject, make_formats, measure
from tool.benchmarking.tables import Report, as_csv, as_dict, as_markdown, as_text
from tool.speed.clock import timed_runs
from tool.speed.hardware import processor_name
from tool.speed.provenance import portable_path, provenance

NAME = "benchmark"


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Export, evaluate and time the formats, write the report, and print the recommendation.

    Raises:
        UserError: for wrong flags or files, and after the report is written if no format meets the budget.
    """
    arguments = _parser().parse_args(argv)
    choose_device(arguments.device)
    exported = exported_folder(arguments.model_path)
    subject = subject_of(arguments, exported and read_description(exported))
    wanted = wanted_formats(arguments.engines or default_engines(exported), arguments.precisions)
    folder = prepare_save_dir(arguments.save_dir)
    with FolderLock(folder):
        if exported:
            exports = Exports(exported_folders(exported), {})
        else:
            where = folder / "exported"
            remove_drafts(where)
            exports = make_formats(subject, wanted, where, arguments.calibration_images, arguments.max_drop)
        rows = measure(subject, wanted, exports, arguments.runs, arguments.device)
        report = report_of(rows, subject, arguments)
        write(report, folder)
    print(f"\n{as_text(report)}")
    if report.choice.row is None:
        raise UserError(report.choice.sentence)
    print(f"{report.choice.sentence}\n{folder}: {NAME}.md, {NAME}.csv, {NAME}.json, {NAME}.svg")


def default_engines(exported: Optional[Path]) -> List[str]:
    """All engines that may run here; for an exported network, those that it was exported for."""
    engines = ["eager", *EXPORTED_ENGINES, *(["tensorrt"] if paddle.device.get_device().startswith("gpu") else [])]
    return [engine for engine in engines if engine in exported_folders(exported)] if exported else engines


def subject_of(arguments, description: Optional[Description]) -> Subject:
    """The network, and the images that it is evaluated on.

    The input size is that of the export, else --size, else that of the first image at the recipe's scale.

    Raises:
        UserError: for a wrong recipe or dataset, and for an export that does not fit them or takes batches.
    """
    overrides = dataset_overrides(arguments.dataset_root)
    recipe = load_recipe(arguments.config, overrides, arguments.opts)
    dataset = dataset_of(recipe.val_dataset)
    indices = range(len(dataset))
    if arguments.images:
        indices = np.unique(np.linspace(0, len(dataset) - 1, arguments.images).astype(int)).tolist()
    source = Source(
        arguments.config, overrides, arguments.opts, arguments.model_path, size=(0, 0), threads=arguments.threads
    )
    subject = Subject(source, recipe, dataset, indices)
    size = arguments.size[::-1] if arguments.size else scaled_size(dataset.read_image(0).shape[:2], subject.scale)
    if description:
        if description.num_classes != dataset.num_classes:
            raise UserError(
                f"{arguments.model_path}: exported for {description.num_classes} classes, the recipe's dataset has "
                f"{dataset.num_classes}; name the recipe that it was exported with"
            )
        if arguments.size or (description.batch or 1) > 1:
            if arguments.size:
                reason = "is an exported network, whose size is fixed; leave --size out"
            else:
                reason = f"was exported for batches of {description.batch}, not for single images; export it again"
            raise UserError(f"{arguments.model_path}: {reason}, or name the weights")
        size = description.size or size
    return subject._replace(source=source._replace(size=size))


def report_of(rows: Sequence[Measurement], subject: Subject, arguments) -> Report:
    """The report of all measurements, with the recommended format."""
    budget = Budget(arguments.at_least_miou, arguments.at_most_ms)
    float32 = reference(rows)
    choice = choose(rows, budget)
    drop = f"drop against {float32.name}" if float32 else "without a drop, as float32 was not measured"
    height, width = subject.source.size
    summary = (
        f"{subject.recipe.model.type}, images of {width}x{height}; mIoU in percent on {len(subject.indices)} of "
        f"{len(subject.dataset)} images of the validation split as deployed, "
        f"{drop}; medians of {timed_runs(arguments.runs)} alternating runs on "
        f"{processor_name()}, {arguments.threads} thread{'s' * (arguments.threads > 1)}"
    )
    about: Dict[str, Any] = {
        "network": subject.recipe.model.type,
        "config": portable_path(arguments.config),
        "model_path": portable_path(arguments.model_path),
        "protocol": first_protocol(subject.recipe.test_config)[0],
        "images": len(subject.indices),
        "size": [width, height],
        "device": paddle.device.get_device(),
        "threads": arguments.threads,
        "budget": {"at_least_miou": budget.at_least_miou, "at_most_ms": budget.at_most_ms},
        "measured": provenance(arguments.threads),
    }
    return Report(about, summary, rows, choice)


def write(report: Report, folder: Path) -> None:
    """Write the report as Markdown, CSV, JSON and plot; raises UserError if a file cannot be written."""
    write_text(folder / f"{NAME}.md", as_markdown(report))
    write_text(folder / f"{NAME}.csv", as_csv(report))
    write_json(folder / f"{NAME}.json", as_dict(report))
    points = {
        row.name: Point(row.engine, row.precision, row.milliseconds, row.miou) for row in report.rows if row.measured
    }
    chosen = [points[report.choice.row.name]] if report.choice.row else []
    draw(list(points.values()), folder / f"{NAME}.svg", report.about["network"], chosen)


def _parser():
    arguments = parser(
        __doc__,
        "python -m tool.benchmark --config configs/stdc1_seg_sample.yml --model_path output/best_model "
        "--at_least_miou 60",
    )
    add_recipe_flags(arguments, weights=("model_path",))
    add = arguments.add_argument
    add("--model_path", required=True, help="weight file, name of weights, folder of a checkpoint, or export")
    add(
        "--save_dir",
        default="output/benchmark",
        help="folder of the tables, the plot and the exports (output/benchmark)",
    )
    add("--engines", nargs="+", choices=COMBINATIONS, help="by default all; tensorrt only on a GPU")
    add("--precisions", nargs="+", choices=PRECISIONS, default=["fp32", "bf16", "int8"], help="fp32 bf16 int8")
    add("--size", type=image_size, metavar="WxH", help="input size of the exports; by default that of the first image")
    add("--images", type=whole_number(1, 10**6), metavar="N", help="validation images to evaluate; by default all")
    add(
        "--runs",
        type=whole_number(1, 10**6),
        default=30,
        metavar="N",
        help="timed runs of each format, rounded up to a multiple of 3 (30)",
    )
    add(
        "--threads",
        type=whole_number(1, 1024),
        default=physical_cores(),
        help="of the engines; eager uses OMP_NUM_THREADS",
    )
    add(
        "--calibration_images",
        type=whole_number(1, 10**6),
        default=100,
        metavar="N",
        help="training images for int8 (100)",
    )
    add(
        "--max_drop",
        type=real_number(0, 100),
        metavar="X",
        help="points of mIoU that int8 may lose: layers are kept in float until it holds; by default none is",
    )
    add("--at_least_miou", type=real_number(1, 100), metavar="X", help="budget: mIoU in percent")
    add("--at_most_ms", type=real_number(0.001, 10**6), metavar="Y", help="budget: milliseconds per image")
    return arguments


if __name__ == "__main__":
    run(main)
