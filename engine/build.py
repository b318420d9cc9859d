"""Builds what a recipe describes: datasets, network and objective; seeds and settings of a run."""

from pathlib import Path
from typing import Optional, Tuple

from compat import UserError
from compat.processor import logical_cores

import numpy as np
import paddle
from paddle import nn

from data import SegmentationDataset, build_dataset
from data.files import check_labelled
from engine.gpu import allow_tf32
from engine.parallel import Devices, synchronize_batch_norm
from engine.recipe.schema import DatasetRecipe, Recipe
from engine.resilience.checkpoint import MODEL
from engine.weights import resolve_weights
from loss import Criterion, build_criterion
from loss.class_weights import resolve_class_weights
from models import build_model
from models.freezing import freeze
from models.layers import set_deterministic_resizing
from models.recompute import recompute_blocks
from models.segmentation import SegmentationNetwork


def dataset_of(recipe: DatasetRecipe):
    """The dataset that a recipe describes."""
    where = (recipe.type, recipe.dataset_root, recipe.mode)
    sampling = {name: getattr(recipe, name) for name in ("class_uniform", "copy_paste", "extra_list")}
    return build_dataset(*where, recipe.transforms, recipe.cache, recipe.cache_dir, **sampling, **recipe.options)


def training_datasets(recipe: Recipe, validates: bool) -> Tuple[SegmentationDataset, Optional[SegmentationDataset]]:
    """The dataset to train on, and the one to validate on or None.

    Raises:
        UserError: for data that cannot be read, and where the two have other numbers of classes or normalise otherwise.
    """
    train_set = dataset_of(recipe.train_dataset)
    if not validates:
        return train_set, None
    val_set = dataset_of(recipe.val_dataset)
    check_labelled(val_set.samples)
    if train_set.num_classes != val_set.num_classes:
        raise UserError(f"train_dataset has {train_set.num_classes} classes, val_dataset {val_set.num_classes}")
    ours, theirs = recipe.train_dataset.normalize, recipe.val_dataset.normalize
    if ours != theirs:
        raise UserError(
            f"train_dataset.transforms.Normalize has mean {ours.mean}, std {ours.std}, that of val_dataset "
            f"{theirs.mean}, {theirs.std}: the network would be evaluated on other values than it learns; use the same"
        )
    return train_set, val_set


def network_of(recipe: Recipe, num_classes: int, weights: bool = True) -> nn.Layer:
    """The network that a recipe describes, with the pretrained weights it names unless `weights` is False."""
    model = recipe.model
    named = {"pretrained": model.pretrained, "backbone_pretrained": model.backbone.pretrained} if weights else {}
    files = {key: weight_file(where) for key, where in named.items() if where}
    return build_model(model.type, num_classes, widths=model.widths, **files, **model.options)


def criterion_of(recipe: Recipe, model: nn.Layer, train_set: Optional[SegmentationDataset] = None) -> Criterion:
    """The objective that a recipe describes; takes outputs at their heads' stride or at the labels' size.

    Class weights given as a formula are computed from the histogram of `train_set`, which is needed only for these.
    """
    resize = {"resize": model.resized} if isinstance(model, SegmentationNetwork) else {}
    objective = resolve_class_weights(recipe.loss, lambda: train_set.histogram.sum(0))
    return build_criterion(objective, model.output_names, **resize)


def prepared_for_training(model: nn.Layer, recipe: Recipe, devices: Devices) -> nn.Layer:
    """The network as the recipe trains it: with `freeze` and `recompute` applied, and batch norm over all devices.

    Raises:
        UserError: for `recompute` on several devices, because DataParallel does not support a backward pass within
            another, or for a network without blocks to recompute; for a pattern of `freeze` that finds nothing.
    """
    freeze(model, recipe.freeze)
    if recipe.recompute and devices.count > 1:
        raise UserError(f"recompute: works on one device only, and this run has {devices.count}; leave it out")
    if recipe.recompute and not recompute_blocks(model):
        raise UserError(f"recompute: {recipe.model.type} has no blocks that can be recomputed; leave it out")
    return synchronize_batch_norm(model, devices)


def default_workers() -> int:
    """Loader processes: none on the CPU, whose cores train; up to 8 for a GPU."""
    return 0 if paddle.get_device() == "cpu" else min(8, logical_cores())


def weight_file(text: str) -> Path:
    """The weight file that `text` stands for.

    Args:
        text: path of a weight file or of a checkpoint's folder, or the name of published weights, which are downloaded
            if needed.

    Raises:
        UserError: for an unknown name, or published weights that cannot be downloaded.
    """
    path = resolve_weights(text)
    return path / MODEL if path.is_dir() else path


def seed_everything(seed: int, deterministic: bool) -> None:
    """Seed the initial weights; with `deterministic`, resizing also uses gradients that repeat from run to run."""
    paddle.seed(seed)
    set_deterministic_resizing(deterministic)


def seed_draws(seed: int, iteration: int, rank: int) -> None:
    """Seed what is drawn on the device (dropout) for one iteration, so that a resumed run draws the same."""
    paddle.seed(int(np.random.SeedSequence([seed, iteration, rank]).generate_state(1)[0] >> 1))


def choose_gpu_kernels(recipe: Recipe, deterministic: bool) -> None:
    """Set the flags by which Paddle chooses CUDA's kernels; does nothing in a Paddle without CUDA.

    `deterministic` rules out cuDNN's kernels that add in a varying order. Together with the resizing that
    `seed_everything` sets, all others add floats in a fixed order, or integers: a run then repeats to the bit on the
    same GPU with the same Paddle, CUDA libraries and number of devices.

    Raises:
        UserError: for `deterministic` with a recipe that chooses kernels by timing.
    """
    if deterministic and recipe.cudnn_exhaustive_search:
        raise UserError("--deterministic: cudnn_exhaustive_search chooses by timing; set cudnn_exhaustive_search=false")
    if paddle.is_compiled_with_cuda():
        exhaustive = recipe.cudnn_exhaustive_search
        paddle.set_flags({"FLAGS_cudnn_deterministic": deterministic, "FLAGS_cudnn_exhaustive_search": exhaustive})
        allow_tf32(recipe.tf32)
