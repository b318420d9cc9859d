"""Lovász-softmax, a surrogate of the mean IoU (Berman et al., CVPR 2018)."""

from typing import Tuple

from compat.options import Label

import numpy as np
import paddle
from paddle import nn
from paddle.autograd import PyLayer
from typing_extensions import Literal

from loss.softmax import class_probabilities, softmax_backward

LEVELS = 65535  # numpy sorts 16-bit integers by radix, in a tenth of the time


class LovaszSoftmaxLoss(nn.Layer):
    """The Lovász extension of 1 - IoU of each class over the batch of one device, averaged over the classes.

    On a CPU the errors are sorted by their value in 65535ths. The extension is continuous and its slope at most 1, so
    that the loss is within 1e-5 of the exact one.

    Args:
        classes: `present` averages over the classes that occur in the labels, `all` over all classes.
        ignore_index: label that does not count.

    Raises:
        ValueError: for other `classes`.
    """

    def __init__(self, classes: Literal["present", "all"] = "present", ignore_index: Label = 255):
        super().__init__()
        if classes not in ("present", "all"):
            raise ValueError(f"classes: {classes!r} is not one of present, all")
        self.classes = classes
        self.ignore_index = ignore_index

    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """Loss, 0-d float32, of logits [N, K, H, W] float32 and labels [N, H, W] int64; 0 if all is ignored."""
        return _Lovasz.apply(logits.flatten(2), labels.flatten(1), self.ignore_index, self.classes == "all")


class _Lovasz(PyLayer):
    """The loss of logits [N, K, P] and labels [N, P]; the forward pass computes the gradient too, and keeps it."""

    @staticmethod
    def forward(ctx, logits, labels, ignore_index, include_absent):
        images, classes, pixels = logits.shape
        counted = paddle.nonzero(labels.flatten() != ignore_index).flatten()
        probabilities = [class_probabilities(image) for image in logits]
        gradients = [paddle.zeros([images * pixels]) for _ in range(classes)]
        losses = []
        own = labels.flatten().gather(counted) if len(counted) else counted
        for index in range(classes if len(counted) else 0):
            foreground = own == index
            if not include_absent and not bool(foreground.any()):
                continue
            row = paddle.concat([rows[index] for rows in probabilities]).gather(counted)
            loss, gradient = _binary(row, foreground)
            losses.append(loss)
            gradients[index] = gradients[index].scatter_(counted, gradient)
        rows_of_images = zip(*(gradient.reshape([images, pixels]) for gradient in gradients))
        gradient = [softmax_backward(rows, list(of_image)) for rows, of_image in zip(probabilities, rows_of_images)]
        ctx.save_for_backward(paddle.stack(gradient) / max(1, len(losses)))
        return paddle.stack(losses).mean() if losses else paddle.zeros([])

    @staticmethod
    def backward(ctx, upstream):
        (gradient,) = ctx.saved_tensor()
        return gradient * upstream, None


def _binary(probability: paddle.Tensor, foreground: paddle.Tensor) -> Tuple[paddle.Tensor, paddle.Tensor]:
    """(loss 0-d, its gradient [P]) of one class's probabilities [P] and mask [P] bool.

    With the errors in descending order, the slope of each is the growth of 1 - IoU when that pixel is wrong, too.
    """
    mask = foreground.astype("float32")
    sign = 1 - 2 * mask
    error = mask + sign * probability
    order = _descending(error)
    found = foreground.astype("int64").gather(order)
    total = found.sum()
    missed = found.cumsum()  # pixels of the class that are wrong so far
    union = total + paddle.arange(1, len(order) + 1) - missed
    right = total - missed
    # A wrong pixel of the class lowers IoU = right / union by 1 / union; one of another class enlarges the union by 1.
    growing = right.astype("float32") / (union * (union - 1)).clip(min=1).astype("float32")
    slope = paddle.where(found == 1, 1 / union.astype("float32"), growing)
    if int(total) == 0:  # IoU 0 from the first wrong pixel on
        slope = paddle.zeros_like(slope)
        slope[0] = 1.0
    gradient = paddle.zeros_like(error).scatter_(order, slope)
    return (error * gradient).sum(), gradient * sign


def _descending(error: paddle.Tensor) -> paddle.Tensor:
    """[P] int64: the order of errors [P] in [0, 1], largest first."""
    if not error.place.is_cpu_place():
        return error.argsort(descending=True)
    levels = np.clip((1 - error.numpy()) * LEVELS, 0, LEVELS).astype(np.uint16)
    return paddle.to_tensor(np.argsort(levels, kind="stable"))
