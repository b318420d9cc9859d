"""Dice over the classes (V-Net, Milletari et al. 2016; in the form of super-gradients' recipe for STDC-Seg)."""

from typing import Optional

import paddle
from paddle import nn
from paddle.autograd import PyLayer

from loss.class_weights import ClassWeights, weights_tensor
from loss.softmax import class_probabilities, softmax_backward


class DiceLoss(nn.Layer):
    """1 - Dice coefficient of each class over the batch of one device, averaged over the classes.

    The coefficient is (2 intersection + smooth) / (predicted + labelled + smooth + eps), where each area is a sum of
    softmax probabilities over the pixels that are not ignored. A class absent from the labels costs the more, the more
    probability it is given.

    Args:
        smooth: added to numerator and denominator; the larger it is, the less an absent class costs.
        eps: added to the denominator.
        ignore_index: label that does not count.
        class_weights: of the mean over the classes, [K].

    Raises:
        ValueError: for a negative smooth or eps.
    """

    def __init__(
        self,
        smooth: float = 1.0,
        eps: float = 1e-5,
        ignore_index: int = 255,
        class_weights: Optional[ClassWeights] = None,
    ):
        super().__init__()
        if smooth < 0 or eps < 0:
            raise ValueError(f"smooth: {smooth} and eps: {eps} must not be negative")
        self.smooth = smooth
        self.eps = eps
        self.ignore_index = ignore_index
        self.class_weights = weights_tensor(class_weights)

    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """Loss, 0-d float32, of logits [N, K, H, W] float32 and labels [N, H, W] int64."""
        intersection, predicted, labelled = _ClassAreas.apply(logits.flatten(2), labels.flatten(1), self.ignore_index)
        # Without smooth and eps, a batch of ignored pixels only would divide 0 by 0.
        areas = (predicted + labelled + self.smooth + self.eps).clip(min=1e-12)
        losses = 1 - (2 * intersection + self.smooth) / areas
        if self.class_weights is None:
            return losses.mean()
        return (losses * self.class_weights).sum() / self.class_weights.sum()


class _ClassAreas(PyLayer):
    """(intersection, predicted, labelled), each [K], of logits [N, K, P] and labels [N, P].

    Only the arguments are kept for the backward pass, which recomputes the probabilities image by image.
    """

    @staticmethod
    def forward(ctx, logits, labels, ignore_index):
        counted = (labels != ignore_index).astype("float32")
        classes = range(logits.shape[1])
        sums = []
        for image, label, counts in zip(logits, labels, counted):
            masks = [(label == index).astype("float32") for index in classes]
            probabilities = class_probabilities(image)
            intersection = [(row * mask).sum() for row, mask in zip(probabilities, masks)]
            predicted = [(row * counts).sum() for row in probabilities]
            sums.append(paddle.stack([*intersection, *predicted, *(mask.sum() for mask in masks)]))
        ctx.save_for_backward(logits, labels, counted)
        return tuple(sum(sums).reshape([3, -1]))

    @staticmethod
    def backward(ctx, grad_intersection, grad_predicted, _grad_labelled):
        logits, labels, counted = ctx.saved_tensor()
        images = []
        for image, label, counts in zip(logits, labels, counted):
            gradients = [
                counts * predicted + (label == index).astype("float32") * intersection
                for index, (intersection, predicted) in enumerate(zip(grad_intersection, grad_predicted))
            ]
            images.append(softmax_backward(class_probabilities(image), gradients))
        return paddle.stack(images), None
