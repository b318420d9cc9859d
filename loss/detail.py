"""Detail aggregation: where edges between classes are (STDC-Seg, section 3.3; original `loss/detail_loss.py`)."""

from typing import Optional, Tuple

from compat.options import Label

import paddle
import paddle.nn.functional as F
from paddle import nn

EDGE_THRESHOLD = 0.1
OFFICIAL_MIX = (0.6, 0.3, 0.1)


def detail_target(
    labels: paddle.Tensor,
    ignore_index: int = 255,
    ignored_as_label: bool = False,
    mix: Optional[paddle.Tensor] = None,
) -> paddle.Tensor:
    """Binary map of details: where the 3x3 Laplacian of the class ids is positive at stride 1 or at stride 2.

    Beyond the image's border the class id counts as 0, as in the original.

    Args:
        labels: class ids [N, H, W], any integer type.
        ignore_index: label of ignored pixels.
        ignored_as_label: if False, ignored pixels are never edges and create none; if True, as in the original, they
            are a class of the value `ignore_index`, whose border is an edge.
        mix: weights [3] of the maps at strides 1, 2 and 4; a pixel is an edge where their weighted sum exceeds 0.1. By
            default the original's 0.6, 0.3 and 0.1: stride 1 or 2 alone is enough, stride 4 alone is not.

    Returns:
        [N, 1, H, W] float32 of 0 and 1.
    """
    with paddle.no_grad():
        edges = (_laplacian(labels.unsqueeze(1), ignore_index, ignored_as_label) > EDGE_THRESHOLD).astype("float32")
        # A Laplacian of stride s is the Laplacian of stride 1 at every s-th pixel.
        size = edges.shape[2:]
        at_stride_2 = F.interpolate(edges[:, :, ::2, ::2], size=size, mode="nearest")
        if mix is None:
            return paddle.maximum(edges, at_stride_2)
        at_stride_4 = F.interpolate(edges[:, :, ::4, ::4], size=size, mode="nearest")
        mixed = mix[0] * edges + mix[1] * at_stride_2 + mix[2] * at_stride_4
        return (mixed > EDGE_THRESHOLD).astype("float32")


def _laplacian(labels: paddle.Tensor, ignore_index: int, ignored_as_label: bool) -> paddle.Tensor:
    """8 * class id - the sum of the 8 neighbours', [N, 1, H, W] float32; exact, since all are small integers."""
    classes = labels.astype("float32")
    if ignored_as_label:
        return 9 * classes - _sum_3x3(classes)
    counted = (classes != ignore_index).astype("float32")
    classes = classes * counted
    # An ignored neighbour counts as having the centre's class.
    ignored_neighbours = _sum_3x3(1 - counted)
    return counted * (9 * classes - _sum_3x3(classes) - classes * ignored_neighbours)


def _sum_3x3(x: paddle.Tensor) -> paddle.Tensor:
    """Sum over each pixel's 3x3 neighbourhood of [N, 1, H, W], zeros beyond the border; along rows, then columns."""
    rows = F.conv2d(x, paddle.ones([1, 1, 1, 3]), padding=(0, 1))
    return F.conv2d(rows, paddle.ones([1, 1, 3, 1]), padding=(1, 0))


class DetailAggregateLoss(nn.Layer):
    """Binary cross-entropy plus Dice of the detail logit against `detail_target` of the labels.

    Args:
        ignore_index: label of ignored pixels.
        ignored_as_label: see `detail_target`.
        decaying_mix: as in the original, the mix 0.6/0.3/0.1 is a parameter `mix` whose gradient is always zero, so
            that weight decay alone shrinks it: after about 28 800 of 60 000 iterations edges of stride 2 leave the
            target. The optimiser must be given this layer's parameters. False: the mix stays.
    """

    resizes_logits = True

    def __init__(self, ignore_index: Label = 255, ignored_as_label: bool = False, decaying_mix: bool = False):
        super().__init__()
        self.ignore_index = ignore_index
        self.ignored_as_label = ignored_as_label
        self.mix = None
        if decaying_mix:
            initial = nn.initializer.Assign(paddle.to_tensor(OFFICIAL_MIX))
            self.mix = self.create_parameter([3], default_initializer=initial)

    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """Loss, 0-d float32, of the detail logit [N, 1, h, w] of any stride and labels [N, H, W]."""
        bce, dice = self.parts(logits, labels)
        total = bce + dice
        if self.mix is not None:
            total = total + 0 * self.mix.sum()  # a gradient of zero, without which no decay would be applied
        return total

    def parts(self, logits: paddle.Tensor, labels: paddle.Tensor) -> Tuple[paddle.Tensor, paddle.Tensor]:
        """(binary cross-entropy, Dice loss), each 0-d; the logit is resized to the labels' size."""
        target = detail_target(labels, self.ignore_index, self.ignored_as_label, self.mix)
        if list(logits.shape[2:]) != list(target.shape[2:]):
            logits = F.interpolate(logits, size=target.shape[2:], mode="bilinear", align_corners=True)
        return F.binary_cross_entropy_with_logits(logits, target), dice_loss(F.sigmoid(logits), target)


def dice_loss(probability: paddle.Tensor, target: paddle.Tensor, smooth: float = 1.0) -> paddle.Tensor:
    """1 - Dice coefficient of each image, averaged over the batch; both [N, 1, H, W] in [0, 1]."""
    probability, target = probability.flatten(1), target.flatten(1)
    intersection = (probability * target).sum(1)
    return (1 - (2 * intersection + smooth) / (probability.sum(1) + target.sum(1) + smooth)).mean()
