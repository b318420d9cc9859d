"""An L1 penalty on batch norms' scales, which shows the channels that do not matter, so that they can be cut.

The penalty of Liu et al., "Learning Efficient Convolutional Networks through Network Slimming" (ICCV 2017), as a
proximal step after each update: decoupled from the gradient like AdamW's weight decay, it takes scales to 0 exactly.
"""

import re
from typing import Mapping, Optional, Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn

from engine.recipe.optimization import OptimizerRecipe
from engine.training.optimizer import rate_factor


class ScaleShrinkage:
    """Called with the learning rate, moves each batch norm's scale towards 0, but not past it.

    A scale moves by rate * strength, and where `lr_mult` changes its rate, by as much more or less.

    Args:
        model: its batch norms are shrunk, except those that models.freezing has frozen.
        strength: factor of the scales' L1 norm in the objective.
        frozen: regular expressions of parameters that stay as they are.
        lr_mult: {regular expression of parameters: factor of their learning rate}.
    """

    def __init__(
        self,
        model: nn.Layer,
        strength: float,
        frozen: Sequence[str] = (),
        lr_mult: Optional[Mapping[str, float]] = None,
    ):
        self.scales = [
            (layer.weight, strength * rate_factor(lr_mult or {}, f"{name}.weight"))
            for name, layer in model.named_sublayers()
            if isinstance(layer, nn.layer.norm._BatchNormBase) and layer.weight is not None
            if not layer.weight.stop_gradient
            if not any(re.search(pattern, f"{name}.weight") for pattern in frozen)
        ]

    @paddle.no_grad()
    def __call__(self, rate: float) -> None:
        for scale, strength in self.scales:
            paddle.assign(F.softshrink(scale, rate * strength), scale)


def shrinkage_of(recipe: OptimizerRecipe, model: nn.Layer) -> Optional[ScaleShrinkage]:
    """The step for a recipe's `norm_sparsity`; None where that is 0."""
    if not recipe.norm_sparsity:
        return None
    return ScaleShrinkage(model, recipe.norm_sparsity, recipe.frozen, recipe.lr_mult)
