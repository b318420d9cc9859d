"""From decoded files to network input. Images are RGB, HWC, uint8 until they are normalised to CHW float32.

The augmentation of one sample is drawn first (`TrainTransform.draw`) and then applied (`TrainTransform.apply`): only
the pixels that reach the output are read, resized and coloured, and the draws can be inspected, repeated and compared.
Training images stay uint8 until they are on the network's device (`Normalize.on_device`).
"""

import functools
from typing import Dict, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from compat import UserError, unknown_name
from compat.options import (
    ByType,
    NotNegative,
    Number,
    OneOrMany,
    Positive,
    Share,
    check,
    custom_error,
)

import cv2
import numpy as np
import paddle
from pydantic import Field, model_validator
from typing_extensions import Annotated, Literal

from data.class_uniform import place_window
from data.classes import IGNORED
from data.colors import distort_padded
from data.effects import Blur, Noise, RandomBlur, RandomNoise
from data.resize import Window, nearest_window, resize_window
from data.step import Side, Step
from data.warping import Affine, RandomAffine, RandomRotation, Rotation, rotate_window

PADDING_VALUE = 127  # PaddleSeg's 127.5, once it is uint8
MOST_STEPS = 1000
Scale = Annotated[Number, Field(gt=0, le=64)]


class ResizeStepScaling(Step):
    """Scales by a factor in [min_scale_factor, max_scale_factor]: equally spaced ones, or any if the step is 0."""

    type: Literal["ResizeStepScaling"] = "ResizeStepScaling"
    min_scale_factor: Scale = 0.75
    max_scale_factor: Scale = 1.25
    scale_step_size: NotNegative = 0.25

    @model_validator(mode="after")
    def _check_range(self):
        if self.min_scale_factor > self.max_scale_factor:
            raise custom_error(
                f"min_scale_factor {self.min_scale_factor:g} is above max_scale_factor {self.max_scale_factor:g}"
            )
        if self.scale_step_size and self.max_scale_factor - self.min_scale_factor > MOST_STEPS * self.scale_step_size:
            raise custom_error(
                f"scale_step_size {self.scale_step_size:g} makes more than {MOST_STEPS} steps; 0 is for any"
            )
        return self

    def draw(self, rng: np.random.Generator) -> float:
        if self.min_scale_factor == self.max_scale_factor:
            return self.min_scale_factor
        if self.scale_step_size == 0:
            return float(rng.uniform(self.min_scale_factor, self.max_scale_factor))
        steps = int((self.max_scale_factor - self.min_scale_factor) / self.scale_step_size + 1)
        return float(np.linspace(self.min_scale_factor, self.max_scale_factor, steps)[rng.integers(steps)])


class RandomPaddingCrop(Step):
    """Crops a window of crop_size (w, h).

    An image that is smaller is padded at the right and at the bottom (`small: pad`), or scaled up until it covers the
    window (`scale_up`), as in the original (`transform.py:RandomCrop`). The original resizes such an image twice, which
    blurs it; here it is resized once, from the file's size to the final one.
    """

    type: Literal["RandomPaddingCrop"] = "RandomPaddingCrop"
    crop_size: Tuple[Side, Side] = (512, 512)
    small: Literal["pad", "scale_up"] = "pad"

    def grow(self, width: int, height: int) -> Tuple[int, int]:
        """(w, h) of an image of that size after `scale_up`, rounded as in the original; unchanged with `pad`."""
        factor = max(self.crop_size[0] / width, self.crop_size[1] / height)
        if self.small != "scale_up" or factor <= 1:
            return width, height
        return int(factor * width + 1), int(factor * height + 1)


class RandomHorizontalFlip(Step):
    """Mirrors left and right with probability `prob`."""

    type: Literal["RandomHorizontalFlip"] = "RandomHorizontalFlip"
    prob: Share = 0.5


class RandomDistort(Step):
    """Changes colours, each aspect with its probability, in random order or in the order of the options.

    The factors of brightness, contrast and saturation are in 1 +- range; the hue moves by +- hue_range of 256.
    """

    type: Literal["RandomDistort"] = "RandomDistort"
    brightness_range: Share = 0.5
    brightness_prob: Share = 0.5
    contrast_range: Share = 0.5
    contrast_prob: Share = 0.5
    saturation_range: Share = 0.5
    saturation_prob: Share = 0.5
    hue_range: Annotated[Number, Field(ge=0, le=180)] = 18
    hue_prob: Share = 0.5
    random_order: bool = True

    def draw(self, rng: np.random.Generator) -> Tuple[Tuple[str, float], ...]:
        chosen = []
        names = ("brightness", "contrast", "saturation", "hue")
        for name in rng.permutation(names) if self.random_order else names:
            span, prob = getattr(self, f"{name}_range"), getattr(self, f"{name}_prob")
            if rng.random() < prob:
                chosen.append((str(name), float(rng.uniform(-span, span)) + (name != "hue")))
        return tuple(chosen)


