"""Reads segmentation data as people have it: masks, LabelMe, Supervisely, COCO, PaddleSeg's lists."""

from data.importing.found import Found, Item
from data.importing.source import find_source

__all__ = ["Found", "Item", "find_source"]
