"""PaddleSeg's RandomBlur and RandomNoise: their parameters are drawn, then applied to a finished crop."""

from typing import NamedTuple, Optional

from compat.options import NotNegative, Share

import cv2
import numpy as np
from typing_extensions import Literal

from data.step import Step

BLURS = ("gaussian", "median", "blur")


class Blur(NamedTuple):
    """A drawn blur: its kind (`gaussian`, `median` or `blur`, the plain mean) and its width in pixels."""

    kind: str
    width: int

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """[H, W, 3] uint8 -> the same."""
        if self.kind == "median":
            return cv2.medianBlur(image, self.width)
        if self.kind == "blur":
            return cv2.blur(image, (self.width, self.width))
        return cv2.GaussianBlur(image, (self.width, self.width), 0)


class Noise(NamedTuple):
    """Drawn normal noise: its standard deviation in grey levels, and the seed of its values."""

    sigma: float
    seed: int

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """[H, W, 3] uint8 -> the same, with independent noise in each channel of each pixel, rounded and clipped."""
        values = np.random.default_rng(self.seed).standard_normal(image.shape, np.float32) * self.sigma
        return np.clip(np.rint(image + values), 0, 255).astype(np.uint8)


class RandomBlur(Step):
    """Blur of width 3, 5, 7 or 9, with a probability of 1 / int(1 / prob), as in PaddleSeg.

    blur_type: `gaussian`, `median`, `blur` (the plain mean), or `random` for one of these, drawn 3 : 3 : 4.
    """

    type: Literal["RandomBlur"] = "RandomBlur"
    prob: Share = 0.1
    blur_type: Literal["gaussian", "median", "blur", "random"] = "gaussian"

    def draw(self, rng: np.random.Generator) -> Optional[Blur]:
        if self.prob == 0 or rng.integers(int(1 / self.prob)):
            return None
        width = min(9, int(rng.integers(3, 10)) | 1)
        kind = BLURS[int(rng.choice(3, p=(0.3, 0.3, 0.4)))] if self.blur_type == "random" else self.blur_type
        return Blur(kind, width)


class RandomNoise(Step):
    """Normal noise with probability `prob`; its standard deviation is drawn from [0, max_sigma], in grey levels."""

    type: Literal["RandomNoise"] = "RandomNoise"
    prob: Share = 0.5
    max_sigma: NotNegative = 10.0

    def draw(self, rng: np.random.Generator) -> Optional[Noise]:
        if rng.random() >= self.prob:
            return None
        return Noise(float(rng.random() * self.max_sigma), int(rng.integers(2**31)))
