"""Class-uniform sampling: rare classes are sought (Zhu et al., CVPR 2019, section 3.3; Zhang et al., SFNet)."""

from typing import NamedTuple, Optional, Tuple

from compat import UserError
from compat.options import Count, Options, Share

import numpy as np

from data.resize import Window


class Sought(NamedTuple):
    """A class that a training sample is to show, and the image that it is taken from."""

    class_id: int
    index: int


class ClassUniformOptions(Options):
    """A recipe's `class_uniform`.

    prob: share of the samples that are chosen by class; the others come in their epoch's order.
    min_pixels: an image holds a class if it has as many pixels of it.
    """

    prob: Share = 0.5
    min_pixels: Count = 50


class ClassUniform:
    """Chooses images so that every class is as likely.

    Args:
        histogram: [n, K], pixels of each class in each image.
        options: how many samples are chosen, and what holds a class.

    Raises:
        UserError: when no class occurs as often in any image.
    """

    def __init__(self, histogram: np.ndarray, options: ClassUniformOptions):
        self.prob = options.prob
        holders = (np.flatnonzero(counts >= options.min_pixels) for counts in histogram.T)
        self.holders = {class_id: images for class_id, images in enumerate(holders) if len(images)}
        if not self.holders:
            raise UserError(f"class_uniform: min_pixels: no image has {options.min_pixels} pixels of a class; lower it")

    def draw(self, number: int, seed: int) -> Optional[Sought]:
        """What sample `number` is to show, a function of number and seed; None: nothing in particular."""
        rng = np.random.default_rng([seed, number, 3, 0, 0])  # five numbers: no draws of data.loader follow these
        if rng.random() >= self.prob:
            return None
        class_id = list(self.holders)[rng.integers(len(self.holders))]
        return Sought(class_id, int(rng.choice(self.holders[class_id])))


def place_window(label: np.ndarray, class_id: int, window: Window, rng: np.random.Generator) -> Tuple[int, int]:
    """(left, top) of a window that shows a pixel of a class: any of its pixels, anywhere in the window, as likely.

    Args:
        label: [H, W] uint8, of the file's size.
        class_id: the class; where it does not occur the window stays.
        window: of the label resized to `window.size`.
        rng: draws the pixel and its place.
    """
    pixels = np.flatnonzero(label == class_id)
    if not len(pixels):
        return window.left, window.top
    row, column = divmod(int(pixels[rng.integers(len(pixels))]), label.shape[1])
    place = []
    for at, source, size, length in (
        (column, label.shape[1], window.size[0], window.width),
        (row, label.shape[0], window.size[1], window.height),
    ):
        centre = min(int((at + 0.5) * size / source), size - 1)
        place.append(int(rng.integers(max(0, centre - length + 1), min(centre, size - length) + 1)))
    return place[0], place[1]
