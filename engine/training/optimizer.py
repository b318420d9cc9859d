"""The optimiser and its parameter groups."""

import re
from collections import defaultdict
from typing import Dict, Iterable, List, Mapping, Tuple

from compat import UserError

import paddle
from paddle import nn

from engine.recipe.optimization import AdamW, Constant, CosineAnnealingDecay, OptimizerRecipe, ScheduleRecipe
from scheduler import Schedule, WarmupConstant, WarmupCosine, WarmupPoly

SHARED = {"type", *OptimizerRecipe.model_fields}  # keys that are not arguments of Paddle's optimiser


def build_schedule(recipe: ScheduleRecipe, iters: int) -> Schedule:
    """The learning rate over a run of `iters` iterations."""
    options = recipe.model_dump(exclude={"type"})
    if isinstance(recipe, Constant):
        return WarmupConstant(**options)
    kind = WarmupCosine if isinstance(recipe, CosineAnnealingDecay) else WarmupPoly
    return kind(iters=iters, **options)


def build_optimizer(
    recipe: OptimizerRecipe, schedule: Schedule, layers: Iterable[nn.Layer]
) -> paddle.optimizer.Optimizer:
    """The recipe's optimiser over the trainable parameters of `layers` (network and criterion), in groups.

    Parameters that match `recipe.frozen` are not given to the optimiser. They still get gradients, because Paddle
    computes none for a batch norm's bias when its weight needs none.

    Raises:
        UserError: for a pattern that matches no parameter, or when nothing is left to train.
    """
    kinds = {name: (kind, parameter) for layer in layers for name, kind, parameter in _kinds(layer)}
    for pattern in (*recipe.lr_mult, *recipe.frozen):
        if not any(re.search(pattern, name) for name in kinds):
            raise UserError(
                f"optimizer: the pattern {pattern!r} matches no parameter; their names are like {next(iter(kinds))}"
            )
    groups: Dict[Tuple[float, float], List[paddle.Tensor]] = defaultdict(list)
    for name, (kind, parameter) in kinds.items():
        if parameter.stop_gradient or any(re.search(pattern, name) for pattern in recipe.frozen):
            continue
        factor = rate_factor(recipe.lr_mult, name)
        decay = 0.0 if kind in recipe.no_weight_decay else recipe.weight_decay
        groups[factor, decay].append(parameter)
    if not groups:
        raise UserError("optimizer.frozen and freeze: together they freeze every parameter; nothing is left to train")
    parameters = [
        {"params": members, "learning_rate": factor, "weight_decay": decay}
        for (factor, decay), members in groups.items()
    ]
    kind = paddle.optimizer.AdamW if isinstance(recipe, AdamW) else paddle.optimizer.Momentum
    return kind(learning_rate=schedule, parameters=parameters, **recipe.model_dump(exclude=SHARED))


def rate_factor(lr_mult: Mapping[str, float], name: str) -> float:
    """The factor of a parameter's learning rate: that of the first pattern that its name matches, or 1."""
    return next((factor for pattern, factor in lr_mult.items() if re.search(pattern, name)), 1.0)


def _kinds(layer: nn.Layer):
    """(name, `norm` | `bias` | `weight`, parameter) of each parameter."""
    norms = {
        id(parameter)
        for module in layer.sublayers(include_self=True)
        if isinstance(module, nn.layer.norm._BatchNormBase)
        for parameter in module.parameters(include_sublayers=False)
    }
    for name, parameter in layer.named_parameters():
        kind = "norm" if id(parameter) in norms else "bias" if name.endswith("bias") else "weight"
        yield name, kind, parameter
