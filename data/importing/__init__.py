"""Reads segmentation data as people have it: masks of colours or numbers, LabelMe, COCO, PaddleSeg's lists."""

from data.importing.found import Found, Item
from data.importing.source import KINDS, find_source

__all__ = ["KINDS", "Found", "Item", "find_source"]
