"""Datasets of image and label files, returning PaddleSeg's items.

An item is a dict: `img` [3, H, W] float32 normalised RGB, `label` uint8 of training ids ([H, W] in training, [1, H, W]
in validation, none in a test set), `trans_info` [].
"""

import functools
import time
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple, Union

from compat import UserError, logger, unknown_name
from compat.options import check

import numpy as np
from paddle.io import Dataset

from data.cache import CACHE_FOLDER, Cache, Pair
from data.class_uniform import ClassUniform, ClassUniformOptions
from data.classes import IGNORED, MAX_CLASSES, ClassSet
from data.copy_paste import CopyPaste, CopyPasteOptions
from data.files import check_sizes, map_label, read_image, read_label
from data.histogram import class_histogram
from data.layouts import LAYOUTS, MODES, Sample, SplitFiles, find_listed
from data.transforms import TrainTransform, ValTransform, build_transform

CACHE_USES = ("auto", "always", "never")


class SegmentationDataset(Dataset):
    """Images with labels, in PaddleSeg's form.

    Args:
        samples: the files.
        classes: names and colours of the classes.
        transform: a TrainTransform in training, a ValTransform otherwise.
        mode: `train`, `val` or `test`.
        cache: decoded samples; missing or outdated ones are decoded from their files.

    Attributes:
        class_uniform: chooses images of a training run by their classes; if None, they come in their epoch's order.
        copy_paste: pastes rare classes from one sample of a batch to another; if None, nothing is pasted.
    """

    ignore_index = IGNORED

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: ClassSet,
        transform: Union[TrainTransform, ValTransform],
        mode: str,
        cache: Optional[Cache] = None,
    ):
        super().__init__()
        self.samples = list(samples)
        self.classes = classes
        self.num_classes = len(classes.names)
        self.transform = transform
        self.mode = mode
        self.cache = cache
        self.class_uniform: Optional[ClassUniform] = None
        self.copy_paste: Optional[CopyPaste] = None
        self.file_list = [[str(s.image), str(s.label) if s.label else None] for s in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Dict:
        if self.mode == "train":
            # From numpy's global state, which callers such as paddleseg seed; our trainer passes a generator instead.
            image, label = self.train_item(index, np.random.default_rng(np.random.randint(2**31)))
            return {"img": self.transform.normalize(image), "label": label, "trans_info": []}
        image, label = self.read(index)
        item = {"img": self.transform(image), "trans_info": []}
        if label is not None:
            item["label"] = np.array(label[None])
        return item

    def train_item(
        self, index: int, rng: np.random.Generator, class_id: Optional[int] = None
    ) -> Tuple[np.ndarray, np.ndarray]:
        """(image [h, w, 3] uint8 RGB, label [h, w] uint8) of the crop size, augmented by the draws of `rng`.

        The crop shows the class `class_id`, if there is one and the image holds it. The image is not yet normalised;
        `transform.normalize.on_device` does that to a batch.
        """
        return self.transform(*self.read(index), rng, class_id)

    @functools.cached_property
    def histogram(self) -> np.ndarray:
        """[n, K] int64: pixels of each class in each image, 0 if its label cannot be read; reads all labels once."""
        start = time.perf_counter()
        histogram = class_histogram(self.read_label, range(len(self)), self.num_classes)
        logger.info("counted the classes of %d labels in %.1f s", len(self), time.perf_counter() - start)
        return histogram

    def read(self, index: int) -> Pair:
        """Image and label of the files' size, from the cache if they are there; do not write to them.

        Raises:
            UserError: for files that cannot be read, a value that is not a class, and a label of another size than its
                image.
        """
        sample = self.samples[index]
        cached = self.cache.read(sample) if self.cache else None
        if cached:
            return cached
        image = self.read_image(index)
        if sample.label is None:
            return Pair(image, None)
        label = self.read_label(index)
        check_sizes(sample, image, label)
        return Pair(image, label)

    def read_image(self, index: int) -> np.ndarray:
        """[H, W, 3] uint8 RGB, decoded from its file."""
        return read_image(self.samples[index].image)

    def read_label(self, index: int) -> np.ndarray:
        """[H, W] uint8 training ids, 255 where ignored, decoded from its file."""
        return map_label(read_label(self.samples[index].label), self.samples[index], self.num_classes)


def build_dataset(
    type: str,
    dataset_root: str,
    mode: str,
    transforms: Sequence[Mapping] = (),
    cache: str = "auto",
    cache_dir: Optional[str] = None,
    class_uniform: Union[ClassUniformOptions, Mapping, None] = None,
    copy_paste: Union[CopyPasteOptions, Mapping, None] = None,
    extra_list: Optional[str] = None,
    **options,
) -> SegmentationDataset:
    """Build a dataset from a recipe's `train_dataset` or `val_dataset`.

    Args:
        type: `Cityscapes` (official layout), `CamVid` (train/, trainannot/, ...) or `Dataset` (list files).
        dataset_root: folder of the data.
        mode: `train`, `val` or `test`.
        transforms: PaddleSeg's list of transforms, see `data.transforms`.
        cache: `auto` uses the decoded samples that the cache holds, `always` requires all of them, `never` ignores it.
        cache_dir: folder of the cache, by default `dataset_root`/cache.
        class_uniform: in training, choose images and crops by their classes.
        copy_paste: in training, paste rare classes from one sample of a batch to another.
        extra_list: in training, a list file of further images and labels of training ids (255 ignored), such as
            tool.predict --pseudo_labels writes; names are absolute, or relative to where the command runs.
        **options: of the type Dataset: see `data.layouts.find_listed`.

    Raises:
        UserError: for a folder that is missing or holds no image of that split, an image without label, a label without
            image, an unknown type, mode or option, or an incomplete cache with `always`.
    """
    classes = dataset_classes(type, dataset_root, **options)
    if mode not in MODES:
        raise UserError(f"dataset mode {mode!r} is not one of {', '.join(MODES)}")
    root = Path(dataset_root)
    if not root.is_dir():
        raise UserError(
            f"{root}: no such dataset folder. Put {type} there or give its path by --dataset_root (docs/data.md "
            "says how to get it); to see training without it: make demo"
        )
    samples, problems = LAYOUTS[type].find(root, mode, **options)
    if problems:
        more = f" ({len(problems) - 1} more: python -m tool.prepare_data check)" if len(problems) > 1 else ""
        raise UserError(problems[0] + more)
    if not samples:
        raise UserError(f"{root}: holds no image of the split {mode!r} in the layout of {type}; docs/data.md shows it")
    if mode != "train" and (class_uniform, copy_paste, extra_list) != (None, None, None):
        raise UserError(f"class_uniform, copy_paste and extra_list are for mode train, not {mode}")
    if extra_list is not None:
        samples = [*samples, *_extra_samples(extra_list, len(classes.names))]
    decoded = _open_cache(cache, Path(cache_dir) if cache_dir else root / CACHE_FOLDER, root, samples)
    dataset = SegmentationDataset(samples, classes, build_transform(transforms, mode), mode, decoded)
    if class_uniform is not None:
        options = check(ClassUniformOptions, class_uniform, key="class_uniform")
        dataset.class_uniform = ClassUniform(dataset.histogram, options)
    if copy_paste is not None:
        dataset.copy_paste = CopyPaste(dataset.histogram, check(CopyPasteOptions, copy_paste, key="copy_paste"))
    return dataset


def _extra_samples(list_file: str, num_classes: int) -> List[Sample]:
    """What `extra_list` names, all of it there."""
    samples, problems = extra_files(list_file, num_classes)
    if problems:
        raise UserError(problems[0])
    logger.info("%s: %d further images to train on", list_file, len(samples))
    return samples


def extra_files(list_file: str, num_classes: int) -> SplitFiles:
    """The files that `extra_list` names; raises UserError for a list that cannot be read or names none."""
    files = find_listed(Path(), "train", num_classes, train_path=list_file)
    if not files.samples and not files.problems:
        raise UserError(f"extra_list: {list_file} names no image; leave extra_list out")
    return files


def _open_cache(use: str, folder: Path, root: Path, samples: Sequence[Sample]) -> Optional[Cache]:
    if use not in CACHE_USES:
        raise UserError(f"dataset: cache: {use!r} is not one of {', '.join(CACHE_USES)}")
    if use == "never" or (use == "auto" and not folder.is_dir()):
        return None
    cache = Cache(folder, root)
    fresh = sum(cache.find(sample) is not None for sample in samples)
    found = f"{folder}: {fresh} of {len(samples)} images are in the cache"
    remedy = "the others are missing or have changed; bring it up to date with: python -m tool.prepare_data cache"
    if use == "always" and fresh < len(samples):
        raise UserError(f"{found}; {remedy}")
    logger.info("%s%s", found, "" if fresh == len(samples) else f"; {remedy}")
    return cache if fresh else None


def dataset_classes(type: str, root: Union[str, Path] = "", **options) -> ClassSet:
    """The classes of a dataset, known without its images.

    Args:
        type: see build_dataset.
        root: the dataset's folder. The lists of a `Dataset`, if they are there, say whether its files are Cityscapes'.
        **options: see build_dataset.

    Raises:
        UserError: for an unknown type or option, or classes that are too many, too few, or not as many as their names.
    """
    if type not in LAYOUTS:
        raise unknown_name("dataset type", type, LAYOUTS)
    layout = LAYOUTS[type]
    for option in options:
        if option not in layout.options:
            raise unknown_name(f"dataset type {type}: option", option, layout.options)
    if "num_classes" in layout.options:
        num_classes = options.get("num_classes")
        if not isinstance(num_classes, int) or not 2 <= num_classes <= MAX_CLASSES:
            raise UserError(
                f"dataset type {type}: num_classes must be a number from 2 to {MAX_CLASSES}, not {num_classes!r}; the "
                "background is a class too"
            )
    return layout.classes(Path(root), **options)
