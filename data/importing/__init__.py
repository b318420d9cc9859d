"""Reads segmentation data as people have it: masks, LabelMe, Supervisely, COCO, PaddleSeg's lists."""

from data.importing.found import Item, SourceContent
from data.importing.source import find_source

__all__ = ["SourceContent", "Item", "find_source"]
