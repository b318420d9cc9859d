"""Cross-entropy over the hardest pixels (original `loss/loss.py:OhemCELoss`)."""

import math
from typing import Optional, Tuple, Union

from compat.options import Label

import paddle
from paddle import nn
from pydantic import Field
from typing_extensions import Annotated

from loss.class_weights import ClassWeights, pixel_weights, weights_tensor
from loss.cross_entropy import pixel_cross_entropy
from loss.resizing import Resize, upsample
from loss.selection import nth_largest


class OhemCrossEntropyLoss(nn.Layer):
    """Online hard example mining over the pixels of one device's batch.

    The loss is the mean of all cross-entropies above -ln(thresh) if they are more than n_min, otherwise the mean of the
    n_min largest. Ignored pixels have cross-entropy 0.

    Args:
        thresh: a pixel is hard when its class has a probability below this, in (0, 1].
        n_min: least number of pixels to average: a number of pixels (int; at most the batch's are taken), or a fraction
            of the batch's pixels (float in (0, 1)).
        ignore_index: label that does not count.
        class_weights: factor of each class's cross-entropy in the mean, [K]; it does not affect which pixels are hard.

    Raises:
        ValueError: for a threshold or n_min out of range.
    """

    resizes_logits = True

    def __init__(
        self,
        thresh: Annotated[float, Field(gt=0, le=1)] = 0.7,
        n_min: Union[Annotated[int, Field(ge=1)], Annotated[float, Field(gt=0, lt=1)]] = 1 / 16,
        ignore_index: Label = 255,
        class_weights: Optional[ClassWeights] = None,
    ):
        super().__init__()
        if not 0 < thresh <= 1:
            raise ValueError(f"thresh: {thresh} is not in (0, 1]")
        if n_min <= 0 or (isinstance(n_min, float) and n_min >= 1):
            raise ValueError(f"n_min: {n_min} is neither a number of pixels nor a fraction in (0, 1)")
        self.threshold = -math.log(thresh)
        self.n_min = n_min
        self.ignore_index = ignore_index
        self.class_weights = weights_tensor(class_weights)
        self.resize: Resize = upsample

    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """Loss, 0-d float32, of logits [N, K, h, w] float32 and labels [N, H, W] int64."""
        losses = pixel_cross_entropy(logits, labels, self.ignore_index, self.resize).flatten()
        with paddle.no_grad():
            chosen, count = self._choose(losses.detach())
            if self.class_weights is not None:
                chosen = chosen * pixel_weights(labels, self.class_weights, self.ignore_index).flatten()
        return (losses * chosen).sum() / count

    def _choose(self, losses: paddle.Tensor) -> Tuple[paddle.Tensor, paddle.Tensor]:
        """(mask of the pixels to average [P] float32, their number 0-d) for losses [P]."""
        n_min = self._n_min(losses.shape[0])
        hard_count = (losses > self.threshold).astype(losses.dtype).sum()
        enough = hard_count > n_min
        # Branching would make the host wait for another device, where the limit is therefore always computed.
        if losses.place.is_cpu_place() and enough:
            return (losses > self.threshold).astype(losses.dtype), hard_count
        limit = paddle.where(enough, paddle.full([1], self.threshold, losses.dtype), nth_largest(losses, n_min))
        above = losses > limit
        # Of equal losses at the limit, the first ones are taken until there are n_min.
        room = (n_min - above.astype("int32").sum(dtype="int32")).clip(min=0)
        ties = losses == limit
        ties = paddle.logical_and(ties, ties.astype("int32").cumsum(0) <= room)
        return paddle.logical_or(above, ties).astype(losses.dtype), hard_count.clip(min=n_min)

    def _n_min(self, pixels: int) -> int:
        n_min = int(self.n_min * pixels) if isinstance(self.n_min, float) else self.n_min
        return max(1, min(n_min, pixels))
