"""BiSeSTDC: STDC-Seg with a spatial path and a context path down to stride 4 (original bearking79/BiSeSTDC)."""

from typing import Sequence, Tuple

from compat.options import Count

from paddle import nn

from models.context_path import ContextPath, FeatureFusionModule
from models.heads import DetailHead, SegHead
from models.layers import ConvBNReLU, kaiming_fan_out
from models.segmentation import SegmentationNetwork, chosen_strides
from models.stdcnet import ShortTermDenseConcat, STDCNet

BACKBONE_AUX_STRIDES = (8, 16, 32)


class SpatialPath(nn.Sequential):
    """Two convolutions and an STDC block that keep fine detail.

    `strides` are those of the two convolutions; one is 1, the other 2, and the block has stride 2.
    Shape: [N, 3, H, W] -> [N, widths[2], ceil(H/4), ceil(W/4)].
    """

    def __init__(self, widths: Tuple[int, int, int], strides: Tuple[int, int]):
        super().__init__(
            ConvBNReLU(3, widths[0], 3, strides[0]),
            ConvBNReLU(widths[0], widths[1], 3, strides[1]),
            ShortTermDenseConcat(widths[1], widths[2], stride=2),
        )
        kaiming_fan_out(self)


class BiSeSTDC(SegmentationNetwork):
    """Segmentation network whose main head reads features at stride 4, for images of any size.

    `forward(image [N, 3, H, W] float32)` returns, in training, the outputs named by `output_names`: logits
    [N, num_classes, H, W] of the main head, of the auxiliary heads on the context path at strides 4, 8 and 16 and of
    those on the backbone (`backbone16`, ...), then the detail logit [N, 1, ceil(H/4), ceil(W/4)]; in evaluation,
    [main logits] only.

    Args:
        num_classes: number of classes K.
        backbone: the STDC backbone; STDC1 in the original.
        spatial_widths: channels of the three parts of the spatial path.
        spatial_strides: strides of its two convolutions, (2, 1) or (1, 2).
        align_corners: how logits are resized to the image's size; True in the original.
        backbone_aux_strides: strides of the backbone's features that an auxiliary head reads directly, among 8, 16 and
            32; none in the original.
        dropout: of the segmentation heads, in training only; see SegmentationNetwork.
        head_channels: channels inside the main head; 256 in the original.
        aux_channels: channels inside the auxiliary heads; 64 in the original. The one at stride 4 has twice as many.

    Raises:
        ValueError: for a stride that is not among these, or a dropout out of range.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: STDCNet,
        spatial_widths: Tuple[int, int, int],
        spatial_strides: Tuple[int, int],
        align_corners: bool = True,
        backbone_aux_strides: Sequence[int] = (),
        dropout: float = 0.0,
        head_channels: Count = 256,
        aux_channels: Count = 64,
    ):
        super().__init__(align_corners, dropout)
        self.backbone_aux_strides = chosen_strides("backbone_aux_strides", backbone_aux_strides, BACKBONE_AUX_STRIDES)
        on_backbone = [f"backbone{s}" for s in self.backbone_aux_strides]
        self.output_names = ("main", "aux4", "aux8", "aux16", *on_backbone, "detail4")
        channels, width = backbone.channels, 128
        self.backbone = backbone
        self.spatial_path = SpatialPath(spatial_widths, spatial_strides)
        self.spatial_fusion = FeatureFusionModule(spatial_widths[2] + channels[4], 256)
        self.context_path = ContextPath({stride: channels[stride] for stride in (8, 16, 32)}, width)
        self.fusion = FeatureFusionModule(256 + width, 256)
        self.heads = nn.LayerDict(
            {
                "main": SegHead(256, head_channels, num_classes),
                "aux4": SegHead(width, 2 * aux_channels, num_classes),
                "aux8": SegHead(width, aux_channels, num_classes),
                "aux16": SegHead(width, aux_channels, num_classes),
                **{f"backbone{s}": SegHead(channels[s], aux_channels, num_classes) for s in self.backbone_aux_strides},
                "detail4": DetailHead(256),
            }
        )

    def forward(self, image):
        features = self.backbone(image)
        spatial = self.spatial_fusion(self.spatial_path(image), features[4])  # [N, 256, H/4, W/4]
        context = self.context_path(features)
        size = image.shape[2:]
        main = self.segment("main", self.fusion(spatial, context[4]), size)
        if not self.training:
            return [main]
        auxiliary = [self.segment(f"aux{s}", context[s], size) for s in (4, 8, 16)]
        auxiliary += [self.segment(f"backbone{s}", features[s], size) for s in self.backbone_aux_strides]
        return [main, *auxiliary, self.heads["detail4"](spatial)]
