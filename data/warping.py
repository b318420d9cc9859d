"""PaddleSeg's RandomRotation and RandomAffine; of a rotated image, only the window that is needed is computed."""

from typing import NamedTuple, Tuple

from compat.options import Label, NotNegative, Number, Positive, custom_error

import cv2
import numpy as np
from pydantic import Field, model_validator
from typing_extensions import Annotated, Literal

from data.classes import IGNORED
from data.resize import Window, nearest_window, resize_window
from data.step import Side, Step

MARGIN = 2  # source pixels beyond a rotated window that interpolation reads

Angle = Annotated[Number, Field(ge=0, le=180)]
Grey = Annotated[Number, Field(ge=0, le=255)]


class Padding(NamedTuple):
    """Values beyond the image: of each channel of the image, and of the label."""

    image: int
    label: int


class Rotation(NamedTuple):
    """A rotation of an image of `size` (w, h) by `degrees`, counterclockwise, onto a canvas that holds all of it."""

    degrees: float
    size: Tuple[int, int]

    @property
    def canvas(self) -> Tuple[int, int]:
        """(w, h), rounded as in PaddleSeg."""
        width, height = self.size
        cosine, sine = np.abs(self._about_center()[0, :2])
        return max(1, int(height * sine + width * cosine)), max(1, int(height * cosine + width * sine))

    def matrix(self) -> np.ndarray:
        """[2, 3]: from the image's pixels to the canvas's."""
        matrix, middle = self._about_center(), (self.size[0] // 2, self.size[1] // 2)
        matrix[:, 2] += np.array(self.canvas) / 2 - middle
        return matrix

    def _about_center(self) -> np.ndarray:
        return cv2.getRotationMatrix2D((self.size[0] // 2, self.size[1] // 2), self.degrees, 1.0)


def rotate_window(
    image: np.ndarray, label: np.ndarray, rotation: Rotation, window: Window, padding: Padding
) -> Tuple[np.ndarray, np.ndarray]:
    """A window of the canvas, of image and label; only the pixels that it shows are resized and rotated.

    A window of the whole canvas equals PaddleSeg's rotation; others differ by at most OpenCV's 1/32 of a pixel.

    Args:
        image: [H, W, 3] uint8, of the file's size; it is resized to `rotation.size` and rotated.
        label: [H, W] uint8, likewise.
        rotation: of the resized image.
        window: of the canvas.
        padding: values beyond the image.
    """
    matrix, size = rotation.matrix(), (window.width, window.height)
    corners = [[window.left + x, window.top + y, 1] for x in (0, window.width) for y in (0, window.height)]
    seen = np.array(corners) @ cv2.invertAffineTransform(matrix).T
    low = np.clip(np.floor(seen.min(0)).astype(int) - MARGIN, 0, None)
    high = np.minimum(np.ceil(seen.max(0)).astype(int) + MARGIN, rotation.size)
    if (high <= low).any():  # the window shows nothing of the image
        shape = (window.height, window.width)
        return np.full((*shape, 3), padding.image, np.uint8), np.full(shape, padding.label, np.uint8)
    part = Window(rotation.size, int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1]))
    matrix[:, 2] += matrix[:, :2] @ low - (window.left, window.top)
    return _warp(resize_window(image, part), nearest_window(label, part), matrix, size, padding)


def _warp(image, label, matrix: np.ndarray, size: Tuple[int, int], padding: Padding) -> Tuple[np.ndarray, np.ndarray]:
    """Warp image (linear) and label (nearest) by a matrix [2, 3] to `size` (w, h)."""
    border = {"borderMode": cv2.BORDER_CONSTANT}
    image = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderValue=(padding.image,) * 3, **border)
    label = cv2.warpAffine(label, matrix, size, flags=cv2.INTER_NEAREST, borderValue=padding.label, **border)
    return image, label


class RandomRotation(Step):
    """Rotates by an angle of +- max_rotation degrees, onto a canvas that holds the whole image."""

    type: Literal["RandomRotation"] = "RandomRotation"
    max_rotation: Angle = 15.0
    im_padding_value: Grey = 127.5
    label_padding_value: Label = IGNORED

    @property
    def padding(self) -> Padding:
        return Padding(int(self.im_padding_value), self.label_padding_value)

    def draw(self, rng: np.random.Generator) -> float:
        return float(rng.uniform(-self.max_rotation, self.max_rotation))


class Affine(NamedTuple):
    """What RandomAffine drew: an offset (x, y) in pixels of the new image, an angle in degrees, a scale."""

    offset: Tuple[float, float]
    degrees: float
    scale: float


class RandomAffine(Step):
    """Moves, rotates and scales the file's image into an image of `size` (w, h), before scaling and crop."""

    type: Literal["RandomAffine"] = "RandomAffine"
    size: Tuple[Side, Side] = (224, 224)
    translation_offset: NotNegative = 0.0
    max_rotation: Angle = 15.0
    min_scale_factor: Positive = 0.75
    max_scale_factor: Positive = 1.25
    im_padding_value: Grey = 128.0
    label_padding_value: Label = IGNORED

    @model_validator(mode="after")
    def _check_range(self):
        if self.min_scale_factor > self.max_scale_factor:
            raise custom_error(
                f"min_scale_factor {self.min_scale_factor:g} is above max_scale_factor {self.max_scale_factor:g}"
            )
        return self

    def draw(self, rng: np.random.Generator) -> Affine:
        x, y, turn, grow = rng.random(4)
        offset = ((2 * x - 1) * self.translation_offset, (2 * y - 1) * self.translation_offset)
        scale = self.min_scale_factor + grow * (self.max_scale_factor - self.min_scale_factor)
        return Affine(offset, (2 * turn - 1) * self.max_rotation, scale)

    def apply(self, image: np.ndarray, label: np.ndarray, drawn: Affine) -> Tuple[np.ndarray, np.ndarray]:
        """Image [h, w, 3] and label [h, w] of `size`."""
        padding = Padding(int(self.im_padding_value), self.label_padding_value)
        return _warp(image, label, self._matrix(image.shape[1::-1], drawn), self.size, padding)

    def _matrix(self, source: Tuple[int, int], drawn: Affine) -> np.ndarray:
        """[2, 3], from an image of `source` (w, h): middle to middle, then turned and scaled about it and the offset.

        At scale 1 the image has, on the average of both sides, the new size.
        """
        (width, height), last = self.size, np.maximum(1, np.array(source) - 1)
        shift = np.array([[1, 0, (width - last[0]) / 2], [0, 1, (height - last[1]) / 2], [0, 0, 1]])
        scale = drawn.scale * (width / last[0] + height / last[1]) / 2
        cosine, sine = scale * np.cos(np.deg2rad(drawn.degrees)), scale * np.sin(np.deg2rad(drawn.degrees))
        x, y = width / 2 + drawn.offset[0], height / 2 + drawn.offset[1]
        turn = np.array([[cosine, sine, (1 - cosine) * x - sine * y], [-sine, cosine, sine * x + (1 - cosine) * y]])
        return turn @ shift
