"""Cross-entropy that counts more near the borders between classes (the mask of super-gradients' recipe)."""

from typing import Optional

import paddle
import paddle.nn.functional as F
from paddle import nn

from loss.class_weights import ClassWeights, pixel_weights, weights_tensor
from loss.cross_entropy import pixel_cross_entropy
from loss.resizing import Resize, upsample


def border_mask(labels: paddle.Tensor, width: int = 1, ignore_index: int = 255) -> paddle.Tensor:
    """Where two classes meet: pixels with another class at most `width` rows and columns away.

    This is the union over the classes of a mask's dilation minus its erosion by a square of side 2 * width + 1. Ignored
    pixels are never part of a border and create none, nor does the image's edge.

    Args:
        labels: class ids [N, H, W], any integer type.
        width: of the border to either side, in pixels, at least 1.
        ignore_index: label of ignored pixels.

    Returns:
        [N, H, W] float32 of 0 and 1.
    """
    with paddle.no_grad():
        ids = labels.unsqueeze(1).astype("float32")
        counted = ids != ignore_index
        infinite = paddle.full_like(ids, 1e9)  # no class id
        largest = F.max_pool2d(paddle.where(counted, ids, -infinite), 2 * width + 1, stride=1, padding=width)
        smallest = -F.max_pool2d(paddle.where(counted, -ids, -infinite), 2 * width + 1, stride=1, padding=width)
        return ((largest != smallest) & counted).squeeze(1).astype("float32")


class BorderCrossEntropyLoss(nn.Layer):
    """all_weight * mean cross-entropy of all pixels + border_weight * that of the pixels of `border_mask`.

    Args:
        all_weight: of the mean over all pixels that are not ignored.
        border_weight: of the mean over those at borders, which is 0 where there are none.
        width: of the border to either side, in pixels.
        ignore_index: label that does not count.
        class_weights: factor of each class's pixels, [K]; both means are weighted by them.

    Raises:
        ValueError: for a negative weight, or a width that is not a positive integer.
    """

    resizes_logits = True

    def __init__(
        self,
        all_weight: float = 0.5,
        border_weight: float = 0.5,
        width: int = 1,
        ignore_index: int = 255,
        class_weights: Optional[ClassWeights] = None,
    ):
        super().__init__()
        if all_weight < 0 or border_weight < 0:
            raise ValueError(f"all_weight: {all_weight} and border_weight: {border_weight} must not be negative")
        if not isinstance(width, int) or width < 1:
            raise ValueError(f"width: {width!r} is not a whole number of pixels, 1 or more")
        self.all_weight = all_weight
        self.border_weight = border_weight
        self.width = width
        self.ignore_index = ignore_index
        self.class_weights = weights_tensor(class_weights)
        self.resize: Resize = upsample

    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """Loss, 0-d float32, of logits [N, K, h, w] float32 and labels [N, H, W] int64; 0 if all is ignored."""
        losses = pixel_cross_entropy(logits, labels, self.ignore_index, self.resize)
        weights = pixel_weights(labels, self.class_weights, self.ignore_index)
        at_border = weights * border_mask(labels, self.width, self.ignore_index)
        # Both means in one sum: a pixel's factor is its share of the one and of the other.
        factors = self.all_weight * weights / weights.sum().clip(min=1e-12)
        factors = factors + self.border_weight * at_border / at_border.sum().clip(min=1e-12)
        return (losses * factors).sum()
