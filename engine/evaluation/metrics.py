"""Scores of a confusion matrix: pure functions of integers.

A confusion matrix is [..., K, K] int64, rows the label, columns the prediction; its areas are [..., 3, K] int64: pixels
where label and prediction agree on the class (intersect), pixels predicted as it, pixels labelled as it. Ignored pixels
are in none of them. Scores are float64 in [0, 1], kappa in [-1, 1].

A class that occurs neither in the labels nor in the predictions has no IoU. What counts in its place is a rule, ABSENT.
"""

from typing import Dict, Sequence

from compat import UserError, unknown_name

import cv2
import numpy as np

from data.classes import IGNORED

ABSENT: Dict[str, float] = {"zero": 0.0, "one": 1.0, "nan": float("nan")}
ABSENT_MEANING = {
    "zero": "counts as IoU 0, as in PaddleSeg 2.8",
    "one": "counts as IoU 1, as in PaddleSeg's develop branch",
    "nan": "is left out of the mean, as in the original code and in cityscapesscripts",
}


def confusion_matrix(
    label: np.ndarray, prediction: np.ndarray, num_classes: int, ignore_index: int = IGNORED
) -> np.ndarray:
    """Count pixels by one bincount.

    Args:
        label: [H, W] uint8, classes 0..K-1 or `ignore_index`.
        prediction: [H, W], any integer type, classes 0..K-1; anything where the label is ignored.
        num_classes: K, 1 to 254.
        ignore_index: label of the pixels that are not counted.

    Returns:
        [K, K] int64.

    Raises:
        UserError: for a label or a counted prediction that is not a class, and for sizes that differ.
    """
    if label.shape != prediction.shape:
        raise UserError(f"the prediction's size is {_size(prediction)}, the label's {_size(label)}")
    # Row K of the table takes labels that must not be, row K + 1 and beyond the ignored pixels.
    invalid, ignored = num_classes, num_classes + 1
    rows = np.full(256, invalid, np.uint8)
    rows[:num_classes] = np.arange(num_classes)
    rows[ignore_index] = ignored
    if prediction.max(initial=0) >= num_classes:
        _check_predictions(prediction[label != ignore_index], num_classes)
    # At most 256 * 254 cells: they fit into 16 bits, and a small type makes the fastest index.
    cells = cv2.LUT(label, rows).astype(np.uint16)
    cells *= num_classes
    cells += prediction.astype(np.uint16)
    counts = np.bincount(cells.ravel(), minlength=ignored * num_classes)[: ignored * num_classes]
    counts = counts.reshape(ignored, num_classes).astype(np.int64)
    if counts[invalid].any():
        value = next(int(value) for value in np.unique(label) if rows[value] == invalid)
        raise UserError(
            f"the label value {value} is neither one of the {num_classes} classes nor the ignored value {ignore_index}"
        )
    return counts[:num_classes]


def _check_predictions(prediction: np.ndarray, num_classes: int) -> None:
    highest = int(prediction.max(initial=0))
    if highest >= num_classes:
        raise UserError(f"the network predicts class {highest}, the dataset has the classes 0 to {num_classes - 1}")


def _size(pixels: np.ndarray) -> str:
    return "x".join(map(str, pixels.shape[::-1]))


def areas(confusion: np.ndarray) -> np.ndarray:
    """[..., 3, K] int64: intersect, prediction and label areas of [..., K, K]."""
    return np.stack([np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-2), confusion.sum(-1)], axis=-2)


def merge_classes(confusion: np.ndarray, groups: Sequence[Sequence[int]]) -> np.ndarray:
    """[G, G]: the confusion matrix of groups of classes, such as Cityscapes' categories; each class in one group."""
    belongs = np.zeros((len(groups), confusion.shape[0]), np.int64)
    for number, group in enumerate(groups):
        belongs[number, list(group)] = 1
    return belongs @ confusion @ belongs.T


def class_iou(areas: np.ndarray, absent: str = "zero") -> np.ndarray:
    """[..., K]: intersect over union."""
    intersect, predicted, labelled = _split(areas)
    return _ratio(intersect, predicted + labelled - intersect, areas, absent)


def class_dice(areas: np.ndarray, absent: str = "zero") -> np.ndarray:
    """[..., K]: 2 intersect over the sum of both areas, which is the F1 score of the class's pixels."""
    intersect, predicted, labelled = _split(areas)
    return _ratio(2 * intersect, predicted + labelled, areas, absent)


def class_precision(areas: np.ndarray, absent: str = "zero") -> np.ndarray:
    """[..., K]: intersect over predicted area; 0 for a class that was labelled and never predicted."""
    intersect, predicted, _ = _split(areas)
    return _ratio(intersect, predicted, areas, absent)


def class_recall(areas: np.ndarray, absent: str = "zero") -> np.ndarray:
    """[..., K]: intersect over labelled area; 0 for a class that was predicted and never labelled."""
    intersect, _, labelled = _split(areas)
    return _ratio(intersect, labelled, areas, absent)


def f_score(
    predicted: np.ndarray,
    predicted_right: np.ndarray,
    labelled: np.ndarray,
    labelled_found: np.ndarray,
    absent: str = "zero",
) -> np.ndarray:
    """[...]: harmonic mean of predicted_right / predicted and labelled_found / labelled, counts [...] each."""
    precision = predicted_right / np.maximum(predicted, 1)
    recall = labelled_found / np.maximum(labelled, 1)
    score = 2 * precision * recall / np.where(precision + recall > 0, precision + recall, 1.0)
    return np.where(predicted + labelled > 0, score, _value_of_absent(absent))


def accuracy(areas: np.ndarray) -> np.ndarray:
    """[...]: share of the counted pixels that are right; NaN where none is counted."""
    intersect, predicted, _ = _split(areas)
    with np.errstate(invalid="ignore"):
        return intersect.sum(-1) / predicted.sum(-1)


def kappa(areas: np.ndarray) -> np.ndarray:
    """[...]: Cohen's kappa, agreement beyond what the areas alone would give; NaN where it is not defined."""
    intersect, predicted, labelled = (area.astype(np.float64) for area in _split(areas))
    total = labelled.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = intersect.sum(-1) / total
        expected = (predicted * labelled).sum(-1) / (total * total)
        return (observed - expected) / (1 - expected)


def mean_score(scores: np.ndarray) -> np.ndarray:
    """[...]: mean over the classes [..., K] that have a score; NaN where none has."""
    known = ~np.isnan(scores)
    if known.all():
        return scores.mean(-1)
    with np.errstate(invalid="ignore"):
        return np.where(known, scores, 0.0).sum(-1) / known.sum(-1)


def _split(areas: np.ndarray):
    return areas[..., 0, :], areas[..., 1, :], areas[..., 2, :]


def _ratio(numerator: np.ndarray, denominator: np.ndarray, areas: np.ndarray, absent: str) -> np.ndarray:
    """The quotient; 0 where the denominator alone is 0, and what `absent` says where the class does not occur."""
    ratio = numerator / np.maximum(denominator, 1)
    return np.where(areas.any(axis=-2), ratio, _value_of_absent(absent))


def _value_of_absent(absent: str) -> float:
    if absent not in ABSENT:
        raise unknown_name("rule for absent classes", absent, ABSENT)
    return ABSENT[absent]
