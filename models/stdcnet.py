"""The STDC backbone and its ImageNet classifier (STDC-Seg, section 3.1 and table 2; original `models/stdcnet.py`)."""

from typing import Dict, Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn

from models.layers import ConvBN, ConvBNReLU, kaiming_fan_out


class ShortTermDenseConcat(nn.Layer):
    """Four convolutions of shrinking width whose outputs are concatenated (figure 3).

    Shape: [N, in_channels, H, W] -> [N, out_channels, H, W], or [N, out_channels, ceil(H/2), ceil(W/2)] at stride 2.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__()
        half, quarter, eighth = out_channels // 2, out_channels // 4, out_channels // 8
        self.convs = nn.LayerList(
            [
                ConvBNReLU(in_channels, half, 1),
                ConvBNReLU(half, quarter, 3),
                ConvBNReLU(quarter, eighth, 3),
                ConvBNReLU(eighth, eighth, 3),
            ]
        )
        self.stride = stride
        if stride == 2:
            self.downsample = ConvBN(half, half, 3, stride=2, groups=half)
            # The published weights were trained with the padding counted in the average.
            self.pool = nn.AvgPool2D(3, stride=2, padding=1, exclusive=False)

    def forward(self, x):
        x = self.convs[0](x)
        parts = [x]
        if self.stride == 2:
            parts = [self.pool(x)]
            x = self.downsample(x)
        for conv in self.convs[1:]:
            x = conv(x)
            parts.append(x)
        return paddle.concat(parts, axis=1)


class STDCNet(nn.Layer):
    """The STDC backbone: `blocks` are the numbers of STDC blocks in stages 3, 4 and 5.

    `forward(image [N, 3, H, W])` returns {stride: features} for the strides 2, 4, 8, 16 and 32, where the features
    of stride s have the shape [N, channels[s], ceil(H/s), ceil(W/s)].
    """

    channels = {2: 32, 4: 64, 8: 256, 16: 512, 32: 1024}

    def __init__(self, blocks: Sequence[int]):
        super().__init__()
        widths = list(self.channels.values())
        self.stages = nn.LayerList([ConvBNReLU(3, widths[0], 3, stride=2), ConvBNReLU(widths[0], widths[1], 3, 2)])
        for in_channels, out_channels, count in zip(widths[1:], widths[2:], blocks):
            stage = [ShortTermDenseConcat(in_channels, out_channels, stride=2)]
            stage += [ShortTermDenseConcat(out_channels, out_channels) for _ in range(count - 1)]
            self.stages.append(nn.Sequential(*stage))
        kaiming_fan_out(self)

    def exclude_padding(self) -> None:
        """Leave the padding out of the average pools: PaddleSeg's form, for weights that were trained in it."""
        for layer in self.sublayers():
            if isinstance(layer, nn.AvgPool2D):
                layer.exclusive = True

    def forward(self, image) -> Dict[int, paddle.Tensor]:
        features = {}
        x = image
        for stride, stage in zip(self.channels, self.stages):
            x = stage(x)
            features[stride] = x
        return features


class STDCClassifier(nn.Layer):
    """The ImageNet classifier that the backbone was pretrained in.

    `forward(image [N, 3, H, W])` returns [logits [N, num_classes]]. The original has a batch norm between the two
    linear layers that it never calls; it is left out here.
    """

    output_names = ("main",)

    def __init__(self, num_classes: int, backbone: STDCNet):
        super().__init__()
        width = backbone.channels[32]
        self.backbone = backbone
        self.conv_last = ConvBNReLU(width, width, 1)
        self.hidden = nn.Linear(width, width, bias_attr=False)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(width, num_classes, bias_attr=False)
        kaiming_fan_out(self.conv_last)
        kaiming_fan_out(self.hidden)
        kaiming_fan_out(self.classifier)

    def forward(self, image):
        x = self.conv_last(self.backbone(image)[32])
        x = F.adaptive_avg_pool2d(x**2, 1).flatten(1)
        return [self.classifier(self.dropout(F.relu(self.hidden(x))))]
