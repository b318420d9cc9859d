"""Prunes a trained network in rounds; importance is measured again in each round."""

from dataclasses import dataclass
from typing import Callable, Dict, Iterable, Tuple

from compat import UserError

import numpy as np
import paddle
from paddle import nn

from engine.build import network_of
from engine.pruning.choice import choose
from engine.pruning.cutting import channels_of, cut_weights, widths_without
from engine.pruning.groups import Channels
from engine.recipe import Recipe
from engine.training.averaging import measure_statistics
from models.weights import load_weights

Importance = Callable[[nn.Layer, Channels], np.ndarray]


class UnreachableError(UserError):
    """The target is below what the smallest widths leave."""


@dataclass(frozen=True)
class Pruned:
    """A pruned network.

    Attributes:
        recipe: the given one, with the remaining widths.
        model: with the remaining weights, and batch norm's statistics measured again.
        channels: {name of a group, see Channels.groups: (number of channels before, after)}.
        multiply_accumulates: of the deployed network, before and after, for an image of engine.pruning.cutting.SIZE.
    """

    recipe: Recipe
    model: nn.Layer
    channels: Dict[str, Tuple[int, int]]
    multiply_accumulates: Tuple[int, int]

    @property
    def share(self) -> float:
        """The share of the multiply-accumulates that remains, in (0, 1]."""
        before, after = self.multiply_accumulates
        return after / before


def prune(
    recipe: Recipe,
    model: nn.Layer,
    num_classes: int,
    target: float,
    importance: Importance,
    images: Callable[[], Iterable[paddle.Tensor]],
    multiple: int = 16,
    rounds: int = 1,
) -> Pruned:
    """Cut channels until `target` of the deployed network's multiply-accumulates is left.

    Args:
        recipe: of the network.
        model: with its weights; it is not changed.
        num_classes: of the network.
        target: in (0, 1].
        importance: of each channel, computed once a round.
        images: returns normalised training images [N, 3, H, W] float32, for batch norm's statistics after each round.
        multiple: the remaining widths are multiples of it.
        rounds: each keeps the same share of what the one before kept.

    Raises:
        UnreachableError: when the target cannot be reached.
        UserError: for a network whose channels cannot be followed.
    """
    channels, deployed = channels_of(recipe, num_classes)
    sizes = {name: len(members) for name, members in channels.groups.items()}
    whole = left = channels.multiply_accumulates(deployed)
    for number in range(1, rounds + 1):
        wanted = target ** (number / rounds) * whole / left
        choice = choose(channels, importance(model, channels), deployed, min(1.0, wanted), multiple, sizes)
        if number == rounds and choice.share > wanted:
            raise UnreachableError(
                f"--target {target:g}: with widths in multiples of {multiple} and a quarter of each layer kept, "
                f"{choice.share * left / whole:.2f} remain; choose a higher --target, or a lower --multiple"
            )
        widths = {**recipe.model.widths, **widths_without(model, channels, choice.cut)}
        recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"widths": widths})})
        weights = cut_weights(model.state_dict(), channels, choice.cut)
        model = network_of(recipe, num_classes, weights=False)
        load_weights(model, weights)
        measure_statistics(model, images())
        channels, deployed = channels_of(recipe, num_classes)
        left = channels.multiply_accumulates(deployed)
    kept = {name: (sizes[name], len(members)) for name, members in channels.groups.items()}
    return Pruned(recipe, model, kept, (whole, left))
