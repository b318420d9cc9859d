"""STDC-Seg: the STDC backbone with a context path and detail guidance (section 3.2; original `BiSeNet`)."""

from typing import Sequence

from compat.options import Count

from paddle import nn

from models.context_path import ContextPath, FeatureFusionModule
from models.heads import DetailHead, SegHead
from models.segmentation import SegmentationNetwork, chosen_strides
from models.stdcnet import STDCNet

DETAIL_STRIDES = (2, 4, 8, 16)
AUX_STRIDES = (8, 16)
BACKBONE_AUX_STRIDES = (8, 16, 32)


class STDCSeg(SegmentationNetwork):
    """Real-time segmentation network for images of any size.

    `forward(image [N, 3, H, W] float32)` returns, in training, the outputs named by `output_names`: logits
    [N, num_classes, H, W] of the main head, of the auxiliary heads on the context path (`aux8`, `aux16`) and of those
    on the backbone (`backbone16`, ...), then one detail logit [N, 1, ceil(H/s), ceil(W/s)] for each s of
    `detail_strides`; in evaluation, [main logits] only.

    Args:
        num_classes: number of classes K.
        backbone: the STDC backbone.
        detail_strides: strides of the backbone's features that get a detail head, among 2, 4, 8 and 16.
        aux_strides: strides of the context path that an auxiliary head reads, among 8 and 16; both in the original.
        backbone_aux_strides: strides of the backbone's features that an auxiliary head reads directly, among 8, 16 and
            32; none in the original, 16 and 32 in super-gradients' recipe.
        dropout: of the segmentation heads, in training only; see SegmentationNetwork.
        align_corners: how logits are resized to the image's size; True in the original.
        head_bias: whether the heads' last convolution has a bias, as in mmsegmentation and PaddleSeg.
        gate_bias: whether the convolutions in the gate of the feature fusion have one, as in PaddleSeg.
        exclusive_pool: whether the backbone's average pools leave the padding out, as in PaddleSeg.
        head_channels: channels inside the main head; 256 in the original, 29 % of STDC1-Seg's multiplications.
        aux_channels: channels inside the auxiliary heads; 64 in the original.

    Raises:
        ValueError: for a stride that is not among these, or a dropout out of range.
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
        aux_strides: Sequence[int] = AUX_STRIDES,
        backbone_aux_strides: Sequence[int] = (),
        dropout: float = 0.0,
        head_channels: Count = 256,
        aux_channels: Count = 64,
    ):
        super().__init__(align_corners, dropout)
        self.detail_strides = chosen_strides("detail_strides", detail_strides, DETAIL_STRIDES)
        self.aux_strides = chosen_strides("aux_strides", aux_strides, AUX_STRIDES)
        self.backbone_aux_strides = chosen_strides("backbone_aux_strides", backbone_aux_strides, BACKBONE_AUX_STRIDES)
        prefixes = {"aux": self.aux_strides, "backbone": self.backbone_aux_strides, "detail": self.detail_strides}
        self.output_names = ("main", *(f"{prefix}{s}" for prefix, strides in prefixes.items() for s in strides))

        channels, width = backbone.channels, 128
        self.backbone = backbone
        if exclusive_pool:
            backbone.exclude_padding()
        self.context_path = ContextPath({16: channels[16], 32: channels[32]}, width)
        self.fusion = FeatureFusionModule(channels[8] + width, 256, gate_bias)
        self.heads = nn.LayerDict(
            {
                "main": SegHead(256, head_channels, num_classes, head_bias),
                **{f"aux{s}": SegHead(width, aux_channels, num_classes, head_bias) for s in self.aux_strides},
                **{
                    f"backbone{s}": SegHead(channels[s], aux_channels, num_classes, head_bias)
                    for s in self.backbone_aux_strides
                },
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
        auxiliary = [self.segment(f"aux{s}", context[s], size) for s in self.aux_strides]
        auxiliary += [self.segment(f"backbone{s}", features[s], size) for s in self.backbone_aux_strides]
        details = [self.heads[f"detail{s}"](features[s]) for s in self.detail_strides]
        return [main, *auxiliary, *details]
