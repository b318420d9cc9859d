"""Networks by the names that recipes and commands use."""

import inspect
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Union

from compat import UserError, unknown_name

from paddle import nn

from models.bisestdc import BiSeSTDC
from models.ddrnet import DualResolutionNet
from models.narrowing import set_widths
from models.stdc_seg import STDCSeg
from models.stdcnet import STDCClassifier, STDCNet
from models.weights import load_backbone, load_weights

IMAGENET_CLASSIFIERS = ("stdc1", "stdc2")
"""Networks that give one class for an image; the others are segmentation networks."""
STDC1_BLOCKS = (2, 2, 2)
STDC2_BLOCKS = (4, 5, 3)


def _network(network: Callable, blocks: Optional[Sequence[int]] = None, **fixed) -> Callable:
    """Builder of `network` with the arguments `fixed`, and with an STDC backbone if `blocks` are given.

    The builder's signature is the network's without the fixed arguments: the options that a recipe may set.
    """

    def build(num_classes: int, **options) -> nn.Layer:
        backbone = {"backbone": STDCNet(blocks)} if blocks else {}
        return network(num_classes, **backbone, **fixed, **options)

    signature = inspect.signature(network)
    free = [p for p in signature.parameters.values() if p.name not in {"backbone", *fixed}]
    build.__signature__ = signature.replace(parameters=free)
    return build


BUILDERS: Dict[str, Callable[..., nn.Layer]] = {
    "stdc1": _network(STDCClassifier, STDC1_BLOCKS),
    "stdc2": _network(STDCClassifier, STDC2_BLOCKS),
    "stdc1_seg": _network(STDCSeg, STDC1_BLOCKS),
    "stdc2_seg": _network(STDCSeg, STDC2_BLOCKS),
    "bisestdc": _network(BiSeSTDC, STDC1_BLOCKS, spatial_widths=(32, 64, 256), spatial_strides=(2, 1)),
    "bisestdc2": _network(BiSeSTDC, STDC1_BLOCKS, spatial_widths=(64, 128, 512), spatial_strides=(1, 2)),
    "ddrnet23_slim": _network(DualResolutionNet, width=32, high_width=64),
    "ddrnet23": _network(DualResolutionNet, width=64, high_width=128),
}
"""Each network's builder, whose signature is what a recipe may set."""


def list_models() -> List[str]:
    """The names that `build_model` knows, sorted."""
    return sorted(BUILDERS)


def build_model(
    name: str,
    num_classes: int,
    pretrained: Union[str, Path, None] = None,
    backbone_pretrained: Union[str, Path, None] = None,
    widths: Optional[Mapping[str, int]] = None,
    **options,
) -> nn.Layer:
    """Build a network.

    Args:
        name: one of `list_models()`.
        num_classes: number of classes K; 1000 for the ImageNet classifiers `stdc1` and `stdc2` as published.
        pretrained: weight file of the whole network.
        backbone_pretrained: weight file of the backbone (that of a converted ImageNet classifier works).
        widths: output channels of convolutions by name, see models.narrowing.set_widths.
        **options: further arguments of the network's class, e.g. `detail_strides` of STDCSeg.

    Returns:
        The network, in training mode; its `output_names` names its training outputs in order.

    Raises:
        UserError: for an unknown name (naming the nearest), fewer than one class, an option that the network does not
            have, or widths or weights that do not fit.
    """
    if name not in BUILDERS:
        raise unknown_name("model", name, list_models())
    if num_classes < 1:
        raise UserError(f"model {name}: num_classes is {num_classes}; it must be at least 1")
    builder = BUILDERS[name]
    known = set(inspect.signature(builder).parameters) - {"num_classes"}
    for option in options:
        if option not in known:
            raise unknown_name(f"model {name}: option", option, sorted(known))
    try:
        model = builder(num_classes, **options)
    except (ValueError, TypeError) as error:
        raise UserError(f"model {name}: {error}") from error
    if widths:
        set_widths(model, widths)
    if backbone_pretrained:
        load_backbone(model.backbone, backbone_pretrained)
    if pretrained:
        load_weights(model, pretrained)
    return model
