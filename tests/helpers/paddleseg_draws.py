"""PaddleSeg's training transforms, made to draw what ours drew, and watched while they draw for themselves."""

import contextlib
import random
from typing import Dict, Iterator, List, Tuple
from unittest import mock

import numpy as np
import paddleseg.transforms as transforms
from paddleseg.transforms import functional

from data.transforms import Draws

COLOR_CHANGES = ("brightness", "contrast", "saturation", "hue")


def apply_theirs(image: np.ndarray, label: np.ndarray, draws: Draws, crop: Tuple[int, int], distort: bool = True):
    """(image [h, w, 3] float32 in 0..255, label [h, w] uint8) by PaddleSeg's transforms, for our draws."""
    data = {"img": image.astype("float32"), "label": label, "gt_fields": ["label"], "trans_info": []}
    for key in ("img", "label"):
        data[key] = functional.resize(data[key], draws.size, 1 if key == "img" else 0)
    # Theirs flips first and crops then: our offset, seen from the other side.
    left = max(draws.size[0] - crop[0], 0) - draws.left if draws.flip else draws.left
    offsets = iter((draws.top, left))
    with mock.patch.object(random, "random", lambda: 0.0 if draws.flip else 1.0):
        data = transforms.RandomHorizontalFlip()(data)
    with mock.patch.object(np.random, "randint", lambda low, high: next(offsets)):
        data = transforms.RandomPaddingCrop(crop)(data)
    if distort:
        with _colors_drawn(draws):
            data = transforms.RandomDistort()(data)
    return data["img"], data["label"]


@contextlib.contextmanager
def _colors_drawn(draws: Draws) -> Iterator[None]:
    amounts = dict(draws.colors)
    order = [name for name, _ in draws.colors]
    order += [name for name in (*COLOR_CHANGES, "sharpness") if name not in amounts]
    names = iter(order)
    current: List[str] = []

    def uniform(low, high):
        if (low, high) == (0, 1):  # whether to change
            current.append(next(names))
            return 0.0 if current[-1] in amounts else 1.0
        return amounts[current[-1]]

    def shuffle(changes):
        changes.sort(key=lambda change: order.index(change.__name__))

    with mock.patch.object(np.random, "uniform", uniform), mock.patch.object(random, "shuffle", shuffle):
        yield


def watch_their_draws(size: Tuple[int, int], crop: Tuple[int, int], steps: Dict[str, float], count: int) -> List[Draws]:
    """What PaddleSeg's transforms draw for `count` images of `size` (h, w); seeds numpy and random."""
    np.random.seed(0)
    random.seed(0)
    pipeline = (
        transforms.ResizeStepScaling(**steps),
        transforms.RandomHorizontalFlip(),
        transforms.RandomPaddingCrop(crop),
        transforms.RandomDistort(),
    )
    return [_watch(pipeline, size, crop) for _ in range(count)]


def _watch(pipeline, size: Tuple[int, int], crop: Tuple[int, int]) -> Draws:
    """The resized image's channels hold each pixel's column and row, below 256, so that the crop tells its place."""
    resized: List[Tuple[int, int]] = []
    colors: List[Tuple[str, float]] = []

    def resize(pixels, target, interpolation):
        resized.append(target)
        rows, columns = np.mgrid[: target[1], : target[0]]
        return np.dstack([columns, rows, 0 * rows]).astype("float32")

    def change(name):
        def record(im, **limits):
            colors.append((name, float(np.random.uniform(*limits.values()))))
            return im

        record.__name__ = name
        return record

    data = {"img": np.zeros((*size, 3), "float32"), "gt_fields": [], "trans_info": []}
    with mock.patch.multiple(functional, resize=resize, **{name: change(name) for name in COLOR_CHANGES}):
        for step in pipeline:
            data = step(data)
    columns = data["img"][0, : min(crop[0], resized[0][0]), 0]
    return Draws(
        resized[0], int(columns.min()), int(data["img"][0, 0, 1]), bool(columns[1] < columns[0]), tuple(colors)
    )
