"""Logits of any stride, brought to the labels' size."""

from typing import Callable, Sequence

import paddle
import paddle.nn.functional as F

Resize = Callable[[paddle.Tensor, Sequence[int]], paddle.Tensor]
"""Brings [N, K, h, w] to [N, K, *size]; returns its argument if it has that size already."""


def upsample(logits: paddle.Tensor, size: Sequence[int]) -> paddle.Tensor:
    """The default `Resize`: bilinear with align_corners=True, as in the original STDC-Seg."""
    if list(logits.shape[2:]) == list(size):
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=True)
