"""Cross-entropy over the hardest pixels (original `loss/loss.py:OhemCELoss`)."""

import math
from typing import Optional, Sequence, Union

import paddle
import paddle.nn.functional as F
from paddle import nn


class OhemCrossEntropyLoss(nn.Layer):
    """Online hard example mining over the pixels of one device's batch.

    With the pixels' cross-entropies in descending order, the loss is the mean of all above -ln(thresh) if these are
    more than n_min, otherwise the mean of the n_min largest. Ignored pixels count as cross-entropy 0.

    Args:
        thresh: a pixel is hard when its class has a probability below this, in (0, 1].
        n_min: least number of pixels to average: a number of pixels (int), or a fraction of the batch's pixels (float
            in (0, 1)). More than there are means all.
        ignore_index: label that does not count.
        class_weights: factor of each class's cross-entropy in the mean; what is hard is decided without it.

    Raises:
        ValueError: for a threshold or n_min out of range.
    """

    def __init__(
        self,
        thresh: float = 0.7,
        n_min: Union[int, float] = 1 / 16,
        ignore_index: int = 255,
        class_weights: Optional[Sequence[float]] = None,
    ):
        super().__init__()
        if not 0 < thresh <= 1:
            raise ValueError(f"thresh: {thresh} is not in (0, 1]")
        if n_min <= 0 or (isinstance(n_min, float) and n_min >= 1):
            raise ValueError(f"n_min: {n_min} is neither a number of pixels nor a fraction in (0, 1)")
        self.threshold = -math.log(thresh)
        self.n_min = n_min
        self.ignore_index = ignore_index
        self.class_weights = None if class_weights is None else paddle.to_tensor(class_weights, dtype="float32")

    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """Loss, 0-d float32, of logits [N, K, H, W] float32 and labels [N, H, W] int64."""
        losses = F.cross_entropy(logits, labels, ignore_index=self.ignore_index, reduction="none", axis=1).flatten()
        weighted = losses
        if self.class_weights is not None:
            # Ignored pixels have cross-entropy 0, so any class's weight will do for them.
            classes = paddle.where(labels == self.ignore_index, paddle.zeros_like(labels), labels)
            weighted = losses * paddle.gather(self.class_weights, classes.flatten())
        # Both means are computed and one is chosen on the device: a branch would wait for the device at every step.
        hard = (losses > self.threshold).astype(losses.dtype).detach()
        hard_count = hard.sum()
        mean_hard = (weighted * hard).sum() / hard_count.clip(min=1)
        n_min = self._n_min(losses.shape[0])
        _, hardest = paddle.topk(losses.detach(), n_min, sorted=False)
        mean_hardest = paddle.gather(weighted, hardest).mean()
        return paddle.where(hard_count > n_min, mean_hard, mean_hardest)

    def _n_min(self, pixels: int) -> int:
        n_min = int(self.n_min * pixels) if isinstance(self.n_min, float) else self.n_min
        return max(1, min(n_min, pixels))
