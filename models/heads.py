"""Prediction heads of STDC-Seg and BiSeSTDC (original `BiSeNetOutput`)."""

import paddle.nn.functional as F
from paddle import nn

from models.layers import ConvBNReLU, kaiming_linear


class SegHead(nn.Layer):
    """3x3 convolution to `mid_channels`, then 1x1 to the classes, by default without bias.

    `forward(x, dropout)` drops that share of the values between the two; none by default.
    Shape: [N, in_channels, H, W] -> logits [N, num_classes, H, W].
    """

    def __init__(self, in_channels: int, mid_channels: int, num_classes: int, bias: bool = False):
        super().__init__()
        self.conv = ConvBNReLU(in_channels, mid_channels, 3)
        self.classifier = nn.Conv2D(mid_channels, num_classes, 1, bias_attr=None if bias else False)
        kaiming_linear(self)

    def forward(self, x, dropout: float = 0.0):
        x = self.conv(x)
        if dropout:
            x = F.dropout(x, dropout)
        return self.classifier(x)


class DetailHead(SegHead):
    """Predicts where details (edges between classes) are: one logit a pixel, used in training only."""

    def __init__(self, in_channels: int, mid_channels: int = 64, bias: bool = False):
        super().__init__(in_channels, mid_channels, num_classes=1, bias=bias)
