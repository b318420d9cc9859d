"""STDC-Seg: the STDC backbone with a context path and detail guidance (section 3.2; original `BiSeNet`)."""

from typing import Sequence

from paddle import nn

from models.context_path import ContextPath, FeatureFusionModule
from models.heads import DetailHead, SegHead
from models.segmentation import SegmentationNetwork
from models.stdcnet import STDCNet

DETAIL_STRIDES = (2, 4, 8, 16)


class STDCSeg(SegmentationNetwork):
    """Real-time segmentation network for images of any size.

    `forward(image [N, 3, H, W] float32)` returns, in training, the outputs named by `output_names`: logits
    [N, num_classes, H, W] of the main head and of the auxiliary heads at strides 8 and 16, then one detail logit
    [N, 1, ceil(H/s), ceil(W/s)] for each s of `detail_strides`; in evaluation, [main logits] only.

    Args:
        num_classes: number of classes K.
        backbone: the STDC backbone.
        detail_strides: strides of the backbone's features that a detail head guides, among 2, 4, 8 and 16.
        align_corners: how logits are resized to the image's size; True in the original.
        head_bias: whether the heads' last convolution has a bias, as in mmsegmentation and PaddleSeg.
        gate_bias: whether the convolutions in the gate of the feature fusion have one, as in PaddleSeg.
        exclusive_pool: whether the backbone's average pools leave the padding out, as in PaddleSeg.

    Raises:
        ValueError: for a detail stride that the backbone's guided stages do not have.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: STDCNet,
        detail_strides: Sequence[int] = (8,),
        align_corners: bool = True,
        head_bias: bool = False,
        gate_bias: bool = False,
        exclusive_pool: bool = False,
    ):
        super().__init__(align_corners)
        unknown = sorted(set(detail_strides) - set(DETAIL_STRIDES))
        if unknown:
            raise ValueError(f"detail_strides: {unknown[0]} is not one of {', '.join(map(str, DETAIL_STRIDES))}")
        self.detail_strides = tuple(sorted(set(detail_strides)))
        self.output_names = ("main", "aux8", "aux16", *(f"detail{s}" for s in self.detail_strides))

        channels, width = backbone.channels, 128
        self.backbone = backbone
        if exclusive_pool:
            backbone.exclude_padding()
        self.context_path = ContextPath({16: channels[16], 32: channels[32]}, width)
        self.fusion = FeatureFusionModule(channels[8] + width, 256, gate_bias)
        self.heads = nn.LayerDict(
            {
                "main": SegHead(256, 256, num_classes, head_bias),
                "aux8": SegHead(width, 64, num_classes, head_bias),
                "aux16": SegHead(width, 64, num_classes, head_bias),
                **{f"detail{s}": DetailHead(channels[s], bias=head_bias) for s in self.detail_strides},
            }
        )

    def forward(self, image):
        features = self.backbone(image)
        context = self.context_path(features)
        size = image.shape[2:]
        main = self.segment("main", self.fusion(features[8], context[8]), size)
        if not self.training:
            return [main]
        auxiliary = [self.segment(f"aux{s}", context[s], size) for s in (8, 16)]
        details = [self.heads[f"detail{s}"](features[s]) for s in self.detail_strides]
        return [main, *auxiliary, *details]
