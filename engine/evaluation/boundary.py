"""Quality of boundaries: boundary IoU, boundary F-score and trimap IoU, at a given width in pixels.

Boundary IoU is that of Cheng et al., "Boundary IoU" (CVPR 2021), as its code counts it, over classes instead of
objects. The boundary F-score is that of Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video
Object Segmentation" (CVPR 2016), section 4, after Martin et al. (2004). Trimap IoU is that of Kraehenbuehl and Koltun
(NIPS 2011), section 4. All counts are summed over the images before anything is divided. Ignored pixels count in none
of them and, as in the detail target, make no boundary.
"""

from dataclasses import dataclass, replace
from typing import Callable

import cv2
import numpy as np

from data.classes import IGNORED
from engine.evaluation import metrics


@dataclass(frozen=True, eq=False)
class BoundaryScores:
    """Sums over images, and the scores by name. Results of parts of a dataset are added with `+`.

    Attributes:
        width: d, in pixels of the label.
        bands: [3, K] int64: intersect, prediction and label areas of the bands within a class and within d pixels
            (rows and columns) of its end, the image's border being an end.
        contours: [4, K] int64: contour pixels predicted, of these within a Euclidean distance of d of a labelled one;
            contour pixels labelled, of these within d of a predicted one. A contour pixel has another class among
            its 8 neighbours.
        trimap: [K, K] int64: confusion matrix of the pixels within d pixels (rows and columns) of a labelled boundary.
        absent: what counts for a class that does not occur, see metrics.ABSENT.
    """

    width: int
    bands: np.ndarray
    contours: np.ndarray
    trimap: np.ndarray
    absent: str = "zero"

    @classmethod
    def zero(cls, width: int, num_classes: int, absent: str = "zero") -> "BoundaryScores":
        """The sum of no image."""
        shapes = ((3, num_classes), (4, num_classes), (num_classes, num_classes))
        return cls(width, *(np.zeros(shape, np.int64) for shape in shapes), absent)

    def with_image(self, label: np.ndarray, prediction: np.ndarray) -> "BoundaryScores":
        """This and one more image; label [H, W] uint8, 255 where ignored, prediction [H, W] uint8."""
        counted = label != IGNORED
        prediction = np.where(counted, prediction, IGNORED)
        num_classes = len(self.trimap)
        bands = _band_areas(label, prediction, self.width, num_classes)
        trimap = np.where(~_interior(label, self.width), label, IGNORED)
        return replace(
            self,
            bands=self.bands + bands,
            contours=self.contours + _contour_matches(label, prediction, self.width, num_classes),
            trimap=self.trimap + metrics.confusion_matrix(trimap, prediction, num_classes),
        )

    def __add__(self, other: "BoundaryScores") -> "BoundaryScores":
        return replace(
            self,
            bands=self.bands + other.bands,
            contours=self.contours + other.contours,
            trimap=self.trimap + other.trimap,
        )

    def summed(self, all_sum: Callable[[np.ndarray], np.ndarray]) -> "BoundaryScores":
        """The scores over all processes; `all_sum` returns the sum over them of an int64 array, in its shape."""
        return replace(self, bands=all_sum(self.bands), contours=all_sum(self.contours), trimap=all_sum(self.trimap))

    @property
    def class_boundary_iou(self) -> np.ndarray:
        """[K]."""
        return metrics.class_iou(self.bands, self.absent)

    @property
    def class_boundary_f(self) -> np.ndarray:
        """[K]: harmonic mean of the matched shares of predicted and labelled contour pixels."""
        return metrics.f_score(*self.contours, self.absent)

    @property
    def class_trimap_iou(self) -> np.ndarray:
        """[K]."""
        return metrics.class_iou(metrics.areas(self.trimap), self.absent)

    @property
    def boundary_iou(self) -> float:
        """Mean over the classes."""
        return float(metrics.mean_score(self.class_boundary_iou))

    @property
    def boundary_f(self) -> float:
        """Mean over the classes."""
        return float(metrics.mean_score(self.class_boundary_f))

    @property
    def trimap_miou(self) -> float:
        """Mean over the classes."""
        return float(metrics.mean_score(self.class_trimap_iou))


def _interior(classes: np.ndarray, width: int, border_is_end: bool = False) -> np.ndarray:
    """[H, W] bool: where every counted pixel at most `width` rows and columns away has the pixel's own class."""
    # One minimum and one maximum over the neighbourhood serve all classes at once. What is ignored is 255, the largest
    # value, for the minimum, and 0, the smallest, for the maximum, so that it makes no difference.
    window = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    counted = classes != IGNORED
    beyond = (0, 255) if border_is_end else (255, 0)
    lowest, highest = (
        cv2.copyMakeBorder(pixels, *[width] * 4, cv2.BORDER_CONSTANT, value=value)
        for pixels, value in zip((classes, np.where(counted, classes, np.uint8(0))), beyond)
    )
    inside = (slice(width, -width), slice(width, -width))
    lowest, highest = cv2.erode(lowest, window)[inside], cv2.dilate(highest, window)[inside]
    return (lowest == highest) | ~counted


def _band_areas(label: np.ndarray, prediction: np.ndarray, width: int, num_classes: int) -> np.ndarray:
    labelled = np.where(_interior(label, width, border_is_end=True), IGNORED, label)
    predicted = np.where(_interior(prediction, width, border_is_end=True), IGNORED, prediction)
    both = np.where(labelled == predicted, labelled, IGNORED)
    return np.stack([_areas_of(classes, num_classes) for classes in (both, predicted, labelled)])


def _areas_of(classes: np.ndarray, num_classes: int) -> np.ndarray:
    return np.bincount(classes.ravel(), minlength=256)[:num_classes].astype(np.int64)


def _contour_matches(label: np.ndarray, prediction: np.ndarray, width: int, num_classes: int) -> np.ndarray:
    """[4, K] int64, see `BoundaryScores.contours`."""
    predicted, labelled = (np.where(_interior(classes, 1), IGNORED, classes) for classes in (prediction, label))
    offset = np.arange(-width, width + 1)
    disk = (offset[:, None] ** 2 + offset**2 <= width**2).astype(np.uint8)
    counts = np.zeros((4, num_classes), np.int64)
    counts[0], counts[2] = _areas_of(predicted, num_classes), _areas_of(labelled, num_classes)
    for index in np.flatnonzero((counts[0] > 0) & (counts[2] > 0)):
        of_prediction, of_label = ((contours == index).astype(np.uint8) for contours in (predicted, labelled))
        counts[1, index] = np.count_nonzero(of_prediction & cv2.dilate(of_label, disk))
        counts[3, index] = np.count_nonzero(of_label & cv2.dilate(of_prediction, disk))
    return counts
