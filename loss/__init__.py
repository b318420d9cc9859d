"""Losses, called `loss(logits, labels)`, and the criterion that pairs them with a network's outputs."""

import compat  # noqa: F401  it must come before paddle

from loss.border import BorderCrossEntropyLoss, border_mask
from loss.criterion import Criterion, build_criterion
from loss.cross_entropy import CrossEntropyLoss
from loss.detail import DetailAggregateLoss, detail_target
from loss.dice import DiceLoss
from loss.focal import FocalLoss
from loss.lovasz import LovaszSoftmaxLoss
from loss.ohem import OhemCrossEntropyLoss

__all__ = [
    "BorderCrossEntropyLoss",
    "Criterion",
    "CrossEntropyLoss",
    "DetailAggregateLoss",
    "DiceLoss",
    "FocalLoss",
    "LovaszSoftmaxLoss",
    "OhemCrossEntropyLoss",
    "border_mask",
    "build_criterion",
    "detail_target",
]
