"""Colour changes of an image without padding."""

import numpy as np

from data.colors import Colors, distort_padded


def distort_colors(image: np.ndarray, colors: Colors) -> np.ndarray:
    """The image [H, W, 3] uint8 with the changes applied in order."""
    return distort_padded(image, np.zeros((1, 1, 3), np.uint8), 0, colors)[0]
