"""The names of STDC-Seg, BiSeSTDC and their backbone in the projects that publish weights."""

import re
from typing import Iterable, List, Optional

import numpy as np
from paddle import nn

from engine.conversion.source import COUNTERS, Arrays, Rules, Source

NORM_EPSILON = np.float32(1e-5)  # what the old in-place batch norm adds to its |weight|
BACKBONE_ONLY = "ImageNet classifier, which segmentation does not use"
SEG_MODELS, BISESTDC_MODELS = ("stdc1_seg", "stdc2_seg"), ("bisestdc", "bisestdc2")
BACKBONE_USERS = ("stdc1", "stdc2", *SEG_MODELS, *BISESTDC_MODELS)


def _official_backbone(model: nn.Layer) -> Rules:
    """`features` counts the blocks of all stages through."""
    rules: Rules = []
    index = 0
    for stage, content in enumerate(model.backbone.stages):
        blocks = [""] if stage < 2 else [f"{block}." for block in range(len(content))]
        for block in blocks:
            rules.append((rf"^backbone\.stages\.{stage}\.{re.escape(block)}", f"features.{index}."))
            index += 1
    return [*rules, *_BLOCK]


_BLOCK: Rules = [
    (r"\.convs\.", ".conv_list."),
    (r"\.downsample\.conv\.", ".avd_layer.0."),
    (r"\.downsample\.bn\.", ".avd_layer.1."),
]

_DECODER: Rules = [
    (r"^features\.", "cp.backbone.features."),
    (r"^context_path\.global_context\.", "cp.conv_avg."),
    (r"^context_path\.attention\.(\d+)\.conv\.", r"cp.arm\1.conv."),
    (r"^context_path\.attention\.(\d+)\.gate\.conv\.", r"cp.arm\1.conv_atten."),
    (r"^context_path\.attention\.(\d+)\.gate\.bn\.", r"cp.arm\1.bn_atten."),
    (r"^context_path\.refine\.(\d+)\.", r"cp.conv_head\1."),
    (r"fusion\.conv\.", "ffm.convblk."),
    (r"fusion\.squeeze\.", "ffm.conv1."),
    (r"fusion\.excite\.", "ffm.conv2."),
    (r"^(heads\.\w+)\.classifier\.", r"\1.conv_out."),
]

_MAIN_HEAD = (r"^heads\.main\.", "conv_out.")

# The original's heads are named one octave off.
_OFFICIAL_HEADS: Rules = [
    _MAIN_HEAD,
    (r"^heads\.aux(\d+)\.", lambda match: f"conv_out{2 * int(match[1])}."),
    (r"^heads\.detail(\d+)\.", r"conv_out_sp\1."),
]


def _official_seg(model: nn.Layer) -> Rules:
    return [*_official_backbone(model), *_DECODER, *_OFFICIAL_HEADS]


def _official_bisestdc(model: nn.Layer) -> Rules:
    spatial: Rules = [
        (r"^spatial_path\.", "cp.backbone.featuresSP."),
        (r"^spatial_ffm\.", "cp.backbone.ffm."),
        (r"^heads\.detail4\.", "conv_out_sp8."),  # the map has stride 4
    ]
    return [*_official_backbone(model), *_DECODER, *spatial, *_OFFICIAL_HEADS]


def _official_imagenet(model: nn.Layer) -> Rules:
    return [*_official_backbone(model), (r"^hidden\.", "fc."), (r"^classifier\.", "linear.")]


def _in_place_norms(arrays: Arrays) -> List[str]:
    """Names of the decoder's batch-norm weights; backbone and spatial path have ordinary batch norms."""
    return [n for n in arrays if n.endswith(".bn.weight") and not n.startswith(("backbone.", "spatial_path."))]


def _effective_scale(arrays: Arrays) -> List[str]:
    names = _in_place_norms(arrays)
    for name in names:
        arrays[name] = np.abs(arrays[name].astype("float32")) + NORM_EPSILON
    return [f"{len(names)} batch-norm weights of the decoder: stored |weight| + 1e-5, the scale they act with"]


