"""Prepare and check datasets.

sample      render a small dataset in the layout of Cityscapes, to try everything on
cityscapes  write train.txt, val.txt and test.txt for Cityscapes in its official layout
camvid      the same for CamVid (train/, trainannot/, val/, valannot/)
import      convert masks, LabelMe, Supervisely or COCO files, or PaddleSeg's lists into a dataset with a recipe
check       read every file of a dataset, report what is wrong with it, and draw a sheet of its samples
cache       decode a dataset once, into files from which a crop reads only its own pixels
check-submission  report why the Cityscapes server would refuse a zip of tool.predict --cityscapes_submission
"""

import shlex
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence

from compat import UserError, check_writable, text_table, write_text

import numpy as np
import paddle
from tqdm import tqdm

from data.cache import CACHE_FOLDER, Cache, fill_cache
from data.check import Report, SplitSource, check_dataset, evenly_spaced
from data.datasets import build_dataset
from data.files import map_label, read_image, read_label
from data.layouts import LAYOUTS, MODES, Sample
from data.renderer.sample import render_sample
from data.submission import check_submission, split_sizes
from engine.command import dataset_overrides, image_size, parser, real_number, run, whole_number
from engine.evaluation.pictures import colorize, heat, overlay, sheet, write_picture
from engine.parallel import launched_devices, shard, silence_other_ranks
from engine.recipe import load_recipe
from engine.recipe.schema import DatasetRecipe
from engine.resilience.checkpoint import prepare_save_dir
from loss import detail_target
from tool.importing.importer import import_source

LIST_SEPARATOR = ","
SHEET_ROWS = 6
SHEET_TITLES = ("image", "label", "label over image", "detail target")
MAX_DETAIL_SHARE = 0.5  # labels drawn by people have fewer detail pixels than this share


class SheetRow(NamedTuple):
    """Pictures of a sample, each [H, W, 3] uint8 RGB, and the share of its pixels in the detail target, in [0, 1]."""

    image: np.ndarray
    label: np.ndarray
    label_over_image: np.ndarray
    details: np.ndarray
    detail_share: float


def main(argv: Optional[Sequence[str]] = None) -> Optional[int]:
    """Run a subcommand; returns 1 if it found a problem, and raises UserError for wrong flags or files."""
    arguments = _parser().parse_args(argv)
    return arguments.command(arguments)


def sample(arguments) -> None:
    """Render the sample dataset."""
    render_sample(arguments.save_dir, arguments.train, arguments.val, arguments.size, arguments.seed)
    print(f"{arguments.train} training and {arguments.val} validation images in {arguments.save_dir}")


def write_lists(arguments) -> None:
    """Write the list files of a known layout; labels stay as they are, whichever ids they hold."""
    root = Path(arguments.dataset_root)
    if not root.is_dir():
        raise UserError(f"{root}: no such dataset folder")
    save_dir = prepare_save_dir(arguments.save_dir or root)
    for mode in MODES:
        samples, problems = LAYOUTS[arguments.layout].find(root, mode)
        if problems:
            raise UserError(problems[0])
        if not samples:
            if mode == "test":
                continue
            raise UserError(f"{root}: has no {mode} images in the layout of {arguments.layout}")
        lines = [
            LIST_SEPARATOR.join(path.relative_to(root).as_posix() for path in (s.image, s.label) if path)
            for s in samples
        ]
        write_text(save_dir / f"{mode}.txt", "\n".join(lines) + "\n")
        print(f"{save_dir / mode}.txt: {len(samples)} images")


def import_data(arguments) -> int:
    """Import a dataset, then check what was written; returns 1 if the check finds a problem."""
    recipe, lines = import_source(
        Path(arguments.source),
        Path(arguments.save_dir),
        Path(arguments.palette) if arguments.palette else None,
        arguments.val_share,
        arguments.seed,
        lambda items: tqdm(items, unit="image"),
        arguments.finetune,
    )
    print("\n".join(lines))
    folder = Path(arguments.save_dir)
    status = main(["check", "--config", str(recipe), "--sheet", str(folder / "check.png")])
    start = ["--finetune", arguments.finetune] if arguments.finetune else []
    print(f"train: {shlex.join(['python', 'train.py', '--config', str(recipe), *start])}")
    return status


