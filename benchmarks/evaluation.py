"""Our evaluator against paddleseg.core.evaluate (repaired): equality of the areas, and time.

Times are medians of alternating runs on 1024x2048 images at scale 0.5: of the accumulation alone (from a prediction to
the sums), of the whole evaluation with a network that returns immediately, and of the whole evaluation. The areas are
compared there, and under every standard protocol on small images. Without --dataset_root the images are rendered.
"""

import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple
from unittest import mock

import compat
from compat import check_writable, text_table
from compat.processor import physical_cores

import numpy as np
import paddle
import paddleseg.core
from paddle import nn
from paddleseg.utils import metrics as paddleseg_metrics

from benchmarks.figures.record import write_figures
from data import SegmentationDataset, build_dataset
from data.renderer.sample import render_sample
from engine.command import parser, run, whole_number
from engine.evaluation import metrics
from engine.evaluation.evaluator import ImageResult, Scores, evaluate
from engine.protocols import STANDARD_PROTOCOLS
from engine.recipe import Protocol
from models import build_model
from tool.speed.clock import time_alternating
from tool.speed.hardware import processor_name

SIZE, SMALL_SIZE = (2048, 1024), (256, 128)
IMAGES = 2
BOOTSTRAP = 1000
TURNS = 3
HALF = Protocol(scales=0.5)
# The standard protocols, with a window that fits the small images.
PROTOCOLS = {
    **STANDARD_PROTOCOLS,
    "sliding_window": Protocol(is_slide=True, crop_size=(128, 96), stride=(96, 64)),
    "both flips": Protocol(scales=(0.5, 1.0), flip_horizontal=True, flip_vertical=True),
}


