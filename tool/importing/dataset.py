"""Writes an imported source as a dataset: images, labels, list files and class names."""

import re
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Tuple

from compat import UserError, write_text

import cv2
import numpy as np

from data.classes import IGNORED
from data.importing import Item, SourceContent

CLASSES = "classes.txt"
UNSAFE = re.compile(r"[\s,]+")  # what separates the names of a list file


class Written(NamedTuple):
    """A dataset that was written.

    folder: where it is.
    images: {split: number of images}.
    pixels: [K + 1] int64, pixels of each class in the training split, then those that are ignored.
    smallest, largest: the smallest and largest width and height of all images, as (width, height).
    """

    folder: Path
    images: Dict[str, int]
    pixels: np.ndarray
    smallest: Tuple[int, int]
    largest: Tuple[int, int]


def write_dataset(found: SourceContent, splits: Dict[str, List[str]], folder: Path, progress: Callable) -> Written:
    """Copy the images, write labels of training ids, train.txt, val.txt and classes.txt.

    Args:
        found: the source's images, labels and classes.
        splits: {split: names of items}.
        folder: new, or without a dataset.
        progress: wraps the iterable of items, to show a progress bar.

    Raises:
        UserError: if the folder holds a dataset, two images have the same name, or a file cannot be written.
    """
    if any((folder / name).exists() for name in ("images", "labels", "train.txt")):
        raise UserError(f"{folder}: holds a dataset already; choose another --save_dir, or remove it")
    names = {item.name: UNSAFE.sub("_", item.name) for item in found.items}
    if len(set(names.values())) < len(found.items):
        raise UserError("two images have the same name, with spaces and commas replaced by _; rename one of them")
    split_of = {name: mode for mode, members in splits.items() for name in members}
    lines: Dict[str, List[str]] = {mode: [] for mode in splits}
    pixels = np.zeros(len(found.classes.names) + 1, np.int64)
    sizes = []
    for item in progress(found.items):
        image, label = _write_pair(item, names[item.name], folder)
        sizes.append(label.shape[::-1])
        mode = split_of[item.name]
        lines[mode].append(f"{image} labels/{names[item.name]}.png")
        if mode == "train":
            histogram = np.bincount(label.ravel(), minlength=256)
            pixels += [*histogram[: len(pixels) - 1], histogram[IGNORED]]
    for mode, listed in lines.items():
        write_text(folder / f"{mode}.txt", "\n".join(listed) + "\n")
    named = zip(found.classes.names, found.classes.colors)
    write_text(folder / CLASSES, "".join(f"{name} {r} {g} {b}\n" for name, (r, g, b) in named))
    smallest, largest = (tuple(int(side) for side in pick(sizes, axis=0)) for pick in (np.min, np.max))
    return Written(folder, {mode: len(listed) for mode, listed in lines.items()}, pixels, smallest, largest)


def _write_pair(item: Item, name: str, folder: Path) -> Tuple[str, np.ndarray]:
    """The image's path below the folder, and its label."""
    image, label_file = f"images/{name}{item.image.suffix.lower()}", folder / "labels" / f"{name}.png"
    label = item.label()
    try:
        for file in (folder / image, label_file):
            file.parent.mkdir(parents=True, exist_ok=True)
        (folder / image).write_bytes(item.image.read_bytes())
        label_file.write_bytes(cv2.imencode(".png", label)[1].tobytes())
    except OSError as error:
        raise UserError(f"{error.filename or folder}: cannot be written ({error.strerror or error})") from error
    return image, label
