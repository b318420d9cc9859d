"""Reads every file of a dataset and reports what is wrong or suspicious."""

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional

from compat import UserError, logger

import cv2
import numpy as np

from data.classes import IGNORED, INVALID, ClassSet
from data.datasets import SegmentationDataset, dataset_classes, extra_files
from data.files import check_sizes, read_image, read_label
from data.layouts import LAYOUTS, Sample, SplitFiles


class SplitSource(NamedTuple):
    """Where the files of a split are, see `data.build_dataset`; `extra_list` is for mode train."""

    type: str
    root: Path
    options: Mapping[str, Any]
    extra_list: Optional[str] = None


class Report(NamedTuple):
    """The result of a check.

    images: {split: number of images}.
    pixels: number of pixels of each class, [K + 1] int64, ignored last.
    problems: a line for everything that would stop or spoil training.
    warnings: a line for everything that is probably a mistake.
    classes: of the first split.
    samples: the readable pairs of image and label.
    """

    images: Dict[str, int]
    pixels: np.ndarray
    problems: List[str]
    warnings: List[str]
    classes: ClassSet
    samples: List[Sample]


def check_dataset(splits: Mapping[str, SplitSource], progress: Callable = lambda items: items) -> Report:
    """Read all images and labels of a dataset.

    Args:
        splits: {mode: where its files are} of one or more splits.
        progress: wraps the list of samples of each split, such as a progress bar.

    Raises:
        UserError: for an unknown type or option, a missing folder or list file, and other numbers of classes in another
            split.
    """
    classes = _classes_of(splits)
    images: Dict[str, int] = {}
    problems: List[str] = []
    warnings: List[str] = []
    pixels: Dict[str, np.ndarray] = {}
    splits_of: Dict[str, Dict[str, Path]] = defaultdict(dict)
    readable: List[Sample] = []
    for mode, source in splits.items():
        samples, unpaired = _files_of(mode, source)
        problems += unpaired
        images[mode] = len(samples)
        pixels[mode] = np.zeros(len(classes.names) + 1, np.int64)
        if not samples:
            layout = f"the layout of {source.type}"
            problems.append(f"{source.root}: holds no complete pair of the split {mode!r} in {layout}")
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
    problems += filter(None, [single_class_problem(total, classes)])
    for places in splits_of.values():
        if len(places) > 1:
            problems.append("the same image in several splits: " + ", ".join(str(path) for path in places.values()))
    return Report(images, total, problems, warnings, classes, readable)


def _classes_of(splits: Mapping[str, SplitSource]) -> ClassSet:
    """The classes of the first split, of which the others have as many."""
    found = {mode: dataset_classes(source.type, source.root, **source.options) for mode, source in splits.items()}
    first, *others = found
    for mode in others:
        numbers = [len(found[one].names) for one in (first, mode)]
        if numbers[0] != numbers[1]:
            raise UserError(f"{first} has {numbers[0]} classes, {mode} {numbers[1]}; give both the same num_classes")
    return found[first]


def _files_of(mode: str, source: SplitSource) -> SplitFiles:
    if not source.root.is_dir():
        raise UserError(f"{source.root}: no such dataset folder")
    samples, problems = LAYOUTS[source.type].find(source.root, mode, **source.options)
    if source.extra_list:
        num_classes = len(dataset_classes(source.type, source.root, **source.options).names)
        extra, absent = extra_files(source.extra_list, num_classes)
        return SplitFiles([*samples, *extra], [*problems, *absent])
    return SplitFiles(samples, problems)


def absent_classes(mode: str, pixels: np.ndarray, classes: ClassSet) -> List[str]:
    """A line naming the classes that have no pixel in a split, unless none has; `pixels` is [K + 1], ignored last."""
    absent = [name for name, count in zip(classes.names, pixels) if count == 0]
    if not absent or not pixels[:-1].any():
        return []
    effect = "cannot be learned" if mode == "train" else "have no IoU there"
    return [f"{mode}: no pixel of {len(absent)} classes, which {effect}: {', '.join(absent)}"]


def single_class_problem(pixels: np.ndarray, classes: ClassSet) -> Optional[str]:
    """What is wrong with labels of one class or none, such as masks of 0 and 255 where 255 is ignored; else None.

    Args:
        pixels: number of pixels of each class, [K + 1], ignored last.
        classes: their names.
    """
    present = np.flatnonzero(pixels[:-1])
    if len(present) > 1 or not pixels.any():
        return None
    if len(present) == 0:
        return "the labels hold no class: all pixels are ignored, so that nothing can be learned"
    line = f"the labels hold a single class, {classes.names[present[0]]}, which a network would predict everywhere"
    if pixels[-1]:
        line += f"; the other {100 * pixels[-1] / pixels.sum():.1f} % of the pixels are ignored"
        line += ". The foreground of masks of 0 and 255 is ignored, as 255 means ignored: write 1 instead"
    return line


def evenly_spaced(count: int, most: int) -> List[int]:
    """Up to `most` indices below `count`, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int)).tolist()


def warn_of_single_class(dataset: SegmentationDataset, most: int = 16) -> None:
    """Log a warning if `most` labels of a dataset, evenly spaced, hold fewer than two classes."""
    pixels = np.zeros(dataset.num_classes + 1, np.int64)
    indices = evenly_spaced(len(dataset), most)
    for index in indices:
        try:
            histogram = np.bincount(dataset.read_label(index).ravel(), minlength=256)
        except UserError:  # training reports it when it reads the sample
            continue
        pixels += [*histogram[: dataset.num_classes], histogram[IGNORED]]
    line = single_class_problem(pixels, dataset.classes)
    if line:
        logger.warning("%d labels: %s. To read them all: python -m tool.prepare_data check", len(indices), line)


def _check_sample(sample: Sample, num_classes: int, problems: List[str]) -> np.ndarray:
    """Number of pixels of each class [K + 1], ignored last; appends what is wrong to `problems`."""
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
