"""From decoded files to network input. Images are RGB, HWC, uint8 until they are normalised to CHW float32.

The augmentation of one sample is drawn first (`TrainTransform.draw`) and then applied (`TrainTransform.apply`): only
the pixels that reach the output are read, resized and coloured, and the same draws can be looked at, repeated and
compared. Training images stay uint8 until they are where the network is (`Normalize.on_device`).
"""

import inspect
from typing import Dict, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from compat import UserError, unknown_name

import cv2
import numpy as np
import paddle

from data.class_uniform import place_window
from data.classes import IGNORED
from data.colors import distort_padded
from data.resize import Window, nearest_window, resize_window

PADDING_VALUE = 127  # PaddleSeg's 127.5, once it is uint8
SMALL_IMAGES = ("pad", "scale_up")


class ResizeStepScaling(NamedTuple):
    """The image is scaled by a factor of [min, max]: one of equal steps, or any at step 0."""

    min_scale_factor: float = 0.75
    max_scale_factor: float = 1.25
    scale_step_size: float = 0.25

    def draw(self, rng: np.random.Generator) -> float:
        if self.min_scale_factor == self.max_scale_factor:
            return self.min_scale_factor
        if self.scale_step_size == 0:
            return float(rng.uniform(self.min_scale_factor, self.max_scale_factor))
        steps = int((self.max_scale_factor - self.min_scale_factor) / self.scale_step_size + 1)
        return float(np.linspace(self.min_scale_factor, self.max_scale_factor, steps)[rng.integers(steps)])


class RandomPaddingCrop(NamedTuple):
    """A window of crop_size (w, h).

    `small` says what becomes of an image that is smaller: `pad` at the right and at the bottom; or `scale_up`, which
    is the original's (`transform.py:RandomCrop`), until it covers the window. There the image is resized a second
    time, which blurs it; here once, from the file's size to the last.
    """

    crop_size: Tuple[int, int] = (1024, 512)
    small: str = "pad"

    def grow(self, width: int, height: int) -> Tuple[int, int]:
        """(w, h) of the image once a small one is scaled up, if it is to be; rounded as in the original."""
        factor = max(self.crop_size[0] / width, self.crop_size[1] / height)
        if self.small != "scale_up" or factor <= 1:
            return width, height
        return int(factor * width + 1), int(factor * height + 1)


class RandomHorizontalFlip(NamedTuple):
    """Mirrored left to right with probability `prob`."""

    prob: float = 0.5


class RandomDistort(NamedTuple):
    """Colour changes, each with its probability, in random order or else in the order of the options.

    The factors of brightness, contrast and saturation are in 1 +- range; the hue is turned by +- hue_range of 256.
    """

    brightness_range: float = 0.5
    brightness_prob: float = 0.5
    contrast_range: float = 0.5
    contrast_prob: float = 0.5
    saturation_range: float = 0.5
    saturation_prob: float = 0.5
    hue_range: float = 18
    hue_prob: float = 0.5
    random_order: bool = True

    def draw(self, rng: np.random.Generator) -> Tuple[Tuple[str, float], ...]:
        chosen = []
        names = ("brightness", "contrast", "saturation", "hue")
        for name in rng.permutation(names) if self.random_order else names:
            span, prob = getattr(self, f"{name}_range"), getattr(self, f"{name}_prob")
            if rng.random() < prob:
                chosen.append((str(name), float(rng.uniform(-span, span)) + (name != "hue")))
        return tuple(chosen)


class Normalize(NamedTuple):
    """(value / 255 - mean) / std of each RGB channel."""

    mean: Tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: Tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """[H, W, 3] uint8 -> [3, H, W] float32."""
        scale = 1 / (255 * np.asarray(self.std, np.float32))
        offset = np.asarray(self.mean, np.float32) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray((image * scale - offset).transpose(2, 0, 1), dtype=np.float32)

    def on_device(self, images: paddle.Tensor) -> paddle.Tensor:
        """[N, H, W, 3] uint8 -> [N, 3, H, W] float32, computed on the device that holds them."""
        scale = 1 / (255 * np.asarray(self.std, np.float32))
        offset = np.asarray(self.mean, np.float32) / np.asarray(self.std, np.float32)
        channels = images.transpose([0, 3, 1, 2]).astype("float32")
        return channels * paddle.to_tensor(scale[:, None, None]) - paddle.to_tensor(offset[:, None, None])

    def undo(self, image: np.ndarray) -> np.ndarray:
        """[3, H, W] float32 -> [H, W, 3] uint8, for pictures."""
        restored = (image.transpose(1, 2, 0) * self.std + self.mean) * 255
        return np.clip(np.rint(restored), 0, 255).astype(np.uint8)


class Draws(NamedTuple):
    """What was drawn for one sample. `left`, `top` are the crop's offset in the scaled image, before the flip."""

    size: Tuple[int, int]  # (w, h) of the scaled image
    left: int
    top: int
    flip: bool
    colors: Tuple[Tuple[str, float], ...]


