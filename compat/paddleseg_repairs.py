"""Repairs of PaddleSeg 2.8.0 on Paddle 2.5 and later, where reductions return 0-d tensors and types do not mix.

Each repair comes with a probe that runs the original on a few pixels; only what fails its probe is replaced.
"""

import importlib
import sys
from typing import Callable

import paddle


def repair_paddleseg() -> list:
    """Make `paddleseg.core.evaluate`, `train` and three of its losses work. Calling it again changes nothing.

    Returns:
        Names of the functions and methods that this call replaced.
    """
    importlib.import_module("paddleseg.core")
    # `paddleseg.core.train` is the function; the module of that name is only in sys.modules.
    train_module = sys.modules["paddleseg.core.train"]
    metrics = importlib.import_module("paddleseg.utils.metrics")
    cross_entropy = importlib.import_module("paddleseg.models.losses.cross_entropy_loss").CrossEntropyLoss
    ohem = importlib.import_module("paddleseg.models.losses.ohem_cross_entropy_loss").OhemCrossEntropyLoss
    dice = importlib.import_module("paddleseg.models.losses.dice_loss").DiceLoss
    repairs = (
        (metrics, "calculate_area", _calculate_area, _probe_area),
        (train_module, "loss_computation", _one_element_losses(train_module.loss_computation), _probe_losses),
        (cross_entropy, "_post_process_loss", _post_process_loss, _probe_loss(cross_entropy)),
        (ohem, "forward", _ohem_forward, _probe_loss(ohem, min_kept=1)),
        (dice, "forward", _keeping_labels(dice.forward), _probe_labels(dice)),
    )
    replaced = []
    for owner, name, repaired, probe in repairs:
        if _fails(probe, getattr(owner, name)):
            setattr(owner, name, repaired)
            replaced.append(f"{owner.__name__}.{name}")
    return replaced


def _fails(probe: Callable, original: Callable) -> bool:
    try:
        with paddle.no_grad():
            probe(original)
    except (ValueError, TypeError, IndexError, RuntimeError):
        return True
    return False


def _probe_area(calculate_area):
    calculate_area(paddle.zeros([1, 2, 2], "int32"), paddle.zeros([1, 2, 2], "int64"), 2)


def _probe_losses(loss_computation):
    losses = {"types": [lambda logits, labels: logits.mean()], "coef": [1]}
    for loss in loss_computation([paddle.ones([2])], None, None, losses):
        loss.numpy()[0]  # what train's log line does


def _probe_loss(loss_class, **options):
    logits, labels = paddle.zeros([1, 2, 2, 2]), paddle.zeros([1, 2, 2], "int64")
    return lambda method: loss_class(**options)(logits, labels)


def _probe_labels(loss_class):
    """A probe that fails for a loss that writes to the labels, which the losses after it read too."""

    def probe(forward):
        labels = paddle.full([1, 2, 2], 255, "int64")
        forward(loss_class(), paddle.zeros([1, 2, 2, 2]), labels)
        if bool((labels != 255).any()):
            raise ValueError("the labels have changed")

    return probe


def _keeping_labels(forward):
    """DiceLoss, which makes ignored pixels class 0 in place, on a copy of the labels.

    In PaddleSeg's MixedLoss all losses get the same labels: those before it would lose values that their backward pass
    needs, and those after it would count ignored pixels as class 0.
    """

    def repaired(self, logits, labels):
        return forward(self, logits, labels.clone())

    return repaired


def _calculate_area(pred, label, num_classes, ignore_index=255):
    """Areas [num_classes] int64 of intersection, prediction and label.

    Pixels labelled `ignore_index` do not count, except in the label's area if that is a class, as in the original.
    """
    if pred.ndim == 4:
        pred = pred.squeeze(1)
    if label.ndim == 4:
        label = label.squeeze(1)
    if pred.shape != label.shape:
        raise ValueError(f"Shape of `pred` and `label` should be equal, but there are {pred.shape} and {label.shape}.")
    counted = label != ignore_index
    areas = ([], [], [])
    for index in range(num_classes):
        predicted = paddle.logical_and(pred == index, counted)
        labelled = label == index
        both = paddle.logical_and(predicted, labelled)
        for area, mask in zip(areas, (both, predicted, labelled)):
            area.append(mask.astype("int64").sum())
    intersect, predicted, labelled = (paddle.stack(area) for area in areas)
    return intersect, predicted, labelled


def _one_element_losses(loss_computation):
    """The original, returning losses of shape [1], as its log line expects."""

    def repaired(*args, **kwargs):
        return [loss.reshape([1]) for loss in loss_computation(*args, **kwargs)]

    return repaired


def _post_process_loss(self, logit, label, semantic_weights, loss):
    """CrossEntropyLoss's mean over counted pixels, with masks in the type of the loss.

    `logit` is [N, H, W, C], `label` [N, H, W], `loss` [N, H, W] or [N, H, W, 1].
    """
    counted = label != self.ignore_index if self.avg_non_ignore else paddle.ones_like(label, dtype="bool")
    mask = counted.astype(loss.dtype)
    if loss.ndim > mask.ndim:
        loss = loss.squeeze(-1)
    loss = loss * mask
    if semantic_weights is not None:
        loss = loss * semantic_weights
    coefficient = paddle.ones_like(mask)
    if self.weight is not None:
        classes = paddle.where(counted, label, paddle.zeros_like(label))
        coefficient = paddle.gather(self.weight, classes.flatten()).reshape(classes.shape)
    if self.top_k_percent_pixels == 1.0:
        return loss.mean() / ((mask * coefficient).mean() + self.EPS)
    kept = int(self.top_k_percent_pixels * loss.numel())
    loss, positions = paddle.topk(loss.flatten(), kept)
    coefficient = paddle.gather(coefficient.flatten(), positions)
    return loss.mean() / (coefficient.mean() + self.EPS)


def _ohem_forward(self, logit, label):
    """OhemCrossEntropyLoss over logit [N, C, H, W] and label [N, H, W] or [N, 1, H, W], without mixing types."""
    cross_entropy = paddle.nn.functional.cross_entropy
    if label.ndim == logit.ndim:
        label = label.squeeze(1)
    label = label.astype("int64")
    counted = label != self.ignore_index
    loss = cross_entropy(logit, label, reduction="none", ignore_index=self.ignore_index, axis=1).reshape(label.shape)
    kept = counted
    # As the original: without a number to keep there is no threshold either, and all pixels count.
    if 0 < self.min_kept < int(counted.astype("int64").sum()):
        # As the original: ignored pixels count as probability above 1, so that they never are among the hardest.
        probability = paddle.where(counted, paddle.exp(-loss), 1 + paddle.exp(-loss)).detach()
        threshold = paddle.to_tensor(self.thresh, dtype=loss.dtype)
        threshold = paddle.maximum(threshold, paddle.sort(probability.flatten())[self.min_kept - 1])
        kept = paddle.logical_and(counted, probability < threshold)
    weight = kept.astype(loss.dtype)
    return (loss * weight).mean() / (weight.mean() + self.EPS)
