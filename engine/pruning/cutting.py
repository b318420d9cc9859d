"""A network without some of its channels: smaller weights, and the widths by which a recipe names it."""

from collections import defaultdict
from typing import Dict, FrozenSet, List, Mapping, Tuple

import numpy as np
import paddle
from paddle import nn

from engine.build import network_of
from engine.pruning.graph import trace
from engine.pruning.groups import Channels, Place, find_channels
from engine.recipe import Recipe
from models.narrowing import convolutions
from models.shapes import shapes_only

SIZE = (512, 1024)  # (h, w) of the image whose multiply-accumulates are counted


def channels_of(recipe: Recipe, num_classes: int) -> Tuple[Channels, FrozenSet[str]]:
    """The channels of a recipe's network with all its heads, and the filters of the convolutions that are deployed.

    Raises:
        UserError: for a network with an operation through which channels cannot be followed.
    """
    with shapes_only():
        model = network_of(recipe, num_classes, weights=False)
        model.train()
        channels = find_channels(trace(model, SIZE))
        model.eval()
        deployed = find_channels(trace(model, SIZE))
    return channels, frozenset(conv.parameter for conv in deployed.convolutions)


def cut_weights(state: Mapping[str, paddle.Tensor], channels: Channels, cut: np.ndarray) -> Dict[str, paddle.Tensor]:
    """The weights {name: tensor} without the slices of the channels `cut`."""
    places: Dict[str, List[Place]] = defaultdict(list)
    for place in channels.places:
        places[place.parameter].append(place)
    smaller = {}
    for name, tensor in state.items():
        values = tensor.numpy()
        for place in places[name]:
            values = np.take(values, np.flatnonzero(~np.isin(place.channels, cut)), axis=place.axis)
        smaller[name] = paddle.to_tensor(values)
    return smaller


def widths_without(model: nn.Layer, channels: Channels, cut: np.ndarray) -> Dict[str, int]:
    """The widths, as models.narrowing takes them, of the convolutions of `model` that lose channels."""
    names = {id(conv.weight): name for name, conv in convolutions(model).items()}
    parameters = {name: names[id(parameter)] for name, parameter in model.named_parameters() if id(parameter) in names}
    widths = {}
    for conv in channels.convolutions:
        left = int((~np.isin(conv.outputs, cut)).sum())
        if left < len(conv.outputs) and not conv.depthwise:
            widths[parameters[conv.parameter]] = left
    return widths
