"""Convolution units and resizing that every network is built from."""

import math
from typing import Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn


class ConvBN(nn.Layer):
    """k x k convolution, by default without bias, then batch norm; at stride 1 the size stays.

    Shape: [N, in_channels, H, W] -> [N, out_channels, ceil(H/stride), ceil(W/stride)].
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
    ):
        super().__init__()
        self.conv = nn.Conv2D(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            groups=groups,
            bias_attr=None if bias else False,
        )
        self.bn = nn.BatchNorm2D(out_channels)

    def forward(self, x):
        return self.bn(self.conv(x))


class ConvBNReLU(ConvBN):
    """ConvBN followed by ReLU."""

    def forward(self, x):
        # Written out: Paddle 2.6 cannot export a forward that calls super().
        return F.relu(self.bn(self.conv(x)))


def resize(x: paddle.Tensor, size: Sequence[int], mode: str = "bilinear", align_corners: bool = False) -> paddle.Tensor:
    """Resize [N, C, H, W] to [N, C, *size]; returns `x` itself when it has that size already.

    A static graph always contains the resizing, since sizes may be unknown there.
    """
    if paddle.in_dynamic_mode() and list(x.shape[2:]) == list(size):
        return x
    if paddle.in_dynamic_mode() and not x.stop_gradient and _uses_matrices(x, mode):
        return _resize_by_matrices(x, size, mode, align_corners)
    return F.interpolate(x, size=size, mode=mode, align_corners=align_corners)


_deterministic = False


def set_deterministic_resizing(wanted: bool) -> None:
    """Decide whether the gradient of `resize` is bitwise reproducible on a GPU.

    Paddle's own kernels sum it by float atomics in any order; a matrix product is reproducible.
    """
    global _deterministic
    _deterministic = wanted


def _uses_matrices(x: paddle.Tensor, mode: str) -> bool:
    return _deterministic or (mode == "bilinear" and x.place.is_cpu_place())


def _resize_by_matrices(x: paddle.Tensor, size: Sequence[int], mode: str, align_corners: bool) -> paddle.Tensor:
    """Resize by a matrix product on either side, which takes less than half of Paddle's time on a CPU with gradients.

    Computed in float32, as autocast does for Paddle's own resizing.
    """
    rows, columns = (interpolation_matrix(*lengths, align_corners, mode) for lengths in zip(x.shape[2:], size))
    with paddle.amp.auto_cast(enable=False):
        x = x if x.dtype == paddle.float32 else x.astype("float32")
        return paddle.matmul(rows, paddle.matmul(x, columns, transpose_y=True))


def interpolation_matrix(length: int, new_length: int, align_corners: bool, mode: str = "bilinear") -> paddle.Tensor:
    """The matrix [new_length, length] float32 that resizes along one axis."""
    unit = paddle.eye(length).reshape([1, 1, length, length])
    return F.interpolate(unit, size=[new_length, length], mode=mode, align_corners=align_corners)[0, 0]


def kaiming_fan_out(layer: nn.Layer) -> None:
    """Initialise every convolution and linear layer with Kaiming normal, fan out (backbones)."""
    for module in layer.sublayers(include_self=True):
        if isinstance(module, nn.Conv2D):
            out_channels, _, height, width = module.weight.shape
            _normal(module.weight, math.sqrt(2 / (out_channels * height * width)))
        elif isinstance(module, nn.Linear):
            _normal(module.weight, 0.001)


def kaiming_linear(layer: nn.Layer) -> None:
    """Initialise every convolution with Kaiming normal of slope a = 1, fan in (decoders)."""
    for module in layer.sublayers(include_self=True):
        if isinstance(module, nn.Conv2D):
            _, in_channels, height, width = module.weight.shape
            _normal(module.weight, math.sqrt(1 / (in_channels * height * width)))


def _normal(parameter: paddle.Tensor, std: float) -> None:
    nn.initializer.Normal(0.0, std)(parameter)
