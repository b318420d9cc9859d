"""Losses, called `loss(logits, labels)`, and the criterion that pairs them with a network's outputs."""

import compat  # noqa: F401  it must come before paddle

from loss.criterion import Criterion, build_criterion
from loss.detail import DetailAggregateLoss, detail_target
from loss.ohem import OhemCrossEntropyLoss

__all__ = ["Criterion", "DetailAggregateLoss", "OhemCrossEntropyLoss", "build_criterion", "detail_target"]
