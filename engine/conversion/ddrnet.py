"""The names of DDRNet in the original and in mmsegmentation."""

import re
from typing import List

import numpy as np
from paddle import nn

from engine.conversion.source import COUNTERS, Arrays, Rules, Source, plus_one

MODELS = ("ddrnet23_slim", "ddrnet23")
_STEM_BIASES = ("backbone.stem.0.conv.bias", "backbone.stem.1.conv.bias")


def _official(model: nn.Layer) -> Rules:
    return [
        (r"^backbone\.stem\.0\.conv\.", "conv1.0."),
        (r"^backbone\.stem\.0\.bn\.", "conv1.1."),
        (r"^backbone\.stem\.1\.conv\.", "conv1.3."),
        (r"^backbone\.stem\.1\.bn\.", "conv1.4."),
        (r"^backbone\.fuse(\d)\.compress\.", r"compression\1."),
        (r"^backbone\.fuse(\d)\.down\.", r"down\1."),
        (r"^(down\d)\.0\.", r"\1."),
        (r"^((?:compression|down)\d)\.conv\.", r"\1.0."),
        (r"^((?:compression|down)\d)\.bn\.", r"\1.1."),
        (r"^(down\d)\.1\.conv\.", r"\1.3."),
        (r"^(down\d)\.1\.bn\.", r"\1.4."),
        (r"^backbone\.low5\.", "layer5.0."),
        (r"^backbone\.high5\.", "layer5_.0."),
        (r"^backbone\.low(\d)\.", r"layer\1."),
        (r"^backbone\.high(\d)\.", r"layer\1_."),
        (r"^backbone\.(layer\d)\.", r"\1."),
        *_BLOCK,
        (r"^dappm\.scales\.0\.bn\.", "spp.scale0.0."),
        (r"^dappm\.scales\.0\.conv\.", "spp.scale0.2."),
        (r"^dappm\.scales\.(\d)\.bn\.", r"spp.scale\1.1."),
        (r"^dappm\.scales\.(\d)\.conv\.", r"spp.scale\1.3."),
        (r"^dappm\.processes\.(\d)", plus_one("dappm.process{}")),
        (r"^dappm\.(\w+)\.bn\.", r"spp.\1.0."),
        (r"^dappm\.(\w+)\.conv\.", r"spp.\1.2."),
        (r"^(heads\.\w+)\.(\d)\.(\w+)", lambda match: f"{match[1]}.{match[3]}{int(match[2]) + 1}"),
        (r"^heads\.main\.", "final_layer."),
        (r"^heads\.aux8\.", "seghead_extra."),
    ]


_BLOCK: Rules = [
    (r"(?<=\.)convs\.(\d)\.conv", plus_one("conv{}")),
    (r"(?<=\.)convs\.(\d)\.bn", plus_one("bn{}")),
    (r"\.projection\.conv\.", ".downsample.0."),
    (r"\.projection\.bn\.", ".downsample.1."),
]


def _mmseg(model: nn.Layer) -> Rules:
    return [
        (r"^backbone\.layer1\.", "backbone.stem.2."),
        (r"^backbone\.layer2\.", "backbone.stem.4."),
        (r"^backbone\.(low|high)5\.", r"backbone.\g<1>5.0."),
        (r"^backbone\.low(\d)\.", lambda match: f"backbone.context_branch_layers.{int(match[1]) - 3}."),
        (r"^backbone\.high(\d)\.", lambda match: f"backbone.spatial_branch_layers.{int(match[1]) - 3}."),
        (r"(?<=\.)convs\.(\d)\.", plus_one("conv{}.")),
        *_BLOCK[2:],
        (r"^backbone\.fuse3\.compress\.", "backbone.compression_1."),
        (r"^backbone\.fuse4\.compress\.", "backbone.compression_2."),
        (r"^backbone\.fuse3\.down\.0\.", "backbone.down_1."),
        (r"^backbone\.fuse4\.down\.", "backbone.down_2."),
        (r"^dappm\.scales\.0\.", "backbone.spp.scales.0."),
        (r"^dappm\.scales\.(\d)\.", r"backbone.spp.scales.\1.1."),
        (r"^dappm\.", "backbone.spp."),
        (r"^heads\.main\.0\.", "decode_head.head.0."),
        (r"^heads\.main\.1\.bn\.", "decode_head.head.1."),
        (r"^heads\.main\.1\.conv\.", "decode_head.conv_seg."),
        (r"^heads\.aux8\.0\.", "decode_head.aux_head.0."),
        (r"^heads\.aux8\.1\.bn\.", "decode_head.aux_head.1."),
        (r"^heads\.aux8\.1\.conv\.", "decode_head.aux_cls_seg."),
    ]


def _zero_stem_biases(arrays: Arrays) -> List[str]:
    """mmsegmentation's stem has no biases, which is biases of 0."""
    for name in _STEM_BIASES:
        width = len(arrays[re.sub(r"conv\.bias$", "conv.weight", name)])
        arrays.setdefault(name, np.zeros(width, "float32"))
    return ["2 biases of the stem, which mmsegmentation leaves out: zeros"]


DDRNET_SOURCES = (
    Source(
        name="official-ddrnet",
        title="official DDRNet",
        models=MODELS,
        marks=("conv1.0.weight", "layer3_.0.conv1.weight", "final_layer.conv2.weight"),
        rules=_official,
        drops=(COUNTERS, (r"^loss\.", "weights of the training loss")),
    ),
    Source(
        name="official-ddrnet-imagenet",
        title="official DDRNet ImageNet classifier",
        models=MODELS,
        marks=("conv1.0.weight", "layer3_.0.conv1.weight", "last_layer.0.weight", "linear.weight"),
        lacks=("final_layer.conv2.weight",),
        rules=_official,
        drops=(COUNTERS, (r"^(down5|last_layer|linear)\.", "ImageNet classifier, which segmentation does not use")),
        part="backbone.",
    ),
    Source(
        name="mmseg-ddrnet",
        title="mmsegmentation DDRNet",
        models=MODELS,
        marks=("backbone.context_branch_layers.0.0.conv1.conv.weight", "decode_head.conv_seg.weight"),
        rules=_mmseg,
        drops=(COUNTERS,),
        absent=_STEM_BIASES,
        adjust=_zero_stem_biases,
    ),
)
