"""Evaluation: one pass over the images, one confusion matrix for each protocol and image.

A model is evaluated like `paddleseg.core.evaluate`, to the same areas in pixels; a network of engine.runtime is
evaluated by the class maps that it returns when it is deployed.
"""

from dataclasses import dataclass, replace
from typing import Callable, Dict, Iterator, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from compat import UserError

import numpy as np
import paddle
from paddle import nn
from paddle.io import DataLoader, Dataset
from tqdm import tqdm

from data import SegmentationDataset, init_loader_worker
from data.files import check_labelled
from engine.evaluation import metrics
from engine.evaluation.predictor import Prediction, predictor_of
from engine.recipe import Protocol
from engine.runtime import Network


class ImageResult(NamedTuple):
    """The result of one image under one protocol."""

    index: int  # in the dataset
    label: np.ndarray  # [H, W] uint8, 255 where ignored
    prediction: np.ndarray  # [H, W] uint8
    confusion: np.ndarray  # [K, K] int64, rows label, columns prediction
    details: Optional[np.ndarray] = None  # [H, W] bool, the detail head's prediction, if requested


@dataclass(frozen=True, eq=False)
class Scores:
    """Sums over images, and every score by its name. Results of parts of a dataset are added with `+`.

    Attributes:
        confusion: [K, K] int64, rows label, columns prediction; ignored pixels are not in it.
        images: how many were summed.
        replicates: [B, 3, K] int64, the areas of B bootstrap replicates of the dataset; B is 0 without bootstrap.
        absent: what counts for a class that does not occur, see metrics.ABSENT.
    """

    confusion: np.ndarray
    images: int
    replicates: np.ndarray
    absent: str = "zero"

    @classmethod
    def zero(cls, num_classes: int, absent: str = "zero", bootstrap: int = 0) -> "Scores":
        """The sum of no image."""
        return cls(
            np.zeros((num_classes, num_classes), np.int64), 0, np.zeros((bootstrap, 3, num_classes), np.int64), absent
        )

    def with_image(self, result: ImageResult, seed: int = 0) -> "Scores":
        """This and one more image.

        Each replicate of the bootstrap counts an image as often as a draw from Poisson(1) says. The draws are a
        function of (seed, index), so that neither order nor processes change them, and nothing is kept of an image.
        """
        often = np.random.default_rng([seed, result.index]).poisson(1.0, len(self.replicates))
        replicates = self.replicates + often[:, None, None] * metrics.areas(result.confusion)
        return Scores(self.confusion + result.confusion, self.images + 1, replicates, self.absent)

    def __add__(self, other: "Scores") -> "Scores":
        return Scores(
            self.confusion + other.confusion,
            self.images + other.images,
            self.replicates + other.replicates,
            self.absent,
        )

    def summed(self, all_sum: Callable[[np.ndarray], np.ndarray]) -> "Scores":
        """The scores over all processes; `all_sum` returns the sum over them of an int64 array, in its shape."""
        return replace(
            self,
            confusion=all_sum(self.confusion),
            images=int(all_sum(np.array([self.images], np.int64))[0]),
            replicates=all_sum(self.replicates) if self.replicates.size else self.replicates,
        )

    @property
    def areas(self) -> np.ndarray:
        """[3, K] int64: intersect, prediction and label areas."""
        return metrics.areas(self.confusion)

    @property
    def class_iou(self) -> np.ndarray:
        """[K]."""
        return metrics.class_iou(self.areas, self.absent)

    @property
    def class_precision(self) -> np.ndarray:
        """[K]."""
        return metrics.class_precision(self.areas, self.absent)

    @property
    def class_recall(self) -> np.ndarray:
        """[K]."""
        return metrics.class_recall(self.areas, self.absent)

    @property
    def class_dice(self) -> np.ndarray:
        """[K]."""
        return metrics.class_dice(self.areas, self.absent)

    @property
    def miou(self) -> float:
        """Mean IoU over the classes."""
        return float(metrics.mean_score(self.class_iou))

    @property
    def mdice(self) -> float:
        """Mean Dice over the classes."""
        return float(metrics.mean_score(self.class_dice))

    @property
    def accuracy(self) -> float:
        """Share of right pixels."""
        return float(metrics.accuracy(self.areas))

    @property
    def kappa(self) -> float:
        """Cohen's kappa, in [-1, 1]."""
        return float(metrics.kappa(self.areas))

    def group_miou(self, classes: Sequence[int]) -> float:
        """Mean IoU over some of the classes."""
        return float(metrics.mean_score(self.class_iou[list(classes)]))

    def miou_interval(self, level: float = 0.95) -> Optional[Tuple[float, float]]:
        """Bootstrap percentile interval of the mIoU over images; None without replicates that hold a pixel."""
        drawn = self.replicates[self.replicates.any(axis=(1, 2))]  # of few images, some replicates draw none
        if not len(drawn):
            return None
        means = metrics.mean_score(metrics.class_iou(drawn, self.absent))
        low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