class TrainTransform:
    """Scale, crop, flip, distort, in this order whatever the recipe's; `normalize` is left to the device.

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
    ):
        self.scaling = scaling
        self.crop = crop
        self.flip = flip
        self.distort = distort
        self.normalize = normalize or Normalize()

    def __call__(self, image: np.ndarray, label: np.ndarray, rng: np.random.Generator, class_id: Optional[int] = None):
        """See the class; the crop shows the class `class_id` if the label holds it."""
        if image.shape[:2] != label.shape:
            raise UserError(f"the label's size {label.shape} (h, w) differs from the image's {image.shape[:2]}")
        draws = self.draw(image.shape[:2], rng)
        if class_id is not None:
            left, top = place_window(label, class_id, self._window(draws), rng)
            draws = draws._replace(left=left, top=top)
        return self.apply(image, label, draws)

    def draw(self, size: Tuple[int, int], rng: np.random.Generator) -> Draws:
        """Draw the augmentation of an image of `size` (h, w)."""
        factor = self.scaling.draw(rng) if self.scaling else 1.0
        height, width = (max(1, int(round(factor * side))) for side in size)
        width, height = self.crop.grow(width, height) if self.crop else (width, height)
        crop_width, crop_height = self.crop.crop_size if self.crop else (width, height)
        top = int(rng.integers(max(height - crop_height, 0) + 1))
        left = int(rng.integers(max(width - crop_width, 0) + 1))
        flip = bool(self.flip) and rng.random() < self.flip.prob
        colors = self.distort.draw(rng) if self.distort else ()
        return Draws((width, height), left, top, flip, colors)

    def apply(self, image: np.ndarray, label: np.ndarray, draws: Draws):
        """Apply drawn values; see the class."""
        window = self._window(draws)
        crop_width, crop_height = self.crop.crop_size if self.crop else draws.size
        width, height = window.width, window.height
        label = nearest_window(label, window, draws.flip)
        image = resize_window(image, window)
        if draws.flip:
            image = cv2.flip(image, 1)
        padding = np.full((1, 1, 3), PADDING_VALUE, np.uint8)
        bottom, right = crop_height - height, crop_width - width
        image, padding = distort_padded(image, padding, crop_height * crop_width - height * width, draws.colors)
        if bottom or right:
            color = tuple(map(int, padding.ravel()))
            image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=color)
            label = cv2.copyMakeBorder(label, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=IGNORED)
        return np.ascontiguousarray(image), label

    def _window(self, draws: Draws) -> Window:
        """What the crop shows of the scaled image."""
        width, height = map(min, self.crop.crop_size if self.crop else draws.size, draws.size)
        return Window(draws.size, draws.left, draws.top, width, height)


class ValTransform:
    """`transform(image [H, W, 3] uint8 RGB)` returns [3, H, W] float32; the size stays."""

    def __init__(self, normalize: Optional[Normalize] = None):
        self.normalize = normalize or Normalize()

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return self.normalize(image)


_TRAIN_SLOTS = {
    "ResizeStepScaling": ("scaling", ResizeStepScaling),
    "RandomPaddingCrop": ("crop", RandomPaddingCrop),
    "RandomHorizontalFlip": ("flip", RandomHorizontalFlip),
    "RandomDistort": ("distort", RandomDistort),
    "Normalize": ("normalize", Normalize),
}
_VAL_SLOTS = {"Normalize": ("normalize", Normalize)}


def build_transform(transforms: Sequence[Mapping], mode: str) -> Union[TrainTransform, ValTransform]:
    """Build from PaddleSeg's list of {type, options...}.

    Training knows ResizeStepScaling, RandomPaddingCrop, RandomHorizontalFlip, RandomDistort and Normalize; validation
    only Normalize, because evaluation scales by its protocol.

    Raises:
        UserError: for an unknown type (naming the nearest), an unknown option, or a crop that is not (w, h) or
            treats small images in an unknown way.
    """
    slots = _TRAIN_SLOTS if mode == "train" else _VAL_SLOTS
    chosen: Dict[str, object] = {}
    for spec in transforms:
        options = dict(spec)
        kind = options.pop("type", None)
        if kind not in slots:
            raise unknown_name(f"{mode} transform", kind, slots)
        slot, step = slots[kind]
        for option in options:
            if option not in inspect.signature(step).parameters:
                raise unknown_name(f"transform {kind}: option", option, step._fields)
        chosen[slot] = step(**{name: tuple(v) if isinstance(v, list) else v for name, v in options.items()})
    crop = chosen.get("crop")
    if crop and not (len(crop.crop_size) == 2 and all(isinstance(side, int) and side > 0 for side in crop.crop_size)):
        raise UserError(f"RandomPaddingCrop: crop_size {crop.crop_size} is not two positive numbers (w, h)")
    if crop and crop.small not in SMALL_IMAGES:
        raise UserError(f"RandomPaddingCrop: small: {crop.small!r} is not one of {', '.join(SMALL_IMAGES)}")
    return TrainTransform(**chosen) if mode == "train" else ValTransform(**chosen)