def check(arguments) -> int:
    """Check a dataset and draw the sheet of its samples; returns 1 if there is a problem."""
    check_writable(arguments.sheet)
    splits = {
        mode: SplitSource(one.type, Path(one.dataset_root), one.options, one.extra_list)
        for mode, one in _datasets_of(arguments).items()
    }
    report = check_dataset(splits, lambda items: tqdm(items, unit="image"))
    print(_summary(report))
    rows = sheet_rows(report)
    if rows and arguments.sheet:
        write_picture(arguments.sheet, sheet([row[: len(SHEET_TITLES)] for row in rows], SHEET_TITLES))
        print(f"sheet of samples: {arguments.sheet}")
    warnings = [*report.warnings, *detail_warnings(rows)]
    for kind, lines in (("warning", warnings), ("problem", report.problems)):
        print(f"{len(lines)} {kind}(s)" + "".join(f"\n  {line}" for line in lines))
    return 1 if report.problems else 0


def cache(arguments) -> None:
    """Bring the cache of a dataset up to date; under Paddle's launcher each process takes its share."""
    devices = launched_devices()
    silence_other_ranks(devices)
    share = f", the share of one of {devices.count} processes" if devices.count > 1 else ""

    def bar(items: Iterable, count: int) -> Iterable:
        return tqdm(items, total=count, disable=devices.rank > 0)

    for mode, one in _datasets_of(arguments).items():
        root = Path(one.dataset_root)
        folder = Path(arguments.cache_dir or one.cache_dir or root / CACHE_FOLDER)
        dataset = build_dataset(one.type, str(root), mode, cache="never", extra_list=one.extra_list, **one.options)
        samples = [dataset.samples[index] for index in shard(len(dataset), devices)]
        written = fill_cache(Cache(folder, root), samples, dataset.num_classes, progress=bar)
        counts = f"{written} decoded, {len(samples) - written} were up to date"
        print(f"{folder}: {mode}: {len(samples)} images, {counts}{share}")


def check_zip(arguments) -> int:
    """Check a submission; status 1 when something is wrong with it."""
    images = split_sizes(Path(arguments.dataset_root), arguments.split) if arguments.dataset_root else None
    problems = check_submission(arguments.submission, images, lambda names: tqdm(names, unit="image"))
    print(f"{arguments.submission}: {len(problems)} problem(s)" + "".join(f"\n  {problem}" for problem in problems))
    return 1 if problems else 0


def _datasets_of(arguments) -> Dict[str, DatasetRecipe]:
    """{split: its dataset} of --splits; that of `test` is the one to validate on, as in tool.predict."""
    if arguments.config:
        recipe = load_recipe(arguments.config, dataset_overrides(arguments.dataset_root), arguments.opts)
        return {mode: recipe.train_dataset if mode == "train" else recipe.val_dataset for mode in arguments.splits}
    if not arguments.dataset_root:
        raise UserError("name a recipe with --config, or a folder with --dataset_root and --type")
    if arguments.opts:
        raise UserError(f"--opts {' '.join(arguments.opts)}: overrides a recipe; name it with --config")
    where = {"type": arguments.type, "dataset_root": arguments.dataset_root}
    return {mode: DatasetRecipe(**where, mode=mode) for mode in arguments.splits}


def _summary(report: Report) -> str:
    lines = [f"{mode}: {count} images" for mode, count in report.images.items()]
    total = max(1, report.pixels.sum())
    rows = [
        (name, count, f"{100 * count / total:.2f} %")
        for name, count in zip((*report.classes.names, "(ignored)"), report.pixels)
    ]
    return "\n".join([*lines, text_table(("class", "pixels", "share"), rows)])


def sheet_rows(report: Report) -> List[SheetRow]:
    """Up to SHEET_ROWS labelled samples, evenly spaced over all splits, without those that cannot be read."""
    labelled: List[Sample] = [s for s in report.samples if s.label is not None]
    palette = report.classes.palette()
    rows = []
    for item in (labelled[index] for index in evenly_spaced(len(labelled), SHEET_ROWS)):
        try:
            label = map_label(read_label(item.label), item, len(report.classes.names))
        except UserError:  # it is one of the report's problems already
            continue
        image = read_image(item.image)
        if image.shape[:2] != label.shape:
            continue
        details = detail_target(paddle.to_tensor(label[None].astype("int64"))).numpy()[0, 0]
        colors = colorize(label, palette)
        rows.append(SheetRow(image, colors, overlay(image, colors), heat(details), float(details.mean())))
    return rows


