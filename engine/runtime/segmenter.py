"""From an image to its class map, in the same way for every engine."""

from typing import NamedTuple, Optional, Set, Tuple

from compat import UserError, logger

import cv2
import numpy as np

from data.classes import IGNORED
from engine.runtime.network import Network

Size = Tuple[int, int]
SQUEEZE_TOLERANCE = 0.02
"""Change of the aspect ratio up to which there is no warning; rounding to whole pixels changes it by less."""


class Segmentation(NamedTuple):
    """The class map of an image of (H, W), and its confidence."""

    classes: np.ndarray  # [H, W] uint8
    confidence: np.ndarray  # [H, W] float32 in (0, 1]

    def known(self, unknown_below: float) -> np.ndarray:
        """The class map with 255, which readers of labels ignore, where the confidence is less than this."""
        return np.where(self.confidence < unknown_below, np.uint8(IGNORED), self.classes)


class Segmenter:
    """Calls a network on images of any size.

    1. *Scale.* A network of any size sees int(side * scale + 0.5) pixels of each side, which is PaddleSeg's rounding,
       and at least one. A network that is fixed to a size sees that size and the scale does not count: the image is
       squeezed where the ratio of its sides is another, with one warning for each fixed size.
    2. *Interpolation.* The bytes of the image are resized by OpenCV's INTER_LINEAR_EXACT: bilinear between pixel
       centres, rounded to bytes, the same bits on every processor. At scale 0.5 that is the mean of four pixels.
    3. *Decision.* Each pixel of the resized image gets the class of its largest logit, the first among equal ones.
    4. *Back.* The class map, and the confidence where it is asked for, are brought to the image's size by the nearest
       pixel centre, INTER_NEAREST_EXACT.

    paddleseg.core.evaluate differs in that it scales normalised floats and brings logits back before it decides. Where
    the network sees the image at its own size, both return the same class map; otherwise that protocol also resizes K
    maps to the image's size, and gains a little mIoU (docs/benchmarks.md).

    Args:
        network: of any engine; one that is fixed to a batch of N gets the image N times.
        scale: of images before the network sees them; by default that of `deploy.yaml`.
        unknown_below: pixels of a smaller confidence, in [0, 1], become 255; 0 asks for no confidence.

    Raises:
        UserError: for `unknown_below` out of range, or with a network that gives no confidence.
    """

    _warned: Set[Size] = set()

    def __init__(self, network: Network, scale: Optional[float] = None, unknown_below: float = 0.0):
        check_unknown_below(unknown_below)
        if unknown_below and not network.gives_confidence:
            raise UserError(
                f"--unknown_below {unknown_below}: this network returns class maps without confidence; export it with "
                "--output_op softmax"
            )
        self.network = network
        self.scale = network.description.scale if scale is None else scale
        self.unknown_below = unknown_below

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Class map [H, W] uint8, an array of its own, of an image [H, W, 3] uint8 RGB."""
        if self.unknown_below:
            return self.segment(image).known(self.unknown_below)
        class_map = self.network.classes(self.batch(image))[0]
        return restore(class_map, image.shape[:2])

    def segment(self, image: np.ndarray) -> Segmentation:
        """The class of every pixel of an image [H, W, 3] uint8 RGB, also of unknown ones, and its confidence.

        Raises:
            UserError: for a network that gives no confidence.
        """
        maps = self.network.confident_classes(self.batch(image))
        return Segmentation(*(restore(one[0], image.shape[:2]) for one in maps))

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
    """(h, w) of an image of (H, W) at a scale, with PaddleSeg's rounding, and at least one pixel."""
    height, width = (max(1, int(side * scale + 0.5)) for side in size)
    return height, width


def restore(values: np.ndarray, size: Size) -> np.ndarray:
    """A map [h, w] at another size (H, W), as a copy: an engine's array is reused by its next call."""
    if values.shape == tuple(size):
        return values.copy()
    return cv2.resize(values, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def check_unknown_below(value: float) -> None:
    """Raise UserError unless the confidence is in [0, 1]."""
    if not 0 <= value <= 1:
        raise UserError(f"--unknown_below {value}: give a confidence from 0 to 1")
