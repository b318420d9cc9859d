"""What a training step needs, and which settings of a recipe make it less."""

from typing import List, NamedTuple, Tuple

import numpy as np
import paddle
from paddle import nn

from data import SegmentationDataset
from engine.build import network_of
from engine.recipe import Recipe

PROBE = 128  # pixels, (w, h); a multiple of every network's largest stride


class Need(NamedTuple):
    """GiB of one image in a float32 training step.

    Attributes:
        features: what the layers keep for the backward pass.
        logits: the outputs, and as much again for their losses.
    """

    features: float
    logits: float


def estimate_need(model: nn.Layer, crop_size: Tuple[int, int]) -> Need:
    """What an image of crop_size (w, h) needs beside the weights and the kernels' workspace.

    Counts the output of every layer that has no sublayers, by way of a small image; changes the model's running
    statistics. For STDC2-Seg at 1024x512 it is 0.50 GiB, where Paddle's counter found 0.5 (18 GiB at batch 36).
    """
    sizes: List[int] = []
    for layer in model.sublayers():
        if not layer.sublayers():
            layer.register_forward_post_hook(lambda _layer, _inputs, output: sizes.append(output.size))
    model.train()
    with paddle.no_grad():
        outputs = model(paddle.zeros([2, 3, PROBE, PROBE]))
    gib = 4 * crop_size[0] * crop_size[1] / (2 * PROBE * PROBE) / 2**30
    return Need(sum(sizes) * gib, 2 * sum(output.size for output in outputs) * gib)


def training_advice(recipe: Recipe, dataset: SegmentationDataset) -> str:
    """What to change when a training step finds no memory; estimated with a new network on the CPU."""
    device = paddle.get_device()
    height, width = dataset.train_item(0, np.random.default_rng(0))[1].shape
    paddle.set_device("cpu")
    try:
        need = estimate_need(network_of(recipe, dataset.num_classes, weights=False), (width, height))
    finally:
        paddle.set_device(device)
    return advice(recipe, need, on_gpu=device != "cpu")


def advice(recipe: Recipe, need: Need, on_gpu: bool) -> str:
    """Which settings would make a training step need less memory, and how much less, in one line."""
    batch, accumulate = recipe.batch_size, recipe.accumulate
    features = need.features / (1 if recipe.precision == "fp32" or not on_gpu else 2)
    settings = []
    if batch > 1:
        parts = next(parts for parts in range(2, batch + 1) if batch % parts == 0)
        saved = (batch - batch // parts) * (features + need.logits)
        settings.append(f"--batch_size {batch // parts} --accumulate {accumulate * parts} saves {saved:.1f} GiB")
    if on_gpu and recipe.precision == "fp32":
        settings.append(f"--precision fp16 or bf16 saves {batch * features / 2:.1f} GiB")
    settings.append("a smaller crop_size saves in proportion to its pixels")
    total = batch * (features + need.logits)
    return f"a batch of {batch} needs about {total:.1f} GiB beside the weights: {'; '.join(settings)}"
