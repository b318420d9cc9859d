"""The results of an evaluation by image, for a comparison and for the pictures of the report."""

from itertools import chain
from typing import Iterable, List, NamedTuple

import cv2
import numpy as np

from data import SegmentationDataset
from data.layouts import IMAGE_SUFFIX
from engine.evaluation import metrics
from engine.evaluation.evaluator import ImageResult
from engine.evaluation.pictures import colorize, error_map
from tool.evaluation.report.content import ImageView, Pictures, choose_images, encode_picture


class _Kept(NamedTuple):
    index: int  # in the dataset
    confusion: np.ndarray  # [K, K]
    prediction: np.ndarray  # the class map as PNG, a few kB


class Gathered:
    """One network's results for each image under one protocol.

    Args:
        dataset: that is evaluated.
        views: whether predictions are kept for `image_views`.
    """

    def __init__(self, dataset: SegmentationDataset, views: bool = True):
        self.dataset = dataset
        self.views = views
        self.results: List[_Kept] = []

    def add(self, result: ImageResult) -> None:
        """Keep the result of one image."""
        encoded = cv2.imencode(".png", result.prediction)[1] if self.views else np.zeros(0, np.uint8)
        self.results.append(_Kept(result.index, result.confusion, encoded))

    def take(self, parts: Iterable[List[_Kept]]) -> None:
        """Replace the results by those of all parts of the dataset, in the order of its images."""
        self.results = sorted(chain(*parts), key=lambda kept: kept.index)

    @property
    def confusions(self) -> np.ndarray:
        """[n, K, K] int64: the confusion matrix of each image, rows are labels."""
        classes = self.dataset.num_classes
        return np.array([kept.confusion for kept in self.results], np.int64).reshape(-1, classes, classes)

    def image_views(self) -> List[ImageView]:
        """The scores of every image, with pictures of the worst and the best."""
        confusions = self.confusions
        # A class that is predicted but not labelled counts as an error of the labelled classes, and has no IoU here.
        iou = np.where(confusions.sum(-1) > 0, metrics.class_iou(metrics.areas(confusions)), np.nan)
        means = metrics.mean_score(iou)
        chosen = set(choose_images(np.column_stack([means, iou])))
        return [
            ImageView(self._name(kept), float(mean), scores, self._pictures(kept) if number in chosen else None)
            for number, (kept, mean, scores) in enumerate(zip(self.results, means, iou))
        ]

    def _name(self, kept: _Kept) -> str:
        name = self.dataset.samples[kept.index].image.name
        return name[: -len(IMAGE_SUFFIX)] if name.endswith(IMAGE_SUFFIX) else name

    def _pictures(self, kept: _Kept) -> Pictures:
        palette = self.dataset.classes.palette()
        label = self.dataset.read_label(kept.index)
        prediction = cv2.imdecode(kept.prediction, cv2.IMREAD_UNCHANGED)
        return Pictures(
            image=encode_picture(self.dataset.read_image(kept.index), photo=True),
            label=encode_picture(colorize(label, palette), photo=False),
            prediction=encode_picture(colorize(prediction, palette), photo=False),
            errors=encode_picture(error_map(label, prediction), photo=False),
        )