def _scale_and_offset(mean: Sequence[float], std: Sequence[float]) -> Tuple[np.ndarray, np.ndarray]:
    """(value / 255 - mean) / std as value * scale - offset, each [3] float32."""
    return 1 / (255 * np.asarray(std, np.float32)), np.asarray(mean, np.float32) / np.asarray(std, np.float32)


@functools.cache
def _device_constants(
    mean: Tuple[float, ...], std: Tuple[float, ...], _device: str
) -> Tuple[paddle.Tensor, paddle.Tensor]:
    """Scale and offset [3, 1, 1] on the current device, cached so that they are copied once."""
    return tuple(paddle.to_tensor(part[:, None, None]) for part in _scale_and_offset(mean, std))


class Normalize(Step):
    """(value / 255 - mean) / std of each RGB channel."""

    type: Literal["Normalize"] = "Normalize"
    mean: Tuple[Number, Number, Number] = (0.5, 0.5, 0.5)
    std: Tuple[Positive, Positive, Positive] = (0.5, 0.5, 0.5)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """[H, W, 3] uint8 -> [3, H, W] float32."""
        scale, offset = _scale_and_offset(self.mean, self.std)
        return np.ascontiguousarray((image * scale - offset).transpose(2, 0, 1), dtype=np.float32)

    def on_device(self, images: paddle.Tensor) -> paddle.Tensor:
        """[N, H, W, 3] uint8 -> [N, 3, H, W] float32, computed on the device that holds them."""
        scale, offset = _device_constants(tuple(self.mean), tuple(self.std), paddle.get_device())
        return images.transpose([0, 3, 1, 2]).astype("float32") * scale - offset

    def undo(self, image: np.ndarray) -> np.ndarray:
        """[3, H, W] float32 -> [H, W, 3] uint8, for pictures."""
        restored = (image.transpose(1, 2, 0) * self.std + self.mean) * 255
        return np.clip(np.rint(restored), 0, 255).astype(np.uint8)


class Draws(NamedTuple):
    """The augmentation drawn for a sample; `left`, `top` are the crop's offset in the scaled image, before the flip."""

    size: Tuple[int, int]  # (w, h) of the scaled image
    left: int
    top: int
    flip: bool
    colors: Tuple[Tuple[str, float], ...]
    affine: Optional[Affine] = None  # of the file's image, before it is scaled
    rotation: Optional[float] = None  # degrees; the crop's offset is then on the canvas of the rotated image
    blur: Optional[Blur] = None
    noise: Optional[Noise] = None


