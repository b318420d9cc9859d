"""DDRNet: two branches of different resolution that exchange features (Hong et al., arXiv:2101.06085).

Original: ydhongHIT/DDRNet, `segmentation/DDRNet_23_slim.py`. Every residual block here starts with the ReLU that the
original applies after the preceding block, so that no caller has to apply it.
"""

from typing import Optional, Tuple

from compat.options import Count

import paddle
import paddle.nn.functional as F
from paddle import nn

from models.layers import ConvBN, ConvBNReLU, kaiming_fan_out, resize
from models.segmentation import SegmentationNetwork


class BNReLUConv(nn.Layer):
    """Batch norm and ReLU before a k x k convolution that keeps the size.

    `forward(x, dropout)` drops that share of the convolution's input; none by default.
    Shape: [N, in_channels, H, W] -> [N, out_channels, H, W].
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, bias: bool = False):
        super().__init__()
        self.bn = nn.BatchNorm2D(in_channels)
        self.conv = nn.Conv2D(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias_attr=None if bias else False
        )

    def forward(self, x, dropout: float = 0.0):
        x = F.relu(self.bn(x))
        if dropout:
            x = F.dropout(x, dropout)
        return self.conv(x)


class ResidualBlock(nn.Layer):
    """ReLU, then convolutions plus the identity (or its 1x1 projection where the shape changes), without a last ReLU.

    Shape: [N, in_channels, H, W] -> [N, out_channels, ceil(H/stride), ceil(W/stride)].
    """

    def __init__(self, convs: nn.Sequential, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.convs = convs
        changes = stride != 1 or in_channels != out_channels
        self.projection = ConvBN(in_channels, out_channels, 1, stride) if changes else None

    def forward(self, x):
        x = F.relu(x)
        identity = x if self.projection is None else self.projection(x)
        return self.convs(x) + identity


def basic_blocks(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """Two residual blocks of two 3x3 convolutions each; the first has the stride."""
    blocks = []
    for block_in, block_stride in ((in_channels, stride), (out_channels, 1)):
        convs = nn.Sequential(
            ConvBNReLU(block_in, out_channels, 3, block_stride), ConvBN(out_channels, out_channels, 3)
        )
        blocks.append(ResidualBlock(convs, block_in, out_channels, block_stride))
    return nn.Sequential(*blocks)


def bottleneck(channels: int, stride: int = 1) -> ResidualBlock:
    """Residual block of 1x1, 3x3 and 1x1 convolutions that doubles the channels."""
    convs = nn.Sequential(
        ConvBNReLU(channels, channels, 1),
        ConvBNReLU(channels, channels, 3, stride),
        ConvBN(channels, 2 * channels, 1),
    )
    return ResidualBlock(convs, channels, 2 * channels, stride)


class BilateralFusion(nn.Layer):
    """Adds to each branch the other one, brought to its size and channels (section 3.2).

    `down_channels` are the channels after each 3x3 stride-2 convolution on the way from high to low resolution.
    Shape: low [N, C, h, w] and high [N, D, H, W] -> the same.
    """

    def __init__(self, high_channels: int, down_channels: Tuple[int, ...]):
        super().__init__()
        widths = (high_channels, *down_channels)
        units = [ConvBNReLU] * (len(down_channels) - 1) + [ConvBN]
        self.down = nn.Sequential(*(unit(*ends, 3, 2) for unit, *ends in zip(units, widths, widths[1:])))
        self.compress = ConvBN(widths[-1], high_channels, 1)

    def forward(self, low, high):
        raised = resize(self.compress(F.relu(low)), high.shape[2:])
        return low + self.down(F.relu(high)), high + raised


class DAPPM(nn.Layer):
    """Deep aggregation pyramid pooling: averages over growing windows, each fused with the next smaller (section 3.3).

    Shape: [N, in_channels, H, W] -> [N, out_channels, H, W].
    """

    def __init__(self, in_channels: int, branch_channels: int, out_channels: int):
        super().__init__()
        # The original counts the padding in the averages.
        pools = [nn.AvgPool2D(k, s, p, exclusive=False) for k, s, p in ((5, 2, 2), (9, 4, 4), (17, 8, 8))]
        self.pools = nn.LayerList([nn.Identity(), *pools, nn.AdaptiveAvgPool2D(1)])
        self.scales = nn.LayerList([BNReLUConv(in_channels, branch_channels, 1) for _ in self.pools])
        self.processes = nn.LayerList([BNReLUConv(branch_channels, branch_channels, 3) for _ in self.pools[1:]])
        self.compression = BNReLUConv(branch_channels * len(self.pools), out_channels, 1)
        self.shortcut = BNReLUConv(in_channels, out_channels, 1)

    def forward(self, x):
        size = x.shape[2:]
        scaled = [resize(scale(pool(x)), size) for pool, scale in zip(self.pools, self.scales)]
        branches = scaled[:1]
        for process, branch in zip(self.processes, scaled[1:]):
            branches.append(process(branch + branches[-1]))
        return self.compression(paddle.concat(branches, axis=1)) + self.shortcut(x)


class DualResolutionBackbone(nn.Layer):
    """Stem and both branches, the part that ImageNet weights cover (table 1).

    `forward(image [N, 3, H, W])` returns the high-resolution features after the first fusion
    [N, high, ceil(H/8), ceil(W/8)], those at the end [N, 2 * high, ceil(H/8), ceil(W/8)], and the low-resolution
    features [N, 16 * width, ceil(H/64), ceil(W/64)].
    """

    def __init__(self, width: int, high: int):
        super().__init__()
        # The convolutions of the stem have a bias in the original, although a batch norm follows.
        self.stem = nn.Sequential(ConvBNReLU(3, width, 3, 2, bias=True), ConvBN(width, width, 3, 2, bias=True))
        self.layer1 = basic_blocks(width, width)
        self.layer2 = basic_blocks(width, 2 * width, 2)
        self.low3 = basic_blocks(2 * width, 4 * width, 2)
        self.low4 = basic_blocks(4 * width, 8 * width, 2)
        self.low5 = bottleneck(8 * width, 2)
        self.high3 = basic_blocks(2 * width, high)
        self.high4 = basic_blocks(high, high)
        self.high5 = bottleneck(high)
        self.fuse3 = BilateralFusion(high, (4 * width,))
        self.fuse4 = BilateralFusion(high, (4 * width, 8 * width))

    def forward(self, image):
        shared = self.layer2(self.layer1(self.stem(image)))  # stride 8
        low, fused = self.fuse3(self.low3(shared), self.high3(shared))  # strides 16, 8
        low, high = self.fuse4(self.low4(low), self.high4(fused))  # strides 32, 8
        return fused, self.high5(high), self.low5(low)  # strides 8, 8, 64


class DualResolutionHead(nn.Sequential):
    """BN-ReLU-3x3 to `mid_channels`, then BN-ReLU-1x1 to the classes, with bias.

    `forward(x, dropout)` drops that share of the values before the last convolution; by default none.
    Shape: [N, in_channels, H, W] -> logits [N, num_classes, H, W].
    """

    def __init__(self, in_channels: int, mid_channels: int, num_classes: int):
        super().__init__(BNReLUConv(in_channels, mid_channels, 3), BNReLUConv(mid_channels, num_classes, 1, bias=True))

    def forward(self, x, dropout: float = 0.0):
        return self[1](self[0](x), dropout)


class DualResolutionNet(SegmentationNetwork):
    """Real-time segmentation network for images of any size.

    `forward(image [N, 3, H, W] float32)` returns, in training, the logits [N, num_classes, H, W] of the main head and
    of the auxiliary head, which reads the high-resolution branch after the first fusion; in evaluation,
    [main logits] only. The original returns logits at stride 8 and leaves the resizing to its caller.

    Args:
        num_classes: number of classes K.
        width: channels of the stem; 32 in DDRNet-23-slim.
        high_width: channels of the high-resolution branch.
        align_corners: how logits are resized to the image's size; False in the original.
        dropout: in the heads, in training only; see SegmentationNetwork.
        head_channels: channels inside the main head; those of the high-resolution branch in the original.
        aux_channels: channels inside the auxiliary head, likewise.
    """

    output_names = ("main", "aux8")

    def __init__(
        self,
        num_classes: int,
        width: int,
        high_width: int,
        align_corners: bool = False,
        dropout: float = 0.0,
        head_channels: Optional[Count] = None,
        aux_channels: Optional[Count] = None,
    ):
        super().__init__(align_corners, dropout)
        self.backbone = DualResolutionBackbone(width, high_width)
        self.dappm = DAPPM(16 * width, 128, 2 * high_width)
        self.heads = nn.LayerDict(
            {
                "main": DualResolutionHead(2 * high_width, head_channels or high_width, num_classes),
                "aux8": DualResolutionHead(high_width, aux_channels or high_width, num_classes),
            }
        )
        kaiming_fan_out(self)

    def forward(self, image):
        fused, high, low = self.backbone(image)
        size = image.shape[2:]
        context = resize(self.dappm(low), high.shape[2:])
        main = self.segment("main", high + context, size)
        return [main, self.segment("aux8", fused, size)] if self.training else [main]
