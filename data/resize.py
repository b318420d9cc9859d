"""Resizing only the part of an image that a window of the result needs.

OpenCV resizes by sampling the source at (x + 0.5) * scale - 0.5, or at floor(x * scale) for labels. A window keeps
that grid when it begins where the grid meets a source pixel, so it is widened to the left and to the top until it does.
"""

from typing import NamedTuple, Tuple

import cv2
import numpy as np

GRID_TOLERANCE = 1 / 1024
"""Source pixels by which a window's grid may be off. On both axes together, and with OpenCV's weights of 11 bits, less
than 255 * 3 / 1024 grey levels between a black and a white pixel, and so never more than one after rounding."""


class Window(NamedTuple):
    """Which part, in pixels, of an image that is resized to `size` (w, h)."""

    size: Tuple[int, int]
    left: int
    top: int
    width: int
    height: int

    def columns(self, source: int) -> np.ndarray:
        """[width] int64: the column of a source of that width which OpenCV's nearest neighbour takes."""
        return _nearest(self.left, self.width, self.size[0], source)

    def rows(self, source: int) -> np.ndarray:
        """[height] int64: the row of a source of that height which OpenCV's nearest neighbour takes."""
        return _nearest(self.top, self.height, self.size[1], source)


def resize_window(image: np.ndarray, window: Window) -> np.ndarray:
    """cv2.resize(image, window.size)[the window] to within one grey level, from no more pixels than that needs.

    Args:
        image: [H, W, 3] uint8.
        window: inside of its `size`.

    Returns:
        [window.height, window.width, 3] uint8, a view of `image` where the size stays.
    """
    height, width = image.shape[:2]
    if window.size == (width, height):
        return image[window.top : window.top + window.height, window.left : window.left + window.width]
    columns, left = _source_span(window.left, window.width, window.size[0], width)
    rows, top = _source_span(window.top, window.height, window.size[1], height)
    factors = {"fx": window.size[0] / width, "fy": window.size[1] / height}
    part = image[rows, columns]
    if all(round(side * factor) == side for side, factor in zip(part.shape, (factors["fy"], factors["fx"]))):
        # OpenCV copies if the size does not change, as when a small window is rounded.
        part, top, left = image, window.top, window.left
    resized = cv2.resize(part, None, interpolation=cv2.INTER_LINEAR, **factors)
    return resized[top : top + window.height, left : left + window.width]


def nearest_window(label: np.ndarray, window: Window, flip: bool = False) -> np.ndarray:
    """cv2.resize(label, window.size, interpolation=cv2.INTER_NEAREST)[the window], mirrored if `flip`; exactly.

    Args:
        label: [H, W] uint8.

    Returns:
        [window.height, window.width] uint8, contiguous.
    """
    rows, columns = window.rows(label.shape[0]), window.columns(label.shape[1])
    first, last = columns[0], columns[-1] + 1
    return label[:, first:last][rows].take((columns[::-1] if flip else columns) - first, axis=1)


def _nearest(start: int, length: int, target: int, source: int) -> np.ndarray:
    scale = 1 / (target / source)  # as OpenCV computes it, to the last bit
    return np.minimum(np.floor(np.arange(start, start + length) * scale).astype(np.int64), source - 1)


def _source_span(start: int, length: int, target: int, source: int) -> Tuple[slice, int]:
    """(the source pixels to resize, where the target pixel `start` is in the result), along one axis."""
    scale = source / target
    # A target pixel left of the first source pixel's centre is interpolated with that pixel's left neighbour.
    latest = max(0, start - int(np.ceil(0.5 / scale)))
    meetings = np.arange(latest, -1, -1) * scale
    origin = latest - int(np.argmax(np.abs(meetings - np.rint(meetings)) <= GRID_TOLERANCE))
    first = int(round(origin * scale))
    last = first + int(np.ceil((start + length - origin) * scale)) + 2
    return slice(first, min(last, source)), start - origin
