"""What a training step needs, and which settings of a recipe make it less."""

from typing import List, Tuple

import numpy as np
import paddle
from paddle import nn

from data import SegmentationDataset
from engine.build import network_of
from engine.recipe import Recipe
from models.recompute import recompute_blocks

PROBE = 128  # pixels, (w, h); a multiple of every network's largest stride


# The layers' outputs, with concatenations, sums, activations without a layer and gradients in flight. Paddle's counter
# found 1.4 to 1.6 times the outputs alone: 14.1 GiB for STDC2-Seg with 36 images of 1024x512, whose outputs are 9.9.
BESIDE_LAYERS = 1.45
RECOMPUTED = 0.5  # the share that recompute saves, as measured for STDC2-Seg: 7.5 GiB instead of 14.1


def estimate_need(model: nn.Layer, crop_size: Tuple[int, int]) -> float:
    """GiB of an image of crop_size (w, h) in a float32 training step, beside weights and the kernels' workspace.

    Counts the output of every layer that has no sublayers, by way of a small image; changes the model's running
    statistics.
    """
    sizes: List[int] = []
    for layer in model.sublayers():
        if not layer.sublayers():
            layer.register_forward_post_hook(lambda _layer, _inputs, output: sizes.append(output.size))
    model.train()
    with paddle.no_grad():
        model(paddle.zeros([2, 3, PROBE, PROBE]))
    return BESIDE_LAYERS * 4 * sum(sizes) * crop_size[0] * crop_size[1] / (2 * PROBE * PROBE) / 2**30


def training_advice(recipe: Recipe, dataset: SegmentationDataset) -> str:
    """What to change when a training step finds no memory; estimated with a new network on the CPU."""
    device = paddle.get_device()
    height, width = dataset.train_item(0, np.random.default_rng(0))[1].shape
    paddle.set_device("cpu")
    try:
        model = network_of(recipe, dataset.num_classes, weights=False)
        need = estimate_need(model, (width, height))
    finally:
        paddle.set_device(device)
    return advice(recipe, need, on_gpu=device != "cpu", can_recompute=bool(recompute_blocks(model)))


def advice(recipe: Recipe, need: float, on_gpu: bool, can_recompute: bool) -> str:
    """Which settings would make a training step need less memory, and how much less, in one line.

    Args:
        recipe: of the run.
        need: as `estimate_need` returns it.
        on_gpu: whether precision makes a difference.
        can_recompute: whether recompute does.
    """
    batch, accumulate = recipe.batch_size, recipe.accumulate
    need *= 0.5 if on_gpu and recipe.precision != "fp32" else 1
    need *= 1 - RECOMPUTED if recipe.recompute else 1
    settings = []
    if batch > 1:
        parts = next(parts for parts in range(2, batch + 1) if batch % parts == 0)
        saved = (batch - batch // parts) * need
        settings.append(f"--batch_size {batch // parts} --accumulate {accumulate * parts} saves {saved:.1f} GiB")
    if can_recompute and not recipe.recompute:
        settings.append(f"--opts recompute=true saves {batch * need * RECOMPUTED:.1f} GiB")
    if on_gpu and recipe.precision == "fp32":
        settings.append(f"--precision fp16 or bf16 saves {batch * need / 2:.1f} GiB")
    settings.append("a smaller crop_size saves in proportion to its pixels")
    return f"a batch of {batch} needs about {batch * need:.1f} GiB beside the weights: {'; '.join(settings)}"
