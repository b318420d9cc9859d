"""Cross-entropy that counts more near the borders between classes (the mask of super-gradients' recipe)."""

from typing import Optional

import paddle
import paddle.nn.functional as F
from paddle import nn

from loss.class_weights import ClassWeights, weights_of_pixels, weights_tensor
from loss.cross_entropy import pixel_cross_entropy
from loss.resizing import Resize, enlarge


def border_mask(labels: paddle.Tensor, width: int = 1, ignore_index: int = 255) -> paddle.Tensor:
    """Where two classes meet: pixels with another class at most `width` rows and columns away.

    That is the dilation less the erosion of a class's pixels by a square of 2 width + 1, for any class. Ignored pixels
    are no border and cause none, nor does the image's edge.

    Args:
        labels: class ids [N, H, W], any integer type.
        width: in pixels, at least 1.
        ignore_index: label of ignored pixels.

    Returns:
        [N, H, W] float32 of 0 and 1.
    """
    with paddle.no_grad():
        ids = labels.unsqueeze(1).astype("float32")
        counted = ids != ignore_index
        beyond = paddle.full_like(ids, 1e9)
        largest = F.max_pool2d(paddle.where(counted, ids, -beyond), 2 * width + 1, stride=1, padding=width)
        smallest = -F.max_pool2d(paddle.where(counted, -ids, -beyond), 2 * width + 1, stride=1, padding=width)
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
        ValueError: for a negative weight or a width that is no positive number.
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
            raise ValueError(f"width: {width!r} is not a number of pixels of at least 1")
        self.all_weight = all_weight
        self.border_weight = border_weight
        self.width = width
        self.ignore_index = ignore_index
        self.class_weights = weights_tensor(class_weights)
        self.resize: Resize = enlarge

    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """Loss, 0-d float32, of logits [N, K, h, w] float32 and labels [N, H, W] int64; 0 if all is ignored."""
        losses = pixel_cross_entropy(logits, labels, self.ignore_index, self.resize)
        weights = weights_of_pixels(labels, self.class_weights, self.ignore_index)
        at_border = weights * border_mask(labels, self.width, self.ignore_index)
        # Both means in one sum: a pixel's factor is its share of the one and of the other.
        factors = self.all_weight * weights / weights.sum().clip(min=1e-12)
        factors = factors + self.border_weight * at_border / at_border.sum().clip(min=1e-12)
        return (losses * factors).sum()
