"""Every score of one network under one protocol, collected image by image."""

from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from compat import logger

import numpy as np
import paddle
from paddle import nn

from data import CITYSCAPES, SegmentationDataset
from data.classes import CITYSCAPES_CATEGORIES, IGNORED, SMALL_OBJECTS
from data.files import read_instance_ids
from engine.evaluation import metrics
from engine.evaluation.boundary import BoundaryScores
from engine.evaluation.evaluator import ImageResult, Scores, evaluate_images
from engine.evaluation.instance_iou import CATEGORIES, CLASSES, InstanceScores, category_iou, instance_file
from engine.recipe import Protocol
from engine.runtime import Network
from loss import detail_target


@dataclass(frozen=True)
class ScoreOptions:
    """What is scored in addition to the confusion matrix, and how.

    absent: what counts for a class that does not occur, see metrics.ABSENT.
    bootstrap: replicates for the confidence interval of the mIoU; 0 for none.
    seed: of the bootstrap.
    boundary_widths: in pixels, see engine.evaluation.boundary; empty for no boundary scores.
    details: whether the detail head is scored against its target; it costs a run of the network.
    ignored_as_label: of the detail target, see loss.detail_target.
    """

    absent: str = "zero"
    bootstrap: int = 0
    seed: int = 0
    boundary_widths: Tuple[int, ...] = ()
    details: bool = False
    ignored_as_label: bool = False


class Score(NamedTuple):
    """A number with its name in files and its name for people."""

    key: str
    title: str
    value: float


class Column(NamedTuple):
    """A score of each class [K], NaN where a class has none."""

    key: str
    title: str
    values: np.ndarray


class Scorecard:
    """The scores of one protocol.

    Attributes:
        scores: the confusion matrix and the scores derived from it.
        boundaries: one for each width.
        instances: for Cityscapes with instance ids, else None.
        detail_areas: [3, 1] int64: detail pixels found, predicted, and in the target; None without details.
    """

    def __init__(self, names: Tuple[str, ...], options: ScoreOptions, has_instances: bool):
        self.names = names
        self.options = options
        self.scores = Scores.zero(len(names), options.absent, options.bootstrap)
        self.boundaries = [BoundaryScores.zero(width, len(names), options.absent) for width in options.boundary_widths]
        self.instances = InstanceScores.zero() if has_instances else None
        self.detail_areas: Optional[np.ndarray] = None

    def add(
        self, result: ImageResult, instance_ids: Optional[np.ndarray] = None, details: Optional[np.ndarray] = None
    ) -> None:
        """Count an image; `instance_ids` [H, W] uint16, `details` [H, W] bool, the detail target."""
        self.scores = self.scores.with_image(result, self.options.seed)
        self.boundaries = [scores.with_image(result.label, result.prediction) for scores in self.boundaries]
        if self.instances is not None:
            self.instances = self.instances.with_image(instance_ids, result.prediction)
        if result.details is not None:
            marked = result.details & (result.label != IGNORED)
            areas = np.array([[(marked & details).sum()], [marked.sum()], [details.sum()]], np.int64)
            self.detail_areas = areas if self.detail_areas is None else self.detail_areas + areas

    def __add__(self, other: "Scorecard") -> "Scorecard":
        """The scores over the images of both; they must be of the same network and protocol."""
        total = Scorecard(self.names, self.options, self.instances is not None)
        total.scores = self.scores + other.scores
        total.boundaries = [own + further for own, further in zip(self.boundaries, other.boundaries)]
        if self.instances is not None:
            total.instances = self.instances + other.instances
        areas = [card.detail_areas for card in (self, other) if card.detail_areas is not None]
        total.detail_areas = sum(areas) if areas else None
        return total

    def totals(self) -> List[Score]:
        """The scores of the whole dataset."""
        scores = self.scores
        interval = scores.miou_interval()
        totals = [Score("miou", "mean IoU", scores.miou)]
        if interval:
            totals += [
                Score("miou_low", "mean IoU, 95 % from", interval[0]),
                Score("miou_high", "mean IoU, 95 % to", interval[1]),
            ]
        totals += [
            Score("mdice", "mean Dice", scores.mdice),
            Score("accuracy", "pixel accuracy", scores.accuracy),
            Score("kappa", "kappa", scores.kappa),
        ]
        small = [index for index, name in enumerate(self.names) if name in SMALL_OBJECTS]
        if small:
            totals.append(Score("small_object_miou", "small objects, mean IoU", scores.group_miou(small)))
        totals += self._cityscapes_totals() + self._boundary_totals() + self._detail_totals()
        return totals

    def columns(self) -> List[Column]:
        """The scores of each class."""
        scores = self.scores
        columns = [
            Column("iou", "IoU", scores.class_iou),
            Column("precision", "precision", scores.class_precision),
            Column("recall", "recall", scores.class_recall),
            Column("dice", "Dice", scores.class_dice),
        ]
        if self.instances is not None:
            of_class = np.full(len(self.names), np.nan)
            of_class[[self.names.index(name) for name in CLASSES]] = self.instances.class_iiou(scores.confusion)
            columns.append(Column("iiou", "iIoU", of_class))
        for boundary in self.boundaries:
            d = boundary.width
            columns += [
                Column(f"boundary_iou_{d}px", f"bound.IoU {d}px", boundary.class_boundary_iou),
                Column(f"boundary_f_{d}px", f"bound.F {d}px", boundary.class_boundary_f),
                Column(f"trimap_iou_{d}px", f"trimap {d}px", boundary.class_trimap_iou),
            ]
        return columns

    def categories(self) -> Dict[str, Dict[str, float]]:
        """{category: {"iou": ..., "iiou": NaN where it has none}} of Cityscapes; empty for other datasets."""
        if self.names != CITYSCAPES.names:
            return {}
        table = {
            name: {"iou": float(iou), "iiou": float("nan")}
            for name, iou in zip(CITYSCAPES_CATEGORIES, category_iou(self.scores.confusion))
        }
        if self.instances is not None:
            for name, iiou in zip(CATEGORIES, self.instances.category_iiou(self.scores.confusion)):
                table[name]["iiou"] = float(iiou)
        return table

    def _cityscapes_totals(self) -> List[Score]:
        if self.names != CITYSCAPES.names:
            return []
        confusion = self.scores.confusion
        totals = [Score("category_miou", "categories, mean IoU", float(metrics.mean_score(category_iou(confusion))))]
        if self.instances is not None:
            of_class = metrics.mean_score(self.instances.class_iiou(confusion))
            of_category = metrics.mean_score(self.instances.category_iiou(confusion))
            totals += [
                Score("class_iiou", "mean iIoU", float(of_class)),
                Score("category_iiou", "categories, mean iIoU", float(of_category)),
            ]
        return totals

    def _boundary_totals(self) -> List[Score]:
        totals = []
        for boundary in self.boundaries:
            d = boundary.width
            totals += [
                Score(f"boundary_iou_{d}px", f"boundary IoU, {d} px", boundary.boundary_iou),
                Score(f"boundary_f_{d}px", f"boundary F-score, {d} px", boundary.boundary_f),
                Score(f"trimap_miou_{d}px", f"trimap mean IoU, {d} px", boundary.trimap_miou),
            ]
        return totals

    def _detail_totals(self) -> List[Score]:
        if self.detail_areas is None:
            return []
        measures = (metrics.class_dice, metrics.class_precision, metrics.class_recall)
        f, precision, recall = (float(measure(self.detail_areas)[0]) for measure in measures)
        return [
            Score("detail_f", "detail head, F-score", f),
            Score("detail_precision", "detail head, precision", precision),
            Score("detail_recall", "detail head, recall", recall),
        ]


