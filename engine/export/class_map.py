"""From logits at a head's stride to the class map of the image, without computing logits at the image's size."""

from typing import List, Tuple

import numpy as np
import paddle
from paddle import nn

from models.layers import interpolation_matrix

# The logits of a tile, 2.5 MB for 19 classes, stay in a processor's cache; those of a whole image do not.
TILE = (64, 512)


class ClassMap(nn.Layer):
    """Bilinear resizing and argmax, tile by tile: the argmax of the resized logits, up to rounding.

    Resizing multiplies the logits by a matrix from either side; only the nonzero band of each matrix is used.

    Shape: logits [N, K, h, w] -> class map [N, H, W] int32.

    Args:
        stride_size: (h, w) of the logits.
        size: (H, W) of the class map.
        align_corners: of the resizing that this replaces.
    """

    def __init__(self, stride_size: Tuple[int, int], size: Tuple[int, int], align_corners: bool):
        super().__init__()
        self.rows, self.columns = (_bands(*axis, align_corners) for axis in zip(stride_size, size, TILE))

    def forward(self, logits):
        tiles: List[List[paddle.Tensor]] = [[] for _ in self.rows]
        for column in self.columns:
            wide = paddle.matmul(logits[:, :, :, column.start : column.stop], column.matrix, transpose_y=True)
            for row, line in zip(self.rows, tiles):
                tile = paddle.matmul(row.matrix, wide[:, :, row.start : row.stop])
                line.append(paddle.argmax(tile, axis=1, dtype="int32"))
        return paddle.concat([paddle.concat(line, axis=2) for line in tiles], axis=1)


class _Band(nn.Layer):
    """`matrix` [tile, stop - start] makes one tile along an axis from positions `start` to `stop` of the logits."""

    def __init__(self, start: int, stop: int, matrix: np.ndarray):
        super().__init__()
        self.start, self.stop = start, stop
        self.register_buffer("matrix", paddle.to_tensor(np.ascontiguousarray(matrix)))


def _bands(length: int, new_length: int, tile: int, align_corners: bool) -> nn.LayerList:
    """The bands that together resize `length` to `new_length`; the last tile may be smaller."""
    matrix = interpolation_matrix(length, new_length, align_corners).numpy()
    bands = nn.LayerList()
    for first in range(0, new_length, tile):
        piece = matrix[first : first + tile]
        used = np.flatnonzero(piece.any(axis=0))
        start, stop = int(used[0]), int(used[-1]) + 1
        bands.append(_Band(start, stop, piece[:, start:stop]))
    return bands
