"""The names by which recipes and commands ask for a network."""

import difflib
import inspect
from typing import Callable, Dict, List, Optional

from paddle import nn

from compat import UserError
from models.stdc_seg import STDCSeg
from models.stdcnet import STDCClassifier, STDCNet
from models.weights import load_backbone, load_weights

STDC1_BLOCKS = (2, 2, 2)
STDC2_BLOCKS = (4, 5, 3)


def _stdc_network(network: Callable, blocks) -> Callable:
    """Builder of `network` over an STDC backbone of `blocks`, with the network's own options."""

    def build(num_classes: int, **options) -> nn.Layer:
        return network(num_classes, STDCNet(blocks), **options)

    build.__signature__ = inspect.signature(network)
    return build


_BUILDERS: Dict[str, Callable[..., nn.Layer]] = {
    "stdc1": _stdc_network(STDCClassifier, STDC1_BLOCKS),
    "stdc2": _stdc_network(STDCClassifier, STDC2_BLOCKS),
    "stdc1_seg": _stdc_network(STDCSeg, STDC1_BLOCKS),
    "stdc2_seg": _stdc_network(STDCSeg, STDC2_BLOCKS),
}


def list_models() -> List[str]:
    """The names that `build_model` knows, sorted."""
    return sorted(_BUILDERS)


def build_model(
    name: str,
    num_classes: int,
    pretrained: Optional[str] = None,
    backbone_pretrained: Optional[str] = None,
    **options,
) -> nn.Layer:
    """Build a network.

    Args:
        name: one of `list_models()`.
        num_classes: number of classes K; 1000 for the ImageNet classifiers `stdc1` and `stdc2` as published.
        pretrained: `.pdparams` file of the whole network.
        backbone_pretrained: `.pdparams` file of the backbone (a converted ImageNet classifier will do).
        **options: what the network's class takes besides, e.g. `detail_strides` of STDCSeg.

    Returns:
        The network, in training mode; its `output_names` names its training outputs in order.

    Raises:
        UserError: for a name that is not known (naming the nearest), an option that the network does not have, or
            weights that do not fit.
    """
    if name not in _BUILDERS:
        nearest = difflib.get_close_matches(str(name), _BUILDERS, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        raise UserError(f"no model is called {name!r}{hint} Known: {', '.join(list_models())}")
    builder = _BUILDERS[name]
    known = set(inspect.signature(builder).parameters) - {"num_classes", "backbone"}
    for option in options:
        if option not in known:
            raise UserError(f"model {name} has no option {option!r}; it has: {', '.join(sorted(known)) or 'none'}")
    try:
        model = builder(num_classes, **options)
    except ValueError as error:
        raise UserError(f"model {name}: {error}") from error
    if backbone_pretrained:
        load_backbone(model.backbone, backbone_pretrained)
    if pretrained:
        load_weights(model, pretrained)
    return model
