"""The one way from an image to its class map, whatever engine computes the network and whoever asks."""

from typing import Set, Tuple

from compat import logger

import cv2
import numpy as np

from engine.runtime.network import Network

Size = Tuple[int, int]
SQUEEZE_TOLERANCE = 0.02
"""By how much the ratio of the sides may change without a warning: rounding to whole pixels stays below."""


class Segmenter:
    """Calls a network on images of any size.

    1. *Scale.* A network of any size sees int(side * scale + 0.5) pixels of each side, which is PaddleSeg's rounding,
       and at least one. A network that is fixed to a size sees that size and the scale does not count: the image is
       squeezed where the ratio of its sides is another, with one warning for each fixed size.
    2. *Interpolation.* The bytes of the image are resized by OpenCV's INTER_LINEAR_EXACT: bilinear between pixel
       centres, rounded to bytes, the same bits on every processor. At scale 0.5 that is the mean of four pixels.
    3. *Decision.* Each pixel of the resized image gets the class of its largest logit, the first among equal ones.
    4. *Back.* The class map is brought to the image's size by the nearest pixel centre, INTER_NEAREST_EXACT.

    paddleseg.core.evaluate differs in that it scales normalised floats and brings logits back before it decides. Where
    the network sees the image as it is, both are the same to the last pixel; elsewhere that protocol takes a resize of
    K maps of the image's size, and gains what the documentation states.

    Args:
        network: of any engine; one that is fixed to a batch of N gets the image N times.
        scale: of images before the network sees them.
    """

    _warned: Set[Size] = set()

    def __init__(self, network: Network, scale: float = 1.0):
        self.network = network
        self.scale = scale

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Class map [H, W] uint8, an array of its own, of an image [H, W, 3] uint8 RGB."""
        class_map = self.network.classes(self.batch(image))[0]
        return restore(class_map, image.shape[:2])

    def batch(self, image: np.ndarray) -> np.ndarray:
        """What the network sees, [N, h, w, 3] uint8, of an image [H, W, 3] uint8 RGB."""
        size = self.seen_size(image.shape[:2])
        if size != image.shape[:2]:
            image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR_EXACT)
        return np.repeat(image[None], self.network.description.batch or 1, axis=0)

    def seen_size(self, size: Size) -> Size:
        """(h, w) that the network sees of an image of (H, W)."""
        fixed = self.network.size
        if fixed is None:
            return scaled_size(size, self.scale)
        ratio = (fixed[0] * size[1]) / (fixed[1] * size[0])
        if abs(ratio - 1) > SQUEEZE_TOLERANCE and fixed not in self._warned:
            self._warned.add(fixed)
            logger.warning(
                "the network is fixed to %dx%d: images of %dx%d are squeezed into it; for their shape export with "
                "--input_shape -1 3 -1 -1, or 1 3 H W",
                *fixed[::-1],
                *size[::-1],
            )
        return fixed


def scaled_size(size: Size, scale: float) -> Size:
    """(h, w) of an image of (H, W) at a scale."""
    height, width = (max(1, int(side * scale + 0.5)) for side in size)
    return height, width


def restore(class_map: np.ndarray, size: Size) -> np.ndarray:
    """A class map [h, w] uint8 at another size (H, W), as a copy: an engine's array is reused by its next call."""
    if class_map.shape == tuple(size):
        return class_map.copy()
    return cv2.resize(class_map, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
