"""How often each class occurs in a dataset's labels."""

from typing import Callable, Sequence

from compat import UserError

import cv2
import numpy as np

from data.classes import IGNORED
from data.prefetch import in_order, reader_threads

LABELS_AHEAD = 32


def count_classes(label: np.ndarray, num_classes: int) -> np.ndarray:
    """[K] int64: pixels of each class of a label [H, W] uint8 of training ids; ignored pixels are not counted."""
    counts = cv2.calcHist([label], [0], None, [IGNORED + 1], [0, IGNORED + 1]).ravel()
    return counts[:num_classes].astype(np.int64)


def class_histogram(read_label: Callable[[int], np.ndarray], indices: Sequence[int], num_classes: int) -> np.ndarray:
    """[n, K] int64: pixels of each class in each of n labels, which are read once, by several threads.

    A label that raises UserError counts as empty; the error will occur again when the sample is read for training.

    Args:
        read_label: {index: label [H, W] uint8 of training ids} as a function.
        indices: of the labels.
        num_classes: K.
    """

    def count(index: int) -> np.ndarray:
        try:
            return count_classes(read_label(index), num_classes)
        except UserError:
            return np.zeros(num_classes, np.int64)

    return np.stack(list(in_order(count, indices, reader_threads(), LABELS_AHEAD)))