def _stored_scale(arrays: Arrays) -> List[str]:
    """The inverse of `_effective_scale`, to the last bit.

    Raises:
        ValueError: for a scale that |weight| + 1e-5 never is.
    """
    names = _in_place_norms(arrays)
    for name in names:
        wanted = arrays[name]
        stored = wanted - NORM_EPSILON
        # The difference is rounded; one of its neighbours gives the sum exactly.
        for candidate in (np.nextafter(stored, np.float32(-1)), np.nextafter(stored, np.float32(np.inf))):
            stored = np.where(stored + NORM_EPSILON == wanted, stored, candidate.astype("float32"))
        if (wanted < NORM_EPSILON).any() or (stored + NORM_EPSILON != wanted).any():
            raise ValueError(f"{name} has a scale below 1e-5, which the original's in-place batch norm cannot have")
        arrays[name] = np.maximum(stored, np.float32(0))
    return [f"{len(names)} batch-norm weights of the decoder: stored less 1e-5, which the original adds"]


def _make_twin(ours: str, theirs: str) -> Optional[str]:
    """The backbone's tensors are there again under the stride of their stage, as in `x8.0.3.` for `features.3.`."""
    stage = re.match(r"(?:backbone\.stages|spatial_path)\.(\d)", ours)
    if stage is None:
        return None
    stride = 2 ** (int(stage[1]) + 1)
    return re.sub(r"features(SP)?\.", lambda match: f"{match[1] or ''}x{stride}.0.", theirs, count=1)


_TWINS = (r"(?:^|(?<=\.))(SP)?x\d+\.0\.(\d+)\.", r"features\1.\2.")
_OTHER_DETAIL = (r"^conv_out_sp\d+\.", "detail head that this network does not have")

_OFFICIAL = [
    Source(
        name="official-imagenet",
        title="official STDC ImageNet classifier",
        models=("stdc1", "stdc2"),
        marks=("features.0.conv.weight", "fc.weight", "linear.weight"),
        rules=_official_imagenet,
        drops=(COUNTERS, (r"^bn\.", "batch norm between the linear layers, which the original never calls")),
        twin=_TWINS,
        make_twin=_make_twin,
    ),
    Source(
        name="official-seg",
        title="official STDC-Seg",
        models=SEG_MODELS,
        marks=("cp.backbone.features.0.conv.weight", "cp.conv_avg.conv.weight", "conv_out32.conv_out.weight"),
        lacks=("cp.backbone.featuresSP.0.conv.weight",),
        rules=_official_seg,
        drops=(COUNTERS, (r"^cp\.backbone\.(conv_last|fc|bn|linear)\.", BACKBONE_ONLY), _OTHER_DETAIL),
        twin=_TWINS,
        make_twin=_make_twin,
        adjust=_effective_scale,
        restore=_stored_scale,
    ),
    Source(
        name="official-bisestdc",
        title="official BiSeSTDC",
        models=BISESTDC_MODELS,
        marks=("cp.backbone.features.0.conv.weight", "cp.backbone.featuresSP.0.conv.weight"),
        rules=_official_bisestdc,
        drops=(COUNTERS, (r"^cp\.backbone\.(conv_last|fc|bn|linear)\.", BACKBONE_ONLY), _OTHER_DETAIL),
        twin=_TWINS,
        make_twin=_make_twin,
        adjust=_effective_scale,
        restore=_stored_scale,
    ),
]


def _mmseg_seg(model: nn.Layer) -> Rules:
    return [
        (r"\.convs\.(\d+)\.", r".layers.\1."),
        (r"^backbone\.", "backbone.backbone."),
        (r"^context_path\.global_context\.", "backbone.conv_avg."),
        (r"^context_path\.attention\.32\.", "backbone.arms.0."),
        (r"^context_path\.attention\.16\.", "backbone.arms.1."),
        (r"^(backbone\.arms\.\d)\.conv\.", r"\1.conv_layer."),
        (r"^(backbone\.arms\.\d)\.gate\.", r"\1.atten_conv_layer.1."),
        (r"^context_path\.refine\.32\.", "backbone.convs.0."),
        (r"^context_path\.refine\.16\.", "backbone.convs.1."),
        (r"^fusion\.conv\.", "backbone.ffm.conv0."),
        (r"^fusion\.squeeze\.", "backbone.ffm.attention.1.conv."),
        (r"^fusion\.excite\.", "backbone.ffm.attention.2.conv."),
        (r"^heads\.main\.", "decode_head."),
        (r"^heads\.aux8\.", "auxiliary_head.0."),
        (r"^heads\.aux16\.", "auxiliary_head.1."),
        (r"^heads\.detail8\.", "auxiliary_head.2."),
        (r"^(\w+_head[.\d]*)\.conv\.", r"\1.convs.0."),
        (r"^(\w+_head[.\d]*)\.classifier\.", r"\1.conv_seg."),
    ]


