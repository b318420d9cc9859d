"""Batch norms' scales drawn towards 0, so that the channels that do not matter can be told and cut.

The penalty of Liu et al., "Learning Efficient Convolutional Networks through Network Slimming" (ICCV 2017), as a
proximal step after each update: like AdamW's weight decay it is apart from the gradient, and scales become exactly 0.
"""

import re
from typing import Optional, Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn

from engine.recipe.schema import OptimizerRecipe


class ScaleShrinkage:
    """Takes `rate * strength` from the size of each batch norm's scale, down to 0, when called with the rate.

    Args:
        model: whose batch norms it concerns.
        strength: the factor of the sum of all scales' sizes in the objective.
        frozen: regular expressions of parameters that stay.
    """

    def __init__(self, model: nn.Layer, strength: float, frozen: Sequence[str] = ()):
        self.strength = strength
        self.scales = [
            layer.weight
            for name, layer in model.named_sublayers()
            if isinstance(layer, nn.layer.norm._BatchNormBase) and layer.weight is not None
            if not any(re.search(pattern, f"{name}.weight") for pattern in frozen)
        ]

    @paddle.no_grad()
    def __call__(self, rate: float) -> None:
        for scale in self.scales:
            paddle.assign(F.softshrink(scale, rate * self.strength), scale)


def shrinkage_of(recipe: OptimizerRecipe, model: nn.Layer) -> Optional[ScaleShrinkage]:
    """What a recipe's `norm_sparsity` asks for; None without it."""
    return ScaleShrinkage(model, recipe.norm_sparsity, recipe.frozen) if recipe.norm_sparsity else None
