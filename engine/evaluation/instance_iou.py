"""Cityscapes' instance-weighted IoU (iIoU) of classes and categories, as cityscapesscripts computes it.

A pixel of an object counts as many times as the mean object of its class is larger than this one; what is wrongly
predicted counts once a pixel, since it belongs to no object.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, List, Optional

import numpy as np

from data.classes import CITYSCAPES, CITYSCAPES_CATEGORIES, CITYSCAPES_INSTANCE_SIZES, CITYSCAPES_LABEL_IDS
from engine.evaluation import metrics

CLASSES = tuple(CITYSCAPES_INSTANCE_SIZES)
CATEGORIES = ("human", "vehicle")  # those whose classes all have instances
CATEGORY_MEMBERS: List[List[int]] = [
    [CITYSCAPES.names.index(name) for name in members] for members in CITYSCAPES_CATEGORIES.values()
]
"""Training ids of each category's classes, in the order of CITYSCAPES_CATEGORIES."""

SMALLEST_INSTANCE = 1001  # an object's id is 1000 times its labelId plus a number; below are labelIds of regions
_TRAIN_IDS = [CITYSCAPES.names.index(name) for name in CLASSES]
_SIZES = np.array(list(CITYSCAPES_INSTANCE_SIZES.values()))
# Position in CLASSES of a labelId and of a training id, -1 for what has no instances or is not evaluated.
_CLASS_OF_LABEL_ID, _CLASS_OF_TRAIN_ID = np.full(66, -1), np.full(256, -1)
_CLASS_OF_LABEL_ID[[CITYSCAPES_LABEL_IDS[train_id] for train_id in _TRAIN_IDS]] = np.arange(len(CLASSES))
_CLASS_OF_TRAIN_ID[_TRAIN_IDS] = np.arange(len(CLASSES))
# Position in CATEGORIES of each of CLASSES; -2 for the class -1, which is in none.
_CATEGORY = np.array([*([name in CITYSCAPES_CATEGORIES[c] for c in CATEGORIES].index(True) for name in CLASSES), -2])


@dataclass(frozen=True, eq=False)
class InstanceScores:
    """Sums over images of weighted pixels. Results of parts of a dataset are added with `+`.

    Attributes:
        of_class: [2, 8] float64: weighted pixels of CLASSES that were found, and that were missed.
        of_category: [2, 2] float64: the same for CATEGORIES, where any class of the category counts as found.
    """

    of_class: np.ndarray
    of_category: np.ndarray

    @classmethod
    def zero(cls) -> "InstanceScores":
        """The sum of no image."""
        return cls(np.zeros((2, len(CLASSES))), np.zeros((2, len(CATEGORIES))))

    def with_image(self, instance_ids: np.ndarray, prediction: np.ndarray) -> "InstanceScores":
        """This and one more image; instance_ids [H, W] uint16, prediction [H, W] uint8 training ids."""
        ids, predicted = instance_ids.ravel().astype(np.int64), prediction.ravel()
        counted = (ids >= SMALLEST_INSTANCE) & (_CLASS_OF_LABEL_ID[ids // 1000] >= 0)
        ids, said = ids[counted], _CLASS_OF_TRAIN_ID[predicted[counted]]
        own = _CLASS_OF_LABEL_ID[ids // 1000]
        return replace(
            self,
            of_class=self.of_class + _weighted(ids, said == own, _CLASS_OF_LABEL_ID, len(CLASSES)),
            of_category=self.of_category
            + _weighted(ids, _CATEGORY[said] == _CATEGORY[own], _CATEGORY[_CLASS_OF_LABEL_ID], len(CATEGORIES)),
        )

    def __add__(self, other: "InstanceScores") -> "InstanceScores":
        return InstanceScores(self.of_class + other.of_class, self.of_category + other.of_category)

    def summed(self, all_sum: Callable[[np.ndarray], np.ndarray]) -> "InstanceScores":
        """The scores over all processes; `all_sum` returns the sum over them of a float64 array, in its shape."""
        return InstanceScores(all_sum(self.of_class), all_sum(self.of_category))

    def class_iiou(self, confusion: np.ndarray) -> np.ndarray:
        """[8], NaN where a class occurs nowhere, of the same images' confusion matrix [19, 19]."""
        intersect, predicted, _ = metrics.areas(confusion)
        return _instance_iou(self.of_class, (predicted - intersect)[_TRAIN_IDS])

    def category_iiou(self, confusion: np.ndarray) -> np.ndarray:
        """[2], NaN where a category occurs nowhere, of the same images' confusion matrix [19, 19]."""
        intersect, predicted, _ = metrics.areas(metrics.merge_classes(confusion, CATEGORY_MEMBERS))
        positions = [list(CITYSCAPES_CATEGORIES).index(name) for name in CATEGORIES]
        return _instance_iou(self.of_category, (predicted - intersect)[positions])


def category_iou(confusion: np.ndarray) -> np.ndarray:
    """[7] IoU of CITYSCAPES_CATEGORIES, NaN where one occurs nowhere, of a confusion matrix [19, 19]."""
    return metrics.class_iou(metrics.areas(metrics.merge_classes(confusion, CATEGORY_MEMBERS)), "nan")


def instance_file(label_file: Optional[Path]) -> Optional[Path]:
    """The file of instance ids that belongs to a Cityscapes label file; None where there is none."""
    if label_file is None:
        return None
    for kind in ("labelTrainIds", "labelIds"):
        path = label_file.with_name(label_file.name.replace(f"_gtFine_{kind}.png", "_gtFine_instanceIds.png"))
        if path != label_file and path.is_file():
            return path
    return None


def _weighted(ids: np.ndarray, found: np.ndarray, group_of_label_id: np.ndarray, groups: int) -> np.ndarray:
    """[2, groups]: weighted pixels found and missed, of the object ids [n] of all pixels and of which were found."""
    sizes = np.bincount(ids)
    objects = np.flatnonzero(sizes)
    hits = np.bincount(ids[found], minlength=len(sizes))[objects]
    sizes, label_ids = sizes[objects], objects // 1000
    weights = _SIZES[_CLASS_OF_LABEL_ID[label_ids]] / sizes
    return np.stack(
        [np.bincount(group_of_label_id[label_ids], weights * pixels, groups) for pixels in (hits, sizes - hits)]
    )


def _instance_iou(sums: np.ndarray, wrongly_predicted: np.ndarray) -> np.ndarray:
    found, missed = sums
    total = found + missed + wrongly_predicted
    return np.where(total > 0, found / np.where(total > 0, total, 1.0), np.nan)
