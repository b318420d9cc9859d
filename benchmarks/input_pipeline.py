"""How long a training sample takes: our pipeline from PNG and from the cache, against PaddleSeg's transforms.

All three read the same 2048x1024 frames with the default recipe (scales 0.125-1.5, crop 1024x512), alternating in one
run, each on one thread. A sample ends as an array in memory: PaddleSeg's is normalised, ours is uint8, which the device
normalises later. Then follow loaders with 0, 1 and 2 worker processes, and whole batches of 36 from the cache. The
files are in the page cache, so that the processor is measured and not the disk. Without --dataset_root the frames are
rendered.
"""

import statistics
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence
from unittest import mock

from compat import check_writable, text_table
from compat.processor import physical_cores

import cv2
import numpy as np
import paddleseg.transforms
from paddle.io import DataLoader
from paddleseg.datasets import Dataset

from benchmarks.figures.record import write_figures
from data import SegmentationDataset, build_dataset, train_batches
from data.cache import Cache, fill_cache
from data.renderer.sample import render_sample
from data.transforms import Step
from engine.command import parser, run, whole_number
from engine.recipe import load_recipe
from tool.speed.hardware import processor_name

RECIPE = Path(__file__).parents[1] / "configs" / "stdc2_seg50_cityscapes.yml"
FRAMES, SIZE = 4, (2048, 1024)  # of a larger dataset, the first FRAMES are read
BATCH, LARGE_BATCH = 6, 36
WORKERS = (0, 1, 2)
STAGES = {  # of our pipeline: where its functions are called
    "decode": ("data.datasets.read_image", "data.datasets.read_label"),
    "class ids": ("data.datasets.map_label",),
    "resize": ("data.transforms.resize_window", "data.transforms.nearest_window"),
    "colour": ("data.transforms.distort_padded",),
}


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Measure, print the table, write the figures."""
    arguments = parser(__doc__, "python -m benchmarks.input_pipeline --json output/input_pipeline.json")
    arguments.add_argument(
        "--dataset_root", type=Path, help="frames in the layout of Cityscapes, instead of rendered ones"
    )
    arguments.add_argument("--rounds", type=whole_number(1), default=5, help="timed rounds (5)")
    arguments.add_argument("--samples", type=whole_number(1), default=36, help="samples per round and pipeline (36)")
    arguments.add_argument("--json", type=Path, metavar="F", help="write the figures to F")
    options = arguments.parse_args(argv)
    check_writable(options.json)
    with tempfile.TemporaryDirectory() as folder:
        root = options.dataset_root
        if root is None:
            root = Path(folder) / "frames"
            render_sample(str(root), train=FRAMES, val=1, size=SIZE, seed=0)
        figures = measure(root, Path(folder), options.rounds, options.samples)
    print(report(figures))
    if options.json:
        write_figures(options.json, figures)


def measure(root: Path, folder: Path, rounds: int, samples: int) -> Dict[str, Any]:
    """All figures; times in milliseconds unless their name says seconds. The cache and a list go to `folder`."""
    cv2.setNumThreads(1)
    transforms = load_recipe(RECIPE).train_dataset.transforms
    png = build_dataset("Cityscapes", str(root), "train", transforms, cache="never")
    del png.samples[FRAMES:]
    cache = Cache(folder / "cache", root)
    fill_cache(cache, png.samples, png.num_classes)
    cached = SegmentationDataset(png.samples, png.classes, png.transform, "train", cache)
    theirs = paddleseg_dataset(png, transforms, folder / "list.txt")
    readers: Dict[str, Callable[[int, int], Any]] = {
        "paddleseg": lambda number, seed: theirs[number % len(png)],
        "png": lambda number, seed: png.train_item(number % len(png), np.random.default_rng(seed)),
        "cache": lambda number, seed: cached.train_item(number % len(png), np.random.default_rng(seed)),
    }
    np.random.seed(0)
    turns = [{name: time_samples(read, samples, turn) for name, read in readers.items()} for turn in range(rounds + 1)]
    times = {name: statistics.median(turn[name] for turn in turns[1:]) for name in readers}  # the first warms up
    return {
        "ratio_png": times["png"] / times["paddleseg"],
        "ratio_cache": times["cache"] / times["paddleseg"],
        "milliseconds": times,
        "stages": {
            "paddleseg": their_stages(theirs, samples),
            "png": our_stages(readers["png"], samples),
            "cache": our_stages(readers["cache"], samples),
        },
        "samples_per_second": {
            name: {str(workers): throughput(dataset, workers) for workers in WORKERS}
            for name, dataset in (("paddleseg", theirs), ("png", png), ("cache", cached))
        },
        "seconds_per_batch_of_36_from_cache": large_batch_seconds(cached),
        "processor": processor_name(),
        "cores": physical_cores(),
        "rounds": rounds,
        "samples": samples,
    }


def paddleseg_dataset(ours: SegmentationDataset, transforms: Sequence[Step], list_file: Path) -> Dataset:
    """PaddleSeg's dataset of the same files, with the recipe's transforms as PaddleSeg has them."""
    pairs = ((Path(name).absolute() for name in names) for names in ours.file_list[: len(ours)])
    list_file.write_text("\n".join(f"{image}\t{label}" for image, label in pairs), encoding="utf-8")
    steps = [getattr(paddleseg.transforms, step.type)(**step.beyond(Step)) for step in transforms]
    return Dataset("train", "/", steps, ours.num_classes, train_path=str(list_file), separator="\t")


def time_samples(read: Callable[[int, int], Any], samples: int, turn: int) -> float:
    """Mean milliseconds of `samples` calls read(number, seed), number counting from 0."""
    start = time.perf_counter()
    for number in range(samples):
        read(number, turn * samples + number)
    return 1e3 * (time.perf_counter() - start) / samples


def our_stages(read: Callable[[int, int], Any], samples: int) -> Dict[str, float]:
    """Mean milliseconds of each of STAGES; `rest` is padding, flipping, copying and drawing."""
    spent = dict.fromkeys(STAGES, 0.0)

    def timed(function: Callable, stage: str) -> Callable:
        def call(*args, **options):
            start = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                spent[stage] += 1e3 * (time.perf_counter() - start) / samples

        return call

    with ExitStack() as stack:
        for stage, places in STAGES.items():
            for place in places:
                module, _, name = place.rpartition(".")
                function = getattr(__import__(module, fromlist=[name]), name)
                stack.enter_context(mock.patch(place, timed(function, stage)))
        total = time_samples(read, samples, turn=0)
    return {**spent, "rest": total - sum(spent.values())}


def their_stages(dataset: Dataset, samples: int) -> Dict[str, float]:
    """Mean milliseconds of PaddleSeg's decoding, of each transform, and of the rest."""
    spent: Dict[str, float] = {"decode": 0.0}
    steps = dataset.transforms.transforms

    @contextmanager
    def timed(stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        spent[stage] = spent.get(stage, 0.0) + 1e3 * (time.perf_counter() - start) / samples

    for number in range(samples):
        image, label = dataset.file_list[number % len(dataset.file_list)]
        data = {"img": image, "label": label, "gt_fields": ["label"], "trans_info": []}
        with timed("decode"):
            data = paddleseg.transforms.Compose([])(data)
            data["img"] = data["img"].transpose(1, 2, 0)
        for step in steps:
            with timed(type(step).__name__):
                data = step(data)
    return spent


def throughput(dataset, workers: int, batches: int = 7) -> float:
    """Samples a second of a loader of small batches, without its start."""
    if isinstance(dataset, Dataset):
        numbers = [[(BATCH * batch + k) % len(dataset) for k in range(BATCH)] for batch in range(batches)]
        loader = DataLoader(dataset, batch_sampler=numbers, num_workers=workers, return_list=True)
    else:
        loader = train_batches(_repeated(dataset, BATCH), BATCH, 0, 0, batches, workers)
    return BATCH / statistics.median(_seconds_between(loader))


def large_batch_seconds(dataset: SegmentationDataset) -> float:
    """Median seconds from one batch of 36 to the next, read by one thread per core."""
    return statistics.median(_seconds_between(train_batches(_repeated(dataset, LARGE_BATCH), LARGE_BATCH, 0, 0, 8)))


def _repeated(dataset: SegmentationDataset, length: int) -> SegmentationDataset:
    samples = dataset.samples * -(-length // len(dataset))
    return SegmentationDataset(samples, dataset.classes, dataset.transform, "train", dataset.cache)


def _seconds_between(loader) -> List[float]:
    """Seconds between batches, without the first ones, which were read ahead while the loader started."""
    ends = []
    for _ in loader:
        ends.append(time.perf_counter())
    return np.diff(ends)[3:].tolist()


def report(figures: Mapping[str, Any]) -> str:
    """The figures as a table."""
    rows = []
    for name, milliseconds in figures["milliseconds"].items():
        ratio = milliseconds / figures["milliseconds"]["paddleseg"]
        rates = (f"{rate:.1f}" for rate in figures["samples_per_second"][name].values())
        rows.append((name, f"{milliseconds:.1f}", f"{ratio:.3f}", *rates))
    lines = [
        f"{figures['processor']}, {figures['cores']} cores; a sample is a {SIZE[0]}x{SIZE[1]} frame; medians of "
        f"{figures['rounds']} rounds of {figures['samples']} samples in turns, one thread",
        text_table(("", "ms/sample", "ratio", *(f"samples/s, {count} workers" for count in WORKERS)), rows),
    ]
    lines.append(f"a batch of 36 from the cache: {figures['seconds_per_batch_of_36_from_cache']:.3f} s")
    lines.append("where the time goes, ms:")
    for name, stages in figures["stages"].items():
        lines.append(f"{name}: " + ", ".join(f"{stage} {spent:.1f}" for stage, spent in stages.items()))
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