def detail_warnings(rows: Sequence[SheetRow]) -> List[str]:
    """A warning if the detail target of all rows is empty, or covers most of each label."""
    shares = [row.detail_share for row in rows]
    if rows and max(shares) == 0:
        return [f"no class border in the {len(rows)} labels of the sheet: the detail loss has nothing to learn there"]
    if rows and min(shares) > MAX_DETAIL_SHARE:
        return [
            f"the detail target covers at least {100 * min(shares):.0f} % of each label of the sheet: are the labels "
            "noisy, or resized with another interpolation than nearest?"
        ]
    return []


def _parser():
    top = parser(__doc__, "python -m tool.prepare_data check --config configs/stdc1_seg_sample.yml")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    render = commands.add_parser("sample", help="render a small dataset in the layout of Cityscapes")
    render.add_argument("--save_dir", default="data/sample")
    render.add_argument("--train", type=whole_number(1, 10**6), default=60, help="training images")
    render.add_argument("--val", type=whole_number(1, 10**6), default=20, help="validation images")
    render.add_argument("--size", type=image_size, default=(512, 256), metavar="WxH")
    render.add_argument(
        "--seed", type=whole_number(0, 2**32 - 1), default=0, help="the same seed renders the same bytes"
    )
    render.set_defaults(command=sample)

    for name, layout in (("cityscapes", "Cityscapes"), ("camvid", "CamVid")):
        lists = commands.add_parser(name, help=f"write the list files of {layout}")
        lists.add_argument("--dataset_root", default=f"data/{name}")
        lists.add_argument("--save_dir", help="where the lists go; by default beside the data")
        lists.set_defaults(command=write_lists, layout=layout)

    importing = commands.add_parser("import", help="convert your own images and labels into a dataset with a recipe")
    importing.add_argument("source", metavar="SOURCE", help="folder of images/ and masks/, or of JSON files; COCO file")
    importing.add_argument("--save_dir", required=True, help="where the dataset goes; the source is not changed")
    importing.add_argument("--palette", metavar="F", help="for colour masks: file of lines `name red green blue`")
    importing.add_argument(
        "--val_share", type=real_number(0.01, 0.9), default=0.2, help="share of the images used for validation"
    )
    importing.add_argument("--seed", type=whole_number(0, 2**32 - 1), default=0, help="of the split")
    importing.add_argument(
        "--finetune", metavar="WEIGHTS", help="name or file to start from; the recipe normalises images as theirs does"
    )
    importing.set_defaults(command=import_data)

    checking = commands.add_parser("check", help="read every file of a dataset")
    checking.add_argument("--sheet", default="output/dataset_check.png", help="PNG file of the sheet; empty for none")
    checking.set_defaults(command=check)

    caching = commands.add_parser("cache", help="decode a dataset once, for faster reading")
    caching.add_argument("--cache_dir", help="folder of the cache; by default `cache` in the dataset's folder")
    caching.set_defaults(command=cache)

    for command in (checking, caching):
        command.add_argument("--config", help="recipe whose dataset it is")
        command.add_argument("--opts", nargs="+", default=[], metavar="KEY=VALUE", help="override keys of the recipe")
        command.add_argument("--dataset_root", help="folder of the data, instead of the recipe's")
        command.add_argument("--type", default="Cityscapes", choices=("Cityscapes", "CamVid"), help="without --config")
        command.add_argument("--splits", nargs="+", default=["train", "val"], choices=MODES)

    submission = commands.add_parser("check-submission", help="check a zip for the Cityscapes server")
    submission.add_argument("submission", metavar="ZIP")
    submission.add_argument(
        "--dataset_root", help="folder of Cityscapes, to check against its images and not only their number"
    )
    submission.add_argument("--split", default="test", choices=MODES, help="with --dataset_root")
    submission.set_defaults(command=check_zip)
    return top


if __name__ == "__main__":
    run(main)
