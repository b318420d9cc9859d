"""Attention refinement, feature fusion and the context path of the BiSeNet family.

STDC-Seg, section 3.2; original `models/model_stages.py`.
"""

from typing import Dict, Mapping

import paddle
import paddle.nn.functional as F
from paddle import nn

from models.layers import ConvBN, ConvBNReLU, kaiming_linear, resize


class AttentionRefinementModule(nn.Layer):
    """3x3 convolution whose channels are weighted by a gate from their global average.

    Shape: [N, in_channels, H, W] -> [N, out_channels, H, W].
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = ConvBNReLU(in_channels, out_channels, 3)
        self.gate = ConvBN(out_channels, out_channels, 1)

    def forward(self, x):
        x = self.conv(x)
        return x * F.sigmoid(self.gate(F.adaptive_avg_pool2d(x, 1)))


class FeatureFusionModule(nn.Layer):
    """Fuses spatial and context features by a 1x1 convolution and a channel gate, by default without biases.

    Shape: [N, A, H, W] and [N, B, H, W] with A + B = in_channels -> [N, out_channels, H, W].
    """

    def __init__(self, in_channels: int, out_channels: int, gate_bias: bool = False):
        super().__init__()
        bias = None if gate_bias else False
        self.conv = ConvBNReLU(in_channels, out_channels, 1)
        self.squeeze = nn.Conv2D(out_channels, out_channels // 4, 1, bias_attr=bias)
        self.excite = nn.Conv2D(out_channels // 4, out_channels, 1, bias_attr=bias)
        kaiming_linear(self)

    def forward(self, spatial, context):
        fused = self.conv(paddle.concat([spatial, context], axis=1))
        gate = F.adaptive_avg_pool2d(fused, 1)
        gate = F.sigmoid(self.excite(F.relu(self.squeeze(gate))))
        return fused + fused * gate


class ContextPath(nn.Layer):
    """Carries the global context down from the coarsest features, one octave at a time.

    `channels` maps the stride of each refined map to its channels, finest first, e.g. {16: 512, 32: 1024}.
    `forward({stride: features})` returns {stride: context [N, width, H/stride, W/stride]} with every stride one
    octave finer than in `channels`, e.g. 8 and 16; the features of those strides give the sizes.
    """

    def __init__(self, channels: Mapping[int, int], width: int = 128):
        super().__init__()
        self.strides = sorted(channels, reverse=True)
        self.global_context = ConvBNReLU(channels[self.strides[0]], width, 1)
        self.attention = nn.LayerDict({str(s): AttentionRefinementModule(channels[s], width) for s in self.strides})
        self.refine = nn.LayerDict({str(s): ConvBNReLU(width, width, 3) for s in self.strides})
        kaiming_linear(self)

    def forward(self, features: Mapping[int, paddle.Tensor]) -> Dict[int, paddle.Tensor]:
        # [N, width, 1, 1]; the addition below broadcasts it, which is what nearest interpolation would do.
        context = self.global_context(F.adaptive_avg_pool2d(features[self.strides[0]], 1))
        outputs = {}
        for stride in self.strides:
            refined = self.attention[str(stride)](features[stride]) + context
            finer = stride // 2
            refined = resize(refined, features[finer].shape[2:], mode="nearest")
            context = self.refine[str(stride)](refined)
            outputs[finer] = context
        return outputs
