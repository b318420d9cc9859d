"""Cross-entropy of every pixel, in less time and memory than Paddle's own kernel takes on a CPU."""

import paddle
import paddle.nn.functional as F
from paddle.autograd import PyLayer


def pixel_cross_entropy(logits: paddle.Tensor, labels: paddle.Tensor, ignore_index: int = 255) -> paddle.Tensor:
    """Cross-entropy of each pixel, [N, H, W] float32; 0 and without gradient where ignored.

    Args:
        logits: [N, K, H, W] float32.
        labels: class ids [N, H, W] int64 in [0, K), or `ignore_index`.
        ignore_index: label of ignored pixels.
    """
    if not logits.place.is_cpu_place():
        losses = F.cross_entropy(logits, labels, ignore_index=ignore_index, reduction="none", axis=1)
        return losses.reshape(labels.shape)
    return _CrossEntropy.apply(logits.flatten(2), labels.flatten(1), ignore_index).reshape(labels.shape)


class _CrossEntropy(PyLayer):
    """Cross-entropies [N, P] of logits [N, K, P] and labels [N, P], 0 where ignored.

    Paddle's CPU kernels reduce over axis 1 of [N, K, P], and broadcast along it, one element at a time. Image by image
    both go at the speed of memory: a product with ones adds up the classes, and [P] is a row that [K, P] repeats.
    Only what is as small as the labels is kept for the gradient, which computes the probabilities again.
    """

    @staticmethod
    def forward(ctx, logits, labels, ignore_index):
        ones = paddle.ones([1, logits.shape[1]])
        largest = paddle.stack([_largest(image) for image in logits])  # [N, P]
        totals = [paddle.matmul(ones, (image - peak).exp_()) for image, peak in zip(logits, largest)]
        total = paddle.concat(totals)  # [N, P]
        counted = labels != ignore_index
        own = paddle.gather(logits.flatten(), _positions(labels, counted, logits.shape[1])).reshape(labels.shape)
        losses = (largest - own + total.log()) * counted.astype("float32")
        ctx.ignore_index = ignore_index
        ctx.save_for_backward(logits, labels, largest, total, losses)
        return losses

    @staticmethod
    def backward(ctx, gradient):
        logits, labels, largest, total, losses = ctx.saved_tensor()
        counted = labels != ctx.ignore_index
        gradient = gradient * counted.astype("float32")
        result = logits.detach().clone()
        for image, peak, factor in zip(result, largest, gradient / total):  # views, changed in place
            image.subtract_(peak).exp_().multiply_(factor)
        # At the pixel's own class the gradient is that times its probability less 1.
        own = gradient * paddle.expm1(-losses)
        result.flatten().scatter_(_positions(labels, counted, logits.shape[1]), own.flatten())
        return result, None


def _largest(image: paddle.Tensor) -> paddle.Tensor:
    """Largest logit [P] of each pixel of [K, P]; by halves, since a reduction over the first axis is slow."""
    while image.shape[0] > 1:
        half = (image.shape[0] + 1) // 2
        image = paddle.maximum(image[:half], image[-half:])
    return image[0]


def _positions(labels: paddle.Tensor, counted: paddle.Tensor, classes: int) -> paddle.Tensor:
    """Where each pixel's own logit is in the flattened [N, classes, P]: [N * P]. Ignored pixels count as class 0."""
    images, pixels = labels.shape
    first = paddle.arange(images).unsqueeze(1) * (classes * pixels) + paddle.arange(pixels)
    return (labels * counted.astype(labels.dtype) * pixels + first).flatten()
