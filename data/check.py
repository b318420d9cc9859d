"""Reads every file of a dataset and says what is wrong with it, or suspicious."""

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

from compat import UserError, logger

import cv2
import numpy as np

from data.classes import IGNORED, INVALID, ClassSet
from data.datasets import SegmentationDataset, dataset_classes
from data.files import check_sizes, read_image, read_label
from data.layouts import LAYOUTS, Sample


class Report(NamedTuple):
    """What a check found.

    images: of each split.
    pixels: of each class, [K + 1] int64, ignored last.
    problems: a line for everything that stops a training or spoils it.
    warnings: a line for what is likely to be a mistake.
    samples: the readable pairs.
    """

    images: Dict[str, int]
    pixels: np.ndarray
    problems: List[str]
    warnings: List[str]
    classes: ClassSet
    samples: List[Sample]


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
    warnings: List[str] = []
    pixels: Dict[str, np.ndarray] = {}
    splits_of: Dict[str, Dict[str, Path]] = defaultdict(dict)
    readable: List[Sample] = []
    for mode in modes:
        samples, unpaired = LAYOUTS[type].find(root, mode, **options)
        problems += unpaired
        images[mode] = len(samples)
        pixels[mode] = np.zeros(len(classes.names) + 1, np.int64)
        if not samples:
            problems.append(f"{root}: holds no whole pair of the split {mode!r} in the layout of {type}")
        for sample in progress(samples):
            try:
                pixels[mode] += _check_sample(sample, len(classes.names), problems)
            except UserError as error:
                problems.append(str(error))
                continue
            readable.append(sample)
            splits_of[hashlib.sha1(sample.image.read_bytes()).hexdigest()].setdefault(mode, sample.image)
        warnings += absent_classes(mode, pixels[mode], classes)
    total = sum(pixels.values(), np.zeros(len(classes.names) + 1, np.int64))
    problems += filter(None, [lone_class(total, classes)])
    for places in splits_of.values():
        if len(places) > 1:
            problems.append("the same image in several splits: " + ", ".join(str(path) for path in places.values()))
    return Report(images, total, problems, warnings, classes, readable)


def absent_classes(mode: str, pixels: np.ndarray, classes: ClassSet) -> List[str]:
    """A line naming the classes without a pixel in a split whose labels hold any class; `pixels` is [K + 1]."""
    absent = [name for name, count in zip(classes.names, pixels) if count == 0]
    if not absent or not pixels[:-1].any():
        return []
    effect = "cannot be learned" if mode == "train" else "have no IoU there"
    return [f"{mode}: no pixel of {len(absent)} classes, which {effect}: {', '.join(absent)}"]


def lone_class(pixels: np.ndarray, classes: ClassSet) -> Optional[str]:
    """What is wrong with labels of a single class, such as masks of 0 and 255 where 255 is ignored; else None.

    Args:
        pixels: of each class, [K + 1], ignored last.
    """
    present = np.flatnonzero(pixels[:-1])
    if len(present) != 1:
        return None
    line = f"the labels hold one class alone, {classes.names[present[0]]}, which a network learns to see everywhere"
    if pixels[-1]:
        line += f"; the other {100 * pixels[-1] / pixels.sum():.1f} % of the pixels are ignored"
        line += ". Masks of 0 and 255 mean foreground by 255, which is ignored here: write 1 for it"
    return line


def warn_of_lone_class(dataset: SegmentationDataset, most: int = 16) -> None:
    """Log a warning where `most` labels of a dataset, evenly spaced, hold a single class; see `lone_class`."""
    pixels = np.zeros(dataset.num_classes + 1, np.int64)
    indices = np.unique(np.linspace(0, len(dataset) - 1, most).astype(int))
    for index in indices:
        try:
            histogram = np.bincount(dataset.read(int(index)).label.ravel(), minlength=256)
        except UserError:  # whoever trains on it decides what becomes of it
            continue
        pixels += [*histogram[: dataset.num_classes], histogram[IGNORED]]
    line = lone_class(pixels, dataset.classes)
    if line:
        logger.warning("%d labels: %s. To read them all: python -m tool.prepare_data check", len(indices), line)


def _check_sample(sample: Sample, num_classes: int, problems: List[str]) -> np.ndarray:
    """Pixels of each class, ignored last; appends what is wrong."""
    image = read_image(sample.image)
    counts = np.zeros(num_classes + 1, np.int64)
    if sample.label is None:
        return counts
    label = read_label(sample.label)
    try:
        check_sizes(sample, image, label)
    except UserError as error:
        problems.append(str(error))
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