class InstantNetwork(nn.Layer):
    """A stand-in for a network that returns the same random logits for every image."""

    def __init__(self, num_classes: int):
        super().__init__()
        paddle.seed(0)
        self.logits = paddle.randn([1, num_classes, SIZE[1] // 2, SIZE[0] // 2])

    def forward(self, image):
        return [self.logits]


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Compare and measure, print the tables, write the figures; returns 1 if areas differ."""
    arguments = parser(__doc__, "python -m benchmarks.evaluation --json output/evaluation.json")
    arguments.add_argument("--model", default="stdc2_seg", help="name of the network")
    arguments.add_argument("--dataset_root", help="check the areas on this dataset's validation split instead")
    arguments.add_argument("--type", default="Cityscapes", help="with --dataset_root: Cityscapes or CamVid")
    arguments.add_argument(
        "--images", type=whole_number(1), help="with --dataset_root: only the first N images", metavar="N"
    )
    arguments.add_argument(
        "--runs", type=whole_number(), default=6, help="timed runs of each (6); with 0 only the areas are compared"
    )
    arguments.add_argument("--json", type=Path, metavar="F", help="write the figures to F")
    options = arguments.parse_args(argv)
    check_writable(options.json)
    compat.repair_paddleseg()
    with tempfile.TemporaryDirectory() as folder:
        if options.dataset_root:
            checked = build_dataset(options.type, options.dataset_root, "val", [{"type": "Normalize"}])
            checked.samples = checked.samples[: options.images]
        else:
            checked = rendered(Path(folder) / "small", SMALL_SIZE)
        figures = {**about(options.model), "images": len(checked), "areas": compare_areas(options.model, checked)}
        figures["areas_equal"] = all(figures["areas"].values())
        if options.runs:
            timed = measure(options.model, rendered(Path(folder) / "large", SIZE), options.runs)
            figures["areas_equal"] &= timed.pop("areas_equal")
            figures.update(timed)
    print(report(figures))
    if options.json:
        write_figures(options.json, figures)
    return 0 if figures["areas_equal"] else 1


def rendered(root: Path, size) -> SegmentationDataset:
    """A validation split of IMAGES street scenes."""
    render_sample(str(root), train=1, val=IMAGES, size=size, seed=0)
    return build_dataset("Cityscapes", str(root), "val", [{"type": "Normalize"}])


def compare_areas(name: str, dataset: SegmentationDataset) -> Dict[str, bool]:
    """{protocol: whether both evaluators count the same areas} for a network with random weights."""
    paddle.seed(0)
    model = build_model(name, dataset.num_classes)
    return {
        title: bool((evaluate(model, dataset, protocol).areas == paddleseg_areas(model, dataset, protocol)).all())
        for title, protocol in PROTOCOLS.items()
    }


def paddleseg_areas(model: nn.Layer, dataset: SegmentationDataset, protocol: Protocol) -> np.ndarray:
    """[3, K] int64: intersection, prediction and label areas, from which paddleseg computes its scores."""
    with mock.patch.object(paddleseg_metrics, "kappa", side_effect=paddleseg_metrics.kappa) as kappa:
        paddleseg.core.evaluate(
            model,
            dataset,
            aug_eval=protocol.aug_eval,
            scales=[float(scale) for scale in np.atleast_1d(protocol.scales)],
            flip_horizontal=protocol.flip_horizontal,
            flip_vertical=protocol.flip_vertical,
            is_slide=protocol.is_slide,
            crop_size=protocol.crop_size,
            stride=protocol.stride,
            print_detail=False,
        )
    return np.stack([area.numpy() for area in kappa.call_args[0]])


def measure(name: str, dataset: SegmentationDataset, runs: int) -> Dict[str, Any]:
    """Milliseconds per image of both evaluators, and the ratios of ours over paddleseg's."""
    paddle.seed(0)
    network, instant = build_model(name, dataset.num_classes), InstantNetwork(dataset.num_classes)
    pixels = np.random.default_rng(0).integers(0, dataset.num_classes, SIZE[::-1], dtype=np.int32)
    prediction = paddle.to_tensor(pixels[None, None])
    label = paddle.to_tensor(dataset[0]["label"][None])
    ours_of, theirs_of = our_accumulation(dataset), paddleseg_accumulation(dataset)
    pairs: Dict[str, Mapping[str, Callable[[], Any]]] = {
        "accumulation": {
            "ours": lambda: ours_of(prediction, label),
            "paddleseg": lambda: theirs_of(prediction, label),
        }
    }
    for title, model in (("without_network", instant), ("end_to_end", network)):
        pairs[title] = {
            "ours": lambda model=model: evaluate(model, dataset, HALF, bootstrap=BOOTSTRAP),
            "paddleseg": lambda model=model: paddleseg_areas(model, dataset, HALF),
        }
    times = {}
    for title, calls in pairs.items():
        images = 1 if title == "accumulation" else len(dataset)
        latencies = time_alternating(calls, runs=runs, warmup=1, rounds=min(runs, TURNS))
        times[title] = {who: latency.p50 / images for who, latency in latencies.items()}
    return {
        "runs": runs,
        "milliseconds": times,
        "areas_equal": bool((evaluate(instant, dataset, HALF).areas == paddleseg_areas(instant, dataset, HALF)).all()),
        **{f"ratio_{title}": pair["ours"] / pair["paddleseg"] for title, pair in times.items()},
    }


def about(name: str) -> Dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": processor_name(),
        "threads": physical_cores(),
        "paddle": paddle.__version__,
        "device": paddle.get_device(),
        "model": name,
    }


def our_accumulation(dataset: SegmentationDataset) -> Callable[[paddle.Tensor, paddle.Tensor], None]:
    """Adds a prediction [1, 1, H, W] int32 and its label, with the bootstrap, as `evaluate` does."""
    scores = Scores.zero(dataset.num_classes, bootstrap=BOOTSTRAP)

    def add(prediction: paddle.Tensor, label: paddle.Tensor) -> None:
        nonlocal scores
        classes, labels = prediction.numpy()[0, 0].astype(np.uint8), label.numpy()[0, 0]
        confusion = metrics.confusion_matrix(labels, classes, dataset.num_classes)
        scores = scores.with_image(ImageResult(scores.images, labels, classes, confusion))

    return add


def paddleseg_accumulation(dataset: SegmentationDataset) -> Callable[[paddle.Tensor, paddle.Tensor], None]:
    """Adds a prediction [1, 1, H, W] int32 and its label, as `paddleseg.core.evaluate` does."""
    sums: List[paddle.Tensor] = [paddle.zeros([1], "int64")] * 3

    def add(prediction: paddle.Tensor, label: paddle.Tensor) -> None:
        areas = paddleseg_metrics.calculate_area(prediction, label.astype("int64"), dataset.num_classes)
        sums[:] = [total + area for total, area in zip(sums, areas)]

    return add


def report(figures: Mapping[str, Any]) -> str:
    """The figures as text."""
    lines = [f"{figures['processor']}, {figures['threads']} threads, Paddle {figures['paddle']}, {figures['device']}"]
    if "milliseconds" in figures:
        lines += [
            f"{figures['model']}, float32, 1024x2048 at scale 0.5, medians of {figures['runs']} runs, ms an image",
            "",
            text_table(("", "ours", "paddleseg", "ratio"), map(_milliseconds, *zip(*figures["milliseconds"].items()))),
            "",
        ]
    lines.append(f"areas of {figures['model']} on {figures['images']} images:")
    areas = ((name, "equal" if same else "DIFFERENT") for name, same in figures["areas"].items())
    lines.append(text_table(("protocol", "areas"), areas, left=2))
    lines.append(f"all equal: {'yes' if figures['areas_equal'] else 'NO'}")
    return "\n".join(lines)


def _milliseconds(title: str, pair: Mapping[str, float]) -> Tuple[str, ...]:
    ours, theirs = pair["ours"], pair["paddleseg"]
    return title.replace("_", " "), f"{ours:.1f}", f"{theirs:.1f}", f"{ours / theirs:.2f}"


if __name__ == "__main__":
    run(main)
