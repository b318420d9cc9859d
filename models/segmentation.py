"""What the segmentation networks have in common."""

from typing import Sequence

import paddle
from paddle import nn

from models.layers import resize


class SegmentationNetwork(nn.Layer):
    """A network with `heads`, an nn.LayerDict by output name, whose logits are resized to the image's size.

    Args:
        align_corners: how logits are resized.

    Attributes:
        at_stride: whether logits are answered at the heads' own stride instead; for a caller that resizes them itself.
    """

    heads: nn.LayerDict

    def __init__(self, align_corners: bool):
        super().__init__()
        self.align_corners = align_corners
        self.at_stride = False

    def segment(self, head: str, x: paddle.Tensor, size: Sequence[int]) -> paddle.Tensor:
        """Logits [N, num_classes, *size] of a head that reads x [N, C, h, w]; [N, num_classes, h, w] `at_stride`."""
        logits = self.heads[head](x)
        return logits if self.at_stride else resize(logits, size, align_corners=self.align_corners)
