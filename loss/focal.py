"""Focal loss (Lin et al., ICCV 2017) of every pixel over the classes."""

from typing import Optional

import paddle
from paddle import nn

from loss.class_weights import ClassWeights, pixel_weights, weights_tensor
from loss.cross_entropy import pixel_cross_entropy
from loss.resizing import Resize, upsample


class FocalLoss(nn.Layer):
    """Mean over the pixels that are not ignored of (1 - p)^gamma times the cross-entropy; p is the class's probability.

    Args:
        gamma: how much less a pixel counts the better it is classified; 0 is plain cross-entropy.
        ignore_index: label that does not count.
        class_weights: factor of each class's pixels, [K]; the mean is weighted by them.

    Raises:
        ValueError: for a negative gamma.
    """

    resizes_logits = True

    def __init__(self, gamma: float = 2.0, ignore_index: int = 255, class_weights: Optional[ClassWeights] = None):
        super().__init__()
        if gamma < 0:
            raise ValueError(f"gamma: {gamma} must not be negative")
        self.gamma = gamma
        self.ignore_index = ignore_index
        self.class_weights = weights_tensor(class_weights)
        self.resize: Resize = upsample

    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """Loss, 0-d float32, of logits [N, K, h, w] float32 and labels [N, H, W] int64; 0 if all is ignored."""
        losses = pixel_cross_entropy(logits, labels, self.ignore_index, self.resize)
        weights = pixel_weights(labels, self.class_weights, self.ignore_index)
        if self.gamma:
            # For gamma below 1 the slope is infinite at loss 0; the clip keeps it finite.
            losses = losses * (-paddle.expm1(-losses)).clip(min=1e-7) ** self.gamma
        return (losses * weights).sum() / weights.sum().clip(min=1e-12)