def evaluate(
    model: Union[nn.Layer, Network],
    dataset: SegmentationDataset,
    protocol: Protocol,
    num_workers: int = 0,
    progress: bool = False,
    indices: Optional[Sequence[int]] = None,
    absent: str = "zero",
    bootstrap: int = 0,
) -> Scores:
    """Evaluate a network under one protocol; restores its mode.

    Args:
        model: returns [logits [1, K, H, W], ...] in evaluation mode and is evaluated as in paddleseg; or a network of
            engine.runtime, which is evaluated as it is deployed, see engine.runtime.Segmenter.
        dataset: of mode `val`.
        protocol: scales, flips and windows.
        num_workers: loader processes.
        progress: whether to show a bar.
        indices: the images to take, such as range(rank, len(dataset), count); by default all.
        absent: what counts for a class that does not occur, see metrics.ABSENT.
        bootstrap: number of replicates for `Scores.miou_interval`.

    Raises:
        UserError: for a protocol that cannot be deployed, an image without a label, and label values that are neither
            a class nor ignored.
    """
    protocols = {"": protocol}
    return evaluate_protocols(model, dataset, protocols, num_workers, progress, indices, absent, bootstrap)[""]


def evaluate_protocols(
    model: Union[nn.Layer, Network],
    dataset: SegmentationDataset,
    protocols: Mapping[str, Protocol],
    num_workers: int = 0,
    progress: bool = False,
    indices: Optional[Sequence[int]] = None,
    absent: str = "zero",
    bootstrap: int = 0,
) -> Dict[str, Scores]:
    """The scores under several protocols from one pass over the images; see `evaluate`."""
    scores = {name: Scores.zero(dataset.num_classes, absent, bootstrap) for name in protocols}
    for results in evaluate_images(model, dataset, protocols, num_workers, progress, indices):
        scores = {name: scores[name].with_image(result) for name, result in results.items()}
    return scores


def evaluate_images(
    model: Union[nn.Layer, Network],
    dataset: SegmentationDataset,
    protocols: Mapping[str, Protocol],
    num_workers: int = 0,
    progress: bool = False,
    indices: Optional[Sequence[int]] = None,
    details: bool = False,
) -> Iterator[Dict[str, ImageResult]]:
    """Yield {protocol: result} of one image after the other, each read once; see `evaluate`.

    With `details`, results also have the detail head's prediction, see `inference.predict_details`.

    A model is in evaluation mode between the images, and in its former mode when the iterator is exhausted or closed.
    """
    check_labelled(dataset.samples)
    predict = predictor_of(model, dataset.transform.normalize, protocols, details)
    indices = range(len(dataset)) if indices is None else indices
    loader = DataLoader(
        _Labelled(dataset),
        batch_sampler=[[index] for index in indices],
        # Images go to the device as bytes when they are predicted; labels stay where they are compared.
        places=[paddle.CPUPlace()],
        num_workers=num_workers,
        return_list=True,
        worker_init_fn=init_loader_worker,
    )
    with predict:
        for pair, index in zip(tqdm(loader, "evaluating", disable=not progress, unit="image"), indices):
            image, label = (one.numpy()[0] for one in pair)
            yield {name: _result(label, found, index, dataset) for name, found in predict(image).items()}


class _Labelled(Dataset):
    """(image [H, W, 3] uint8 RGB, label [H, W] uint8) of a dataset's files."""

    def __init__(self, dataset: SegmentationDataset):
        super().__init__()
        self.dataset = dataset

    def __getitem__(self, index: int):
        return tuple(self.dataset.read(index))

    def __len__(self) -> int:
        return len(self.dataset)


def _result(label: np.ndarray, found: Prediction, index: int, dataset: SegmentationDataset) -> ImageResult:
    try:
        confusion = metrics.confusion_matrix(label, found.classes, dataset.num_classes, dataset.ignore_index)
    except UserError as error:
        raise UserError(f"{dataset.samples[index].label}: {error}") from error
    return ImageResult(index, label, found.classes, confusion, found.details)
