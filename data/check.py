"""Reads every file of a dataset and says what is wrong with it."""

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Sequence

from compat import UserError

import cv2
import numpy as np

from data.classes import IGNORED, INVALID, ClassSet
from data.datasets import dataset_classes
from data.files import read_image, read_label
from data.layouts import LAYOUTS, Sample


class Report(NamedTuple):
    """What a check found: images of each split, pixels of each class ([K + 1] int64, ignored last), and problems."""

    images: Dict[str, int]
    pixels: np.ndarray
    problems: List[str]
    classes: ClassSet
    samples: List[Sample]  # the readable pairs


def check_dataset(
    type: str, root: Path, modes: Sequence[str], progress: Callable = lambda items: items, **options
) -> Report:
    """Read all images and labels of the splits `modes`.

    Args:
        type, root, options: see `data.build_dataset`.
        modes: splits to read.
        progress: wraps the list of samples that is gone through, such as a progress bar.
    """
    classes = dataset_classes(type, **options)
    if not root.is_dir():
        raise UserError(f"{root}: no such dataset folder")
    images: Dict[str, int] = {}
    problems: List[str] = []
    pixels = np.zeros(len(classes.names) + 1, np.int64)
    splits_of: Dict[str, Dict[str, Path]] = defaultdict(dict)
    readable: List[Sample] = []
    for mode in modes:
        samples, unpaired = LAYOUTS[type].find(root, mode, **options)
        problems += unpaired
        images[mode] = len(samples)
        if not samples:
            problems.append(f"{root}: holds no whole pair of the split {mode!r} in the layout of {type}")
        for sample in progress(samples):
            try:
                pixels += _check_sample(sample, len(classes.names), problems)
            except UserError as error:
                problems.append(str(error))
                continue
            readable.append(sample)
            splits_of[hashlib.sha1(sample.image.read_bytes()).hexdigest()].setdefault(mode, sample.image)
    for places in splits_of.values():
        if len(places) > 1:
            problems.append("the same image in several splits: " + ", ".join(str(path) for path in places.values()))
    return Report(images, pixels, problems, classes, readable)


def _check_sample(sample: Sample, num_classes: int, problems: List[str]) -> np.ndarray:
    """Pixels of each class, ignored last; appends what is wrong."""
    image = read_image(sample.image)
    counts = np.zeros(num_classes + 1, np.int64)
    if sample.label is None:
        return counts
    label = read_label(sample.label)
    if label.shape != image.shape[:2]:
        problems.append(
            f"{sample.label}: size {label.shape[1]}x{label.shape[0]}, but its image has "
            f"{image.shape[1]}x{image.shape[0]}"
        )
    mapped = cv2.LUT(label, sample.table)
    for value in np.unique(label[mapped == INVALID]):
        share = np.count_nonzero(label == value)
        problems.append(
            f"{sample.label}: the label value {value} ({share} pixels) is none of the {num_classes} classes"
        )
    histogram = np.bincount(mapped.ravel(), minlength=256)
    counts[:num_classes] = histogram[:num_classes]
    counts[num_classes] = histogram[IGNORED]
    return counts
