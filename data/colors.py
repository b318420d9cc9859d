"""Colour changes of [H, W, 3] uint8 RGB images; the formulas are those of PIL's ImageEnhance, as PaddleSeg has them."""

from typing import Sequence, Tuple

import cv2
import numpy as np

TRUNCATION = -0.498
"""Added because PIL truncates where OpenCV rounds; not quite a half, so that whole numbers do not change."""

Colors = Sequence[Tuple[str, float]]
"""(name, amount) in the order of application: factors of brightness, contrast and saturation; the shift of the hue."""


def distort_padded(image: np.ndarray, padding: np.ndarray, count: int, colors: Colors) -> Tuple[np.ndarray, np.ndarray]:
    """Distort an image that is going to be padded, as if it were padded already.

    Args:
        image: [H, W, 3] uint8.
        padding: [1, 1, 3] uint8, the colour of the padding.
        count: number of padding pixels; contrast is relative to the mean grey of the padded image.
        colors: see `Colors`.

    Returns:
        (image [H, W, 3] uint8, padding [1, 1, 3] uint8) after the changes.
    """
    for name, amount in colors:
        if name == "brightness":
            change = _table(0.0, amount)
        elif name == "contrast":
            change = _table(_mean_gray(image, padding, count), amount)
        elif name == "saturation":
            change = _saturation(amount)
        else:
            change = _hue_shift(amount)
        image = change(np.ascontiguousarray(image))
        padding = change(padding)
    return image, padding


def _mean_gray(image: np.ndarray, padding: np.ndarray, count: int) -> int:
    gray = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    total = cv2.sumElems(gray)[0] + count * int(cv2.cvtColor(padding, cv2.COLOR_RGB2GRAY)[0, 0])
    return int(total / (gray.size + count) + 0.5)


def _table(level: float, amount: float):
    """value * amount + level * (1 - amount), clipped, by a table of the 256 values."""
    values = np.clip(np.arange(256) * amount + level * (1 - amount), 0, 255).astype(np.uint8)
    return lambda image: cv2.LUT(image, values)


def _saturation(amount: float):
    def change(image: np.ndarray) -> np.ndarray:
        gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        return cv2.addWeighted(image, amount, gray, 1 - amount, TRUNCATION)

    return change


def _hue_shift(amount: float):
    """The hue moved on by `amount`, of which 256 are a full turn."""
    steps = int(np.floor(amount)) % 256

    def change(image: np.ndarray) -> np.ndarray:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
        hsv[..., 0] += np.uint8(steps)  # wraps at 256
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)

    return change
