"""Cross-entropy of every pixel, in less time (on a CPU) and less memory (on any device) than Paddle's own kernel."""

import functools
from typing import List, Optional, Sequence, Tuple

import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.autograd import PyLayer

from loss.class_weights import ClassWeights, pixel_weights, weights_tensor
from loss.resizing import Resize, upsample

CHUNK_BYTES = 2**28  # of full-size logits on a device at a time: 6 images of 19 classes at 1024x512


def pixel_cross_entropy(
    logits: paddle.Tensor, labels: paddle.Tensor, ignore_index: int = 255, resize: Resize = upsample
) -> paddle.Tensor:
    """Cross-entropy of each pixel, [N, H, W] float32; 0 and without gradient where ignored.

    Args:
        logits: [N, K, h, w] float32 of any size.
        labels: class ids [N, H, W] int64 in [0, K), or `ignore_index`.
        ignore_index: label of ignored pixels.
        resize: brings the logits to the labels' size.
    """
    if not logits.place.is_cpu_place():
        return _RecomputedCrossEntropy.apply(logits, labels, ignore_index, resize)
    logits = resize(logits, labels.shape[1:])
    return _CrossEntropy.apply(logits.flatten(2), labels.flatten(1), ignore_index).reshape(labels.shape)


class CrossEntropyLoss(nn.Layer):
    """Plain cross-entropy, averaged over the pixels that are not ignored; 0 where all are.

    Unlike Paddle 2.6's own mean, it does not wait for the device to learn whether any pixel is ignored.

    Args:
        ignore_index: label that does not count.
        class_weights: factor of each class's cross-entropy in a weighted mean, [K].
    """

    resizes_logits = True

    def __init__(self, ignore_index: int = 255, class_weights: Optional[ClassWeights] = None):
        super().__init__()
        self.ignore_index = ignore_index
        self.class_weights = weights_tensor(class_weights)
        self.resize: Resize = upsample

    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """Loss, 0-d float32, of logits [N, K, h, w] float32 and labels [N, H, W] int64."""
        losses = pixel_cross_entropy(logits, labels, self.ignore_index, self.resize)
        weights = pixel_weights(labels, self.class_weights, self.ignore_index)
        if self.class_weights is not None:
            losses = losses * weights
        total = weights.sum()
        return losses.sum() / (total + (total == 0).astype("float32"))


class _RecomputedCrossEntropy(PyLayer):
    """Cross-entropies [N, H, W] of logits [N, K, h, w] and labels [N, H, W], by the device's own kernels.

    Logits and probabilities of full size exist for a few images at a time. Neither is kept: the backward pass
    resizes again and computes the probabilities again.
    """

    @staticmethod
    def forward(ctx, logits, labels, ignore_index, resize):
        ctx.save_for_backward(logits, labels)
        ctx.losses = functools.partial(_device_cross_entropy, ignore_index=ignore_index, resize=resize)
        chunks = _chunks(logits.shape[1], labels.shape)
        return _joined([ctx.losses(_part(logits, chunk), _part(labels, chunk)) for chunk in chunks])

    @staticmethod
    def backward(ctx, gradient):
        logits, labels = ctx.saved_tensor()
        gradients = []
        for chunk in _chunks(logits.shape[1], labels.shape):
            part = _part(logits, chunk).detach()
            part.stop_gradient = False
            with paddle.enable_grad():
                losses = ctx.losses(part, _part(labels, chunk))
            paddle.autograd.backward([losses], [_part(gradient, chunk)])
            gradients.append(part.grad)
        return _joined(gradients), None


def _device_cross_entropy(
    logits: paddle.Tensor, labels: paddle.Tensor, ignore_index: int, resize: Resize
) -> paddle.Tensor:
    logits = resize(logits, labels.shape[1:])
    losses = F.softmax_with_cross_entropy(logits, labels.unsqueeze(1), ignore_index=ignore_index, axis=1)
    return losses.squeeze(1)


def _chunks(classes: int, shape: Sequence[int]) -> List[slice]:
    """Slices of the images for which the logits at the labels' size, of `shape` [N, H, W], stay within CHUNK_BYTES."""
    images, height, width = shape
    length = max(1, CHUNK_BYTES // (4 * classes * height * width))
    return [slice(start, start + length) for start in range(0, images, length)]


def _part(tensor: paddle.Tensor, chunk: slice) -> paddle.Tensor:
    return tensor if chunk.start == 0 and chunk.stop >= tensor.shape[0] else tensor[chunk]


def _joined(parts: List[paddle.Tensor]) -> paddle.Tensor:
    return parts[0] if len(parts) == 1 else paddle.concat(parts)


class _CrossEntropy(PyLayer):
    """Cross-entropies [N, P] of logits [N, K, P] and labels [N, P], 0 where ignored.

    Paddle's CPU kernels reduce over axis 1 of [N, K, P], and broadcast along it, one element at a time. Working on one
    class's row [P] of an image needs neither, and intermediate results stay in the processor's cache.
    Apart from the logits, only tensors of the labels' size are kept for the backward pass, which recomputes the
    probabilities.
    """

    @staticmethod
    def forward(ctx, logits, labels, ignore_index):
        largest, total = (paddle.stack(rows) for rows in zip(*(_largest_and_total(image) for image in logits)))
        counted = labels != ignore_index
        positions = _positions(labels, counted, logits.shape[1])
        # Paddle's embedding is its fastest lookup of single elements on a CPU.
        own = F.embedding(positions, logits.flatten().unsqueeze(1)).reshape(labels.shape)
        losses = (largest - own + total.log()) * counted.astype("float32")
        ctx.save_for_backward(logits, counted, positions, largest, total, losses)
        return losses

    @staticmethod
    def backward(ctx, gradient):
        logits, counted, positions, largest, total, losses = ctx.saved_tensor()
        gradient = gradient * counted.astype("float32")
        result = logits.detach().clone()
        for image, peak, factor in zip(result, largest, gradient / total):
            for row in image:  # a view, changed in place
                row.subtract_(peak).exp_().multiply_(factor)
        # At a pixel's own class the gradient is the upstream one times (probability - 1).
        own = gradient * paddle.expm1(-losses)
        result.flatten().scatter_(positions, own.flatten())
        return result, None


def _largest_and_total(image: paddle.Tensor) -> Tuple[paddle.Tensor, paddle.Tensor]:
    """Each pixel's largest logit, and its sum of exp(logit - largest), both [P], of logits [K, P]."""
    rows = list(image)
    largest = functools.reduce(paddle.maximum, rows)
    total = paddle.zeros_like(largest)
    for row in rows:
        total.add_((row - largest).exp_())
    return largest, total


def _positions(labels: paddle.Tensor, counted: paddle.Tensor, classes: int) -> paddle.Tensor:
    """Where each pixel's own logit is in the flattened [N, classes, P]: [N * P]. Ignored pixels count as class 0."""
    images, pixels = labels.shape
    kind = "int32" if images * classes * pixels < 2**31 else "int64"  # half the memory of int64, a fifth of the time
    first = paddle.arange(images, dtype=kind).unsqueeze(1) * (classes * pixels) + paddle.arange(pixels, dtype=kind)
    return (labels.astype(kind) * counted.astype(kind) * pixels + first).flatten()