class TrainTransform:
    """Affine, scale, rotate, crop, flip, distort, blur, noise, always in this order; the device applies `normalize`.

    `transform(image [H, W, 3] uint8 RGB, label [H, W] uint8, rng)` returns (image [h, w, 3] uint8, label [h, w] uint8)
    of the crop size; padding is grey in the image and ignored in the label.
    """

    def __init__(
        self,
        scaling: Optional[ResizeStepScaling] = None,
        crop: Optional[RandomPaddingCrop] = None,
        flip: Optional[RandomHorizontalFlip] = None,
        distort: Optional[RandomDistort] = None,
        normalize: Optional[Normalize] = None,
        affine: Optional[RandomAffine] = None,
        rotation: Optional[RandomRotation] = None,
        blur: Optional[RandomBlur] = None,
        noise: Optional[RandomNoise] = None,
    ):
        self.affine = affine
        self.scaling = scaling
        self.rotation = rotation
        self.crop = crop
        self.flip = flip
        self.distort = distort
        self.blur = blur
        self.noise = noise
        self.normalize = normalize or Normalize()

    def __call__(self, image: np.ndarray, label: np.ndarray, rng: np.random.Generator, class_id: Optional[int] = None):
        """See the class; the crop shows the class `class_id` if the label holds it."""
        if image.shape[:2] != label.shape:
            raise UserError(f"the label's size {label.shape} (h, w) differs from the image's {image.shape[:2]}")
        draws = self.draw(image.shape[:2], rng)
        if class_id is not None:
            seen = self.affine.apply(image, label, draws.affine)[1] if self.affine else label
            left, top = place_window(seen, class_id, self._window(draws), rng, self._rotation(draws))
            draws = draws._replace(left=left, top=top)
        return self.apply(image, label, draws)

    def draw(self, size: Tuple[int, int], rng: np.random.Generator) -> Draws:
        """Draw the augmentation of an image of `size` (h, w)."""
        affine = self.affine.draw(rng) if self.affine else None
        size = self.affine.size[::-1] if self.affine else size
        factor = self.scaling.draw(rng) if self.scaling else 1.0
        height, width = (max(1, int(round(factor * side))) for side in size)
        width, height = self.crop.grow(width, height) if self.crop else (width, height)
        scaled = (width, height)
        rotation = self.rotation.draw(rng) if self.rotation else None
        if rotation is not None:
            width, height = Rotation(rotation, scaled).canvas
        crop_width, crop_height = self.crop.crop_size if self.crop else (width, height)
        top = int(rng.integers(max(height - crop_height, 0) + 1))
        left = int(rng.integers(max(width - crop_width, 0) + 1))
        flip = bool(self.flip) and rng.random() < self.flip.prob
        colors = self.distort.draw(rng) if self.distort else ()
        blur = self.blur.draw(rng) if self.blur else None
        noise = self.noise.draw(rng) if self.noise else None
        return Draws(scaled, left, top, flip, colors, affine, rotation, blur, noise)

    def apply(self, image: np.ndarray, label: np.ndarray, draws: Draws):
        """Apply drawn values; see the class."""
        window = self._window(draws)
        width, height = window.width, window.height
        crop_width, crop_height = self.crop.crop_size if self.crop else (width, height)
        image, label = self._cut(image, label, window, draws)
        padding = np.full((1, 1, 3), PADDING_VALUE, np.uint8)
        bottom, right = crop_height - height, crop_width - width
        image, padding = distort_padded(image, padding, crop_height * crop_width - height * width, draws.colors)
        if bottom or right:
            color = tuple(map(int, padding.ravel()))
            image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=color)
            label = cv2.copyMakeBorder(label, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=IGNORED)
        image = np.ascontiguousarray(image)
        for effect in filter(None, (draws.blur, draws.noise)):
            image = effect(image)
        return image, label

    def _cut(self, image: np.ndarray, label: np.ndarray, window: Window, draws: Draws):
        """The crop's window of image and label, flipped if that was drawn."""
        if self.affine:
            image, label = self.affine.apply(image, label, draws.affine)
        rotation = self._rotation(draws)
        if rotation:
            image, label = rotate_window(image, label, rotation, window, self.rotation.padding)
            label = cv2.flip(label, 1) if draws.flip else label
        else:
            image, label = resize_window(image, window), nearest_window(label, window, draws.flip)
        return (cv2.flip(image, 1) if draws.flip else image), label

    def _rotation(self, draws: Draws) -> Optional[Rotation]:
        return None if draws.rotation is None else Rotation(draws.rotation, draws.size)

    def _window(self, draws: Draws) -> Window:
        """The crop's window of the scaled image, or of the canvas on which it is rotated."""
        rotation = self._rotation(draws)
        size = rotation.canvas if rotation else draws.size
        width, height = map(min, self.crop.crop_size if self.crop else size, size)
        return Window(size, draws.left, draws.top, width, height)


class ValTransform:
    """`transform(image [H, W, 3] uint8 RGB)` returns [3, H, W] float32; the size stays."""

    def __init__(self, normalize: Optional[Normalize] = None):
        self.normalize = normalize or Normalize()

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return self.normalize(image)


STEPS = {
    "affine": RandomAffine,
    "scaling": ResizeStepScaling,
    "rotation": RandomRotation,
    "crop": RandomPaddingCrop,
    "flip": RandomHorizontalFlip,
    "distort": RandomDistort,
    "blur": RandomBlur,
    "noise": RandomNoise,
    "normalize": Normalize,
}
"""{argument of TrainTransform: its transform}."""
AnyStep = Annotated[Step, ByType(STEPS.values())]
Steps = Annotated[Tuple[AnyStep, ...], OneOrMany]
"""A recipe's `transforms`."""


def build_transform(transforms: Sequence[Union[Mapping, Step]], mode: str) -> Union[TrainTransform, ValTransform]:
    """Build from PaddleSeg's list of {type, options...}, or from the steps themselves.

    Training allows all of STEPS, other modes only Normalize, because evaluation scales by its own protocol.

    Raises:
        UserError: for an unknown type (naming the nearest), a wrong option, or a type that is given twice.
    """
    slots = {kind: slot for slot, kind in STEPS.items() if mode == "train" or kind is Normalize}
    chosen: Dict[str, Step] = {}
    for step in check(Steps, transforms, f"{mode} transforms"):
        slot = slots.get(type(step))
        if slot is None:
            raise unknown_name(f"{mode} transform", step.type, (kind.__name__ for kind in slots))
        if slot in chosen:
            raise UserError(f"{mode} transforms: {step.type} is given twice")
        chosen[slot] = step
    return TrainTransform(**chosen) if mode == "train" else ValTransform(**chosen)
