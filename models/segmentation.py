"""What the segmentation networks have in common."""

import contextlib
from typing import Iterator, Sequence, Tuple

import paddle
from paddle import nn

from models.layers import resize


class SegmentationNetwork(nn.Layer):
    """A network with `heads`, an nn.LayerDict by output name, whose logits are resized to the image's size.

    Args:
        align_corners: how logits are resized.
        dropout: share of the values that is dropped before the heads' last convolution, in training only; in [0, 1).

    Raises:
        ValueError: for a share out of range.

    Attributes:
        at_stride: if True, logits are returned at the heads' own stride, for a caller that resizes them itself.
    """

    heads: nn.LayerDict

    def __init__(self, align_corners: bool, dropout: float = 0.0):
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout: {dropout} is not in [0, 1)")
        self.align_corners = align_corners
        self.dropout = dropout
        self.at_stride = False

    def segment(self, head: str, x: paddle.Tensor, size: Sequence[int]) -> paddle.Tensor:
        """Logits [N, num_classes, *size] of a head that reads x [N, C, h, w]; at x's size with `at_stride`."""
        logits = self.heads[head](x, self.dropout if self.training else 0.0)
        return logits if self.at_stride else self.resized(logits, size)

    def resized(self, logits: paddle.Tensor, size: Sequence[int]) -> paddle.Tensor:
        """Logits [N, num_classes, h, w] brought to [N, num_classes, *size], as `forward` does it."""
        return resize(logits, size, align_corners=self.align_corners)


@contextlib.contextmanager
def logits_at_stride(model: nn.Layer) -> Iterator[None]:
    """Inside, a SegmentationNetwork returns all logits at their heads' stride; other networks are unaffected."""
    former = getattr(model, "at_stride", None)
    if former is None:
        yield
        return
    model.at_stride = True
    try:
        yield
    finally:
        model.at_stride = former


def chosen_strides(option: str, strides: Sequence[int], known: Sequence[int]) -> Tuple[int, ...]:
    """The strides that an option lists, each once, in ascending order.

    Raises:
        ValueError: for a stride that is not among the known ones.
    """
    unknown = sorted(set(strides) - set(known))
    if unknown:
        raise ValueError(f"{option}: {unknown[0]} is not one of {', '.join(map(str, known))}")
    return tuple(sorted(set(strides)))
