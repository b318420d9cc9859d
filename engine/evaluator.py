"""Scores of a network on a dataset: what `paddleseg.core.evaluate` answers, by name."""

import dataclasses
from typing import NamedTuple

from compat import UserError

import numpy as np
from paddle import nn

from data import SegmentationDataset
from engine.recipe import Protocol


class Scores(NamedTuple):
    """Of one evaluation, in [0, 1] (kappa in [-1, 1]). A class that is absent counts as IoU 0, as in PaddleSeg 2.8."""

    miou: float
    accuracy: float
    class_iou: np.ndarray  # [K]
    class_precision: np.ndarray  # [K]
    kappa: float


def evaluate(
    model: nn.Layer, dataset: SegmentationDataset, protocol: Protocol, num_workers: int = 0, progress: bool = False
) -> Scores:
    """Evaluate a network, image by image, as the protocol says; the network's mode is as before afterwards.

    Raises:
        UserError: for a sliding window without its size and stride.
    """
    import paddleseg.core

    if protocol.is_slide and not (protocol.crop_size and protocol.stride):
        raise UserError("test_config: is_slide needs crop_size and stride, each (w, h)")
    was_training = model.training
    arguments = dataclasses.asdict(protocol)
    if isinstance(protocol.scales, tuple):
        arguments["scales"] = [float(scale) for scale in protocol.scales]
    try:
        scores = paddleseg.core.evaluate(model, dataset, num_workers=num_workers, print_detail=progress, **arguments)
    finally:
        model.train() if was_training else model.eval()
    miou, accuracy, class_iou, class_precision, kappa = scores
    return Scores(float(miou), float(accuracy), np.asarray(class_iou), np.asarray(class_precision), float(kappa))


def score_table(scores: Scores, names) -> str:
    """A table of the classes' IoU and precision and of the totals, in percent."""
    width = max(len("mean IoU"), *map(len, names))
    lines = [f"{'class':<{width}}     IoU  precision", "-" * (width + 19)]
    for name, iou, precision in zip(names, scores.class_iou, scores.class_precision):
        lines.append(f"{name:<{width}}  {100 * iou:6.2f}  {100 * precision:9.2f}")
    lines.append("-" * (width + 19))
    lines.append(f"{'mean IoU':<{width}}  {100 * scores.miou:6.2f}")
    lines.append(f"{'accuracy':<{width}}  {100 * scores.accuracy:6.2f}")
    lines.append(f"{'kappa':<{width}}  {100 * scores.kappa:6.2f}")
    lines.append("A class that occurs neither in labels nor in predictions counts as IoU 0, as in PaddleSeg 2.8.")
    return "\n".join(lines)
