"""The input pipeline. Folders in here (data/cityscapes, data/camvid, ...) are where users put datasets."""

import compat  # noqa: F401  it must come before paddle

from data.classes import CAMVID, CITYSCAPES, ClassSet, generic_classes
from data.datasets import SegmentationDataset, build_dataset, dataset_classes
from data.loader import init_loader_worker, sample_candidates, sample_numbers, sample_of, train_batches
from data.transforms import TrainTransform, ValTransform

__all__ = [
    "CAMVID",
    "CITYSCAPES",
    "ClassSet",
    "SegmentationDataset",
    "TrainTransform",
    "ValTransform",
    "build_dataset",
    "dataset_classes",
    "generic_classes",
    "sample_candidates",
    "sample_numbers",
    "sample_of",
    "init_loader_worker",
    "train_batches",
]
