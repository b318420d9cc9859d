"""Freezing layers in training."""

import re
from typing import Sequence

from compat import UserError

from paddle import nn


def freeze(model: nn.Layer, patterns: Sequence[str]) -> int:
    """Freeze the parameters whose names match any of the patterns, in place.

    They get no gradient, and frozen layers at the input no backward pass. A batch norm with one matching parameter is
    frozen as a whole: in training, too, it normalises by its running statistics and does not update them.

    Args:
        model: the network.
        patterns: regular expressions, searched for in names such as `backbone.stages.0.0.conv.weight`.

    Returns:
        The number of frozen parameters, which include running statistics.

    Raises:
        UserError: for a pattern that matches no parameter.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(re.search(pattern, name) for name in names):
            raise UserError(f"freeze: the pattern {pattern!r} matches no parameter; their names are like {names[0]}")
    frozen = 0
    for prefix, layer in model.named_sublayers(include_self=True):
        own = {f"{prefix}.{name}".strip("."): one for name, one in layer.named_parameters(include_sublayers=False)}
        found = [name for name in own if any(re.search(pattern, name) for pattern in patterns)]
        if found and isinstance(layer, nn.layer.norm._BatchNormBase):
            layer._use_global_stats = True
            found = list(own)
        for name in found:
            own[name].stop_gradient = True
        frozen += len(found)
    return frozen


def is_frozen_norm(layer: nn.Layer) -> bool:
    """Whether a layer is a batch norm that `freeze` has frozen."""
    return isinstance(layer, nn.layer.norm._BatchNormBase) and bool(layer._use_global_stats)