def score_protocols(
    model: Union[nn.Layer, Network],
    dataset: SegmentationDataset,
    protocols: Mapping[str, Protocol],
    options: ScoreOptions,
    num_workers: int = 0,
    progress: bool = False,
    on_image: Optional[Callable[[Dict[str, ImageResult]], None]] = None,
    indices: Optional[Sequence[int]] = None,
) -> Dict[str, Scorecard]:
    """The scorecards of several protocols from one pass over the images.

    `on_image` is called with each image's results by protocol. See `evaluator.evaluate` for the rest.
    """
    instance_files = instance_files_of(dataset)
    cards = {name: Scorecard(dataset.classes.names, options, instance_files is not None) for name in protocols}
    for results in evaluate_images(model, dataset, protocols, num_workers, progress, indices, options.details):
        first = next(iter(results.values()))
        instance_ids = read_instance_ids(instance_files[first.index]) if instance_files else None
        details = None
        if any(result.details is not None for result in results.values()):
            labels = paddle.to_tensor(first.label[None].astype("int64"))
            details = detail_target(labels, IGNORED, options.ignored_as_label).numpy()[0, 0] > 0
            details &= first.label != IGNORED
        for name, result in results.items():
            cards[name].add(result, instance_ids, details)
        if on_image:
            on_image(results)
    return cards


def instance_files_of(dataset: SegmentationDataset) -> Optional[List]:
    """The file of instance ids of each image of Cityscapes, None where they are not all there."""
    if dataset.classes != CITYSCAPES:
        return None
    files = [instance_file(sample.label) for sample in dataset.samples]
    missing = files.count(None)
    if missing:
        logger.info("no iIoU: %d of %d labels have no *_gtFine_instanceIds.png beside them", missing, len(files))
        return None
    return files