def _mmseg_backbone(model: nn.Layer) -> Rules:
    return [(r"^backbone\.", ""), (r"\.convs\.(\d+)\.", r".layers.\1.")]


def _one_detail_logit(arrays: Arrays) -> List[str]:
    """A softmax over (no edge, edge) is the sigmoid of the difference of the two logits."""
    names = [n for n in arrays if n.startswith("heads.detail8.classifier.") and len(arrays[n]) == 2]
    for name in names:
        background, edge = arrays[name].astype("float64")
        arrays[name] = (edge - background)[None].astype("float32")
    return ["the detail head's two logits: stored as one, their difference, which has the same probability"]


_MMSEG = [
    Source(
        name="mmseg-seg",
        title="mmsegmentation STDC",
        models=SEG_MODELS,
        marks=("backbone.backbone.stages.0.conv.weight", "decode_head.conv_seg.weight"),
        rules=_mmseg_seg,
        drops=(COUNTERS, (r"\.(fusion|laplacian)_kernel$", "constant of the detail loss")),
        options={"head_bias": True},
        adjust=_one_detail_logit,
    ),
    Source(
        name="mmseg-imagenet",
        title="mmsegmentation's copy of the STDC ImageNet backbone",
        models=BACKBONE_USERS,
        marks=("stages.0.conv.weight", "stages.2.0.layers.0.conv.weight"),
        rules=_mmseg_backbone,
        drops=(COUNTERS,),
        part="backbone.",
    ),
]


def _paddleseg(model: nn.Layer) -> Rules:
    units = r"^(cp\.arm\d+\.conv|cp\.conv_head\d+|cp\.conv_avg|ffm\.convblk|heads\.\w+\.conv)"
    unit: Rules = [(rf"{units}\.conv\.", r"\1._conv."), (rf"{units}\.bn\.", r"\1._batch_norm.")]
    heads: Rules = [
        _MAIN_HEAD,
        (r"^heads\.aux(\d+)\.", r"conv_out\1."),
        (r"^heads\.detail(\d+)\.", r"conv_out_sp\1."),
    ]
    return [*_official_backbone(model), *_DECODER, *unit, *heads]


def _biases_before_norms(names: Iterable[str]) -> List[str]:
    decoder = (name for name in names if not name.startswith("backbone."))
    return [name[: -len("weight")] + "bias" for name in decoder if name.endswith(".conv.weight")]


def _fold_biases(arrays: Arrays) -> List[str]:
    """A batch norm subtracts its mean from (convolution + bias): the same as a mean that is less by the bias."""
    names = [bias for bias in _biases_before_norms(list(arrays)) if bias in arrays]
    for name in names:
        mean = name[: -len("conv.bias")] + "bn._mean"
        arrays[mean] = (arrays[mean].astype("float64") - arrays.pop(name)).astype("float32")
    return [f"{len(names)} convolution biases before a batch norm: subtracted from its running mean, which is the same"]


_PADDLESEG = [
    Source(
        name="paddleseg",
        title="PaddleSeg STDCSeg",
        models=SEG_MODELS,
        marks=("cp.backbone.features.0.conv.weight", "cp.arm16.conv._conv.weight"),
        rules=_paddleseg,
        drops=(_OTHER_DETAIL,),
        options={"head_bias": True, "gate_bias": True, "exclusive_pool": True},
        extra=_biases_before_norms,
        adjust=_fold_biases,
        torch=False,
    ),
    Source(
        name="paddleseg-imagenet",
        title="PaddleSeg's copy of the STDC ImageNet backbone",
        models=BACKBONE_USERS,
        marks=("features.0.conv.weight", "features.0.bn._mean"),
        rules=_official_backbone,
        part="backbone.",
        torch=False,
    ),
]

STDC_SOURCES = (*_OFFICIAL, *_MMSEG, *_PADDLESEG)
