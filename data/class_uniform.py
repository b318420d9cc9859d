"""Class-uniform sampling: samples are chosen by class (Zhu et al., CVPR 2019, section 3.3; Zhang et al., SFNet)."""

from typing import NamedTuple, Optional, Tuple

from compat import UserError
from compat.options import Count, Options, Share

import numpy as np

from data.resize import Window
from data.warping import Rotation


class ClassTarget(NamedTuple):
    """The class that a training sample is to show, and the index of an image that holds it."""

    class_id: int
    index: int


class ClassUniformOptions(Options):
    """A recipe's `class_uniform`.

    prob: share of the samples that are chosen by class; the others come in their epoch's order.
    min_pixels: an image holds a class if it has at least this many pixels of it.
    """

    prob: Share = 0.5
    min_pixels: Count = 50


class ClassUniform:
    """Chooses images so that all classes are equally likely.

    Args:
        histogram: [n, K], pixels of each class in each image.
        options: the share of the samples that are chosen, and when an image holds a class.

    Raises:
        UserError: if no image has `min_pixels` pixels of any class.
    """

    def __init__(self, histogram: np.ndarray, options: ClassUniformOptions):
        self.prob = options.prob
        holders = (np.flatnonzero(counts >= options.min_pixels) for counts in histogram.T)
        self.holders = {class_id: images for class_id, images in enumerate(holders) if len(images)}
        if not self.holders:
            raise UserError(f"class_uniform: min_pixels: no image has {options.min_pixels} pixels of a class; lower it")

    def draw(self, number: int, seed: int) -> Optional[ClassTarget]:
        """What sample `number` is to show, a function of number and seed; None for nothing in particular."""
        rng = np.random.default_rng([seed, number, 3, 0, 0])  # stream 3, see data.loader
        if rng.random() >= self.prob:
            return None
        class_id = list(self.holders)[rng.integers(len(self.holders))]
        return ClassTarget(class_id, int(rng.choice(self.holders[class_id])))


def place_window(
    label: np.ndarray,
    class_id: int,
    window: Window,
    rng: np.random.Generator,
    rotation: Optional[Rotation] = None,
) -> Tuple[int, int]:
    """(left, top) of a window that shows a pixel of a class; the pixel and its place in it are drawn uniformly.

    Args:
        label: [H, W] uint8, of the file's size.
        class_id: the class; if it does not occur, the window is not moved.
        window: of the label resized to `window.size`, or of the canvas of a rotation.
        rng: draws the pixel and its place.
        rotation: of the resized label, if there is one.
    """
    pixels = np.flatnonzero(label == class_id)
    if not len(pixels):
        return window.left, window.top
    row, column = divmod(int(pixels[rng.integers(len(pixels))]), label.shape[1])
    scaled = rotation.size if rotation else window.size
    point = np.array([(column + 0.5) * scaled[0] / label.shape[1], (row + 0.5) * scaled[1] / label.shape[0], 1.0])
    x, y = rotation.matrix() @ point if rotation else point[:2]
    return _around(x, window.size[0], window.width, rng), _around(y, window.size[1], window.height, rng)


def _around(at: float, size: int, length: int, rng: np.random.Generator) -> int:
    """A start, drawn uniformly, for a window of `length` in `size` that contains position `at`."""
    at = min(max(int(at), 0), size - 1)
    return int(rng.integers(max(0, at - length + 1), min(at, size - length) + 1))
