"""Datasets of image and label files, answering PaddleSeg's items.

An item is a dict: `img` [3, H, W] float32 normalised RGB, `label` uint8 of training ids ([H, W] in training, [1, H, W]
in validation, none in a test set), `trans_info` [].
"""

from pathlib import Path
from typing import Dict, Mapping, Sequence, Tuple, Union

from compat import UserError, unknown_name

import numpy as np
from paddle.io import Dataset

from data.classes import IGNORED, ClassSet
from data.files import map_label, read_image, read_label
from data.layouts import LAYOUTS, MODES, Sample
from data.transforms import TrainTransform, ValTransform, build_transform


class SegmentationDataset(Dataset):
    """Images with labels, as PaddleSeg's datasets answer them.

    Args:
        samples: the files.
        classes: names and colours of the classes.
        transform: a TrainTransform in training, a ValTransform otherwise.
        mode: `train`, `val` or `test`.
    """

    ignore_index = IGNORED

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: ClassSet,
        transform: Union[TrainTransform, ValTransform],
        mode: str,
    ):
        super().__init__()
        self.samples = list(samples)
        self.classes = classes
        self.num_classes = len(classes.names)
        self.transform = transform
        self.mode = mode
        self.file_list = [[str(s.image), str(s.label) if s.label else None] for s in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Dict:
        if self.mode == "train":
            # numpy's global state, which a client such as paddleseg seeds; our trainer passes a generator instead.
            image, label = self.train_item(index, np.random.default_rng(np.random.randint(2**31)))
            return {"img": image, "label": label, "trans_info": []}
        item = {"img": self.transform(self.read_image(index)), "trans_info": []}
        if self.samples[index].label is not None:
            item["label"] = self.read_label(index)[None]
        return item

    def train_item(self, index: int, rng: np.random.Generator) -> Tuple[np.ndarray, np.ndarray]:
        """(image [3, h, w] float32, label [h, w] uint8) of the crop size, augmented by the draws of `rng`."""
        return self.transform(self.read_image(index), self.read_label(index), rng)

    def read_image(self, index: int) -> np.ndarray:
        """[H, W, 3] uint8 RGB."""
        return read_image(self.samples[index].image)

    def read_label(self, index: int) -> np.ndarray:
        """[H, W] uint8 training ids, 255 where ignored."""
        return map_label(read_label(self.samples[index].label), self.samples[index], self.num_classes)


def build_dataset(
    type: str, dataset_root: str, mode: str, transforms: Sequence[Mapping] = (), **options
) -> SegmentationDataset:
    """Build a dataset from a recipe's `train_dataset` or `val_dataset`.

    Args:
        type: `Cityscapes` (official layout), `CamVid` (train/, trainannot/, ...) or `Dataset` (list files).
        dataset_root: folder of the data.
        mode: `train`, `val` or `test`.
        transforms: PaddleSeg's list of transforms, see `data.transforms`.
        **options: of the type Dataset: see `data.layouts.find_listed`.

    Raises:
        UserError: for a folder that is missing or holds no image of that split, an image without label, a label without
            image, or an unknown type, mode or option.
    """
    classes = dataset_classes(type, **options)
    if mode not in MODES:
        raise UserError(f"dataset mode {mode!r} is not one of {', '.join(MODES)}")
    root = Path(dataset_root)
    if not root.is_dir():
        raise UserError(
            f"{root}: no such dataset folder. Put {type} there or name its place with --dataset_root (the README says "
            "how to get it); to see training without it: make demo"
        )
    samples, problems = LAYOUTS[type].find(root, mode, **options)
    if problems:
        more = f" ({len(problems) - 1} more: python -m tool.prepare_data check)" if len(problems) > 1 else ""
        raise UserError(problems[0] + more)
    if not samples:
        raise UserError(f"{root}: holds no image of the split {mode!r} in the layout of {type}; the README shows it")
    return SegmentationDataset(samples, classes, build_transform(transforms, mode), mode)


def dataset_classes(type: str, **options) -> ClassSet:
    """The classes of a dataset, known without its files; raises UserError for an unknown type or option."""
    if type not in LAYOUTS:
        raise unknown_name("dataset type", type, LAYOUTS)
    layout = LAYOUTS[type]
    for option in options:
        if option not in layout.options:
            raise unknown_name(f"dataset type {type}: option", option, layout.options)
    if "num_classes" in layout.options:
        num_classes = options.get("num_classes")
        if not isinstance(num_classes, int) or not 1 <= num_classes < 255:
            raise UserError(f"dataset type {type}: num_classes must be a number from 1 to 254, not {num_classes!r}")
    return layout.classes(**options)
