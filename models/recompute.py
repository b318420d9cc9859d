"""Less memory for more time: feature maps inside blocks are recomputed in the backward pass (Chen et al., 2016)."""

import contextlib
import functools
import types
from typing import Iterator

import paddle
from paddle import nn
from paddle.distributed.fleet.utils import recompute

from models.context_path import FeatureFusionModule
from models.ddrnet import ResidualBlock
from models.stdcnet import ShortTermDenseConcat

BLOCKS = (ShortTermDenseConcat, FeatureFusionModule, ResidualBlock)
NORMS = (nn.BatchNorm2D, nn.SyncBatchNorm)


def recompute_blocks(model: nn.Layer) -> int:
    """Make each of the network's blocks keep only its inputs in training; returns the number of blocks.

    Gradients, running statistics and random draws are unchanged: the second forward pass of a block does not update its
    batch norms' statistics and starts from the random state of the first.
    """
    blocks = [layer for layer in model.sublayers(include_self=True) if isinstance(layer, BLOCKS)]
    for block in blocks:
        block.forward = types.MethodType(_forward, block)  # bound, so that a copied block calls itself
    return len(blocks)


def _forward(block: nn.Layer, *inputs: paddle.Tensor) -> paddle.Tensor:
    has_gradient = any(not tensor.stop_gradient for tensor in inputs)
    if not (has_gradient and block.training and paddle.is_grad_enabled()):
        return type(block).forward(block, *inputs)
    return recompute(functools.partial(_compute, block), *inputs)


def _compute(block: nn.Layer, *inputs: paddle.Tensor) -> paddle.Tensor:
    """Paddle calls this without gradients in the forward pass, and with them in the backward pass."""
    with _statistics_unchanged(block) if paddle.is_grad_enabled() else contextlib.nullcontext():
        return type(block).forward(block, *inputs)


@contextlib.contextmanager
def _statistics_unchanged(block: nn.Layer) -> Iterator[None]:
    """Inside, batch norms do not change their running statistics: a momentum of 1 keeps them to the bit."""
    norms = [layer for layer in block.sublayers() if isinstance(layer, NORMS)]
    momenta = [norm._momentum for norm in norms]
    for norm in norms:
        norm._momentum = 1.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta):
            norm._momentum = momentum
