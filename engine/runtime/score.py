"""mIoU of a network as it is deployed: bytes in, class map out."""

from typing import Optional, Sequence

import cv2
import numpy as np

from data import SegmentationDataset
from engine.evaluation import metrics
from engine.runtime.network import Network


def fit_image(network: Network, image: np.ndarray, scale: float) -> np.ndarray:
    """The batch [N, h, w, 3] that the network takes of an image [H, W, 3]: its fixed size, or the image scaled.

    A network of a fixed batch gets the image as often as it wants.
    """
    height, width = network.size or (int(side * scale + 0.5) for side in image.shape[:2])
    if (height, width) != image.shape[:2]:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.repeat(image[None], network.description.batch or 1, axis=0)


def deployed_miou(
    network: Network, dataset: SegmentationDataset, scale: float = 1.0, indices: Optional[Sequence[int]] = None
) -> float:
    """mIoU in percent at the labels' size, to which class maps are brought by the nearest pixel."""
    confusion = np.zeros((dataset.num_classes, dataset.num_classes), np.int64)
    for index in range(len(dataset)) if indices is None else indices:
        label = dataset.read_label(index)
        classes = network.classes(fit_image(network, dataset.read_image(index), scale))[0]
        if classes.shape != label.shape:
            classes = cv2.resize(classes, label.shape[::-1], interpolation=cv2.INTER_NEAREST)
        confusion += metrics.confusion_matrix(label, classes, dataset.num_classes, dataset.ignore_index)
    return 100 * float(metrics.mean_score(metrics.class_iou(metrics.areas(confusion))))
