"""Scores as text."""

from typing import Sequence

from engine.evaluator import Scores
from engine.metrics import ABSENT_MEANING


def score_table(scores: Scores, names: Sequence[str]) -> str:
    """A table of the classes' IoU and precision and of the totals, in percent."""
    width = max(len("mean IoU"), *map(len, names))
    lines = [f"{'class':<{width}}     IoU  precision", "-" * (width + 19)]
    for name, iou, precision in zip(names, scores.class_iou, scores.class_precision):
        lines.append(f"{name:<{width}}  {100 * iou:6.2f}  {100 * precision:9.2f}")
    lines.append("-" * (width + 19))
    lines.append(f"{'mean IoU':<{width}}  {100 * scores.miou:6.2f}")
    lines.append(f"{'accuracy':<{width}}  {100 * scores.accuracy:6.2f}")
    lines.append(f"{'kappa':<{width}}  {100 * scores.kappa:6.2f}")
    lines.append(f"A class that occurs neither in labels nor in predictions {ABSENT_MEANING[scores.absent]}.")
    return "\n".join(lines)
