"""Estimates the memory of a training step, and names settings of the recipe that reduce it."""

from typing import List, NamedTuple, Tuple

import numpy as np
import paddle
from paddle import nn

from data import SegmentationDataset
from engine.build import network_of
from engine.recipe import Recipe
from models.recompute import recompute_blocks

PROBE_SIDE = 128  # pixels; a multiple of every network's largest stride


class StepMemory(NamedTuple):
    """How the memory of a network's training step was measured, in images of 1024x512.

    Attributes:
        to_outputs: relative to its layers' outputs. Concatenations, sums, activations without a layer and gradients in
            flight come on top; what the backward pass does not need is freed.
        recomputed: the share that `recompute` saves. It is small where the peak is within one block's backward pass.
    """

    to_outputs: float
    recomputed: float


MEASURED = {  # benchmarks/results/memory.json, by Paddle's counter
    "stdc1_seg": StepMemory(1.40, 0.41),
    "stdc2_seg": StepMemory(1.42, 0.47),
    "bisestdc": StepMemory(1.34, 0.39),
    "bisestdc2": StepMemory(1.23, 0.19),
    "ddrnet23_slim": StepMemory(1.13, 0.41),
    "ddrnet23": StepMemory(1.06, 0.39),
}
OTHERS = StepMemory(1.4, 0.4)


def estimate_need(model: nn.Layer, crop_size: Tuple[int, int], to_outputs: float) -> float:
    """GiB for each image of crop_size (w, h) in a float32 training step, without weights and the kernels' workspace.

    Measures the outputs of all layers without sublayers on a small image, which changes the model's running statistics,
    and multiplies them by `to_outputs`, see StepMemory.
    """
    sizes: List[int] = []
    for layer in model.sublayers():
        if not layer.sublayers():
            layer.register_forward_post_hook(lambda _layer, _inputs, output: sizes.append(output.size))
    model.train()
    with paddle.no_grad():
        model(paddle.zeros([2, 3, PROBE_SIDE, PROBE_SIDE]))
    elements = sum(sizes) / 2 * (crop_size[0] * crop_size[1]) / PROBE_SIDE**2
    return to_outputs * 4 * elements / 2**30


def training_advice(recipe: Recipe, dataset: SegmentationDataset) -> str:
    """What to change when a training step runs out of memory; estimated with a new network on the CPU."""
    device = paddle.get_device()
    measured = MEASURED.get(recipe.model.type, OTHERS)
    height, width = dataset.train_item(0, np.random.default_rng(0))[1].shape
    paddle.set_device("cpu")
    try:
        model = network_of(recipe, dataset.num_classes, weights=False)
        need = estimate_need(model, (width, height), measured.to_outputs)
    finally:
        paddle.set_device(device)
    recomputed = measured.recomputed if recompute_blocks(model) else 0.0
    return advice(recipe, need, on_gpu=device != "cpu", recomputed=recomputed)


def advice(recipe: Recipe, need: float, on_gpu: bool, recomputed: float) -> str:
    """Which settings would make a training step need less memory, and how much less, in one line.

    Args:
        recipe: of the run.
        need: GiB for each image, as `estimate_need` returns it.
        on_gpu: whether the run is on a GPU, where lower precision saves memory.
        recomputed: the share of the memory that `recompute` saves; 0 if the network has no blocks for it.
    """
    batch, accumulate = recipe.batch_size, recipe.accumulate
    need *= 0.5 if on_gpu and recipe.precision != "fp32" else 1
    need *= 1 - recomputed if recipe.recompute else 1
    settings = []
    if batch > 1:
        parts = next(parts for parts in range(2, batch + 1) if batch % parts == 0)
        saved = (batch - batch // parts) * need
        settings.append(f"--batch_size {batch // parts} --accumulate {accumulate * parts} saves {saved:.1f} GiB")
    if recomputed and not recipe.recompute:
        settings.append(f"--opts recompute=true saves {batch * need * recomputed:.1f} GiB")
    if on_gpu and recipe.precision == "fp32":
        settings.append(f"--precision fp16 or bf16 saves {batch * need / 2:.1f} GiB")
    settings.append("a smaller crop_size saves in proportion to its pixels")
    return f"a batch of {batch} needs about {batch * need:.1f} GiB beside the weights: {'; '.join(settings)}"
