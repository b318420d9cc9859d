"""The training loop."""

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional

from compat import UserError, logger

import numpy as np
import paddle
from paddle import nn

from data import build_dataset, train_batches
from engine.checkpoint import (
    MODEL,
    list_checkpoints,
    load_checkpoint,
    prepare_save_dir,
    remove_old_checkpoints,
    save_checkpoint,
)
from engine.evaluator import evaluate
from engine.optimizer import build_optimizer, build_schedule
from engine.parallel import join_devices, replicate, synchronize_batch_norm, without_exchange
from engine.pictures import view_sample, view_sheet, write_picture
from engine.progress import Progress
from engine.recipe import DatasetRecipe, Recipe
from loss import build_criterion
from models import build_model
from models.weights import load_weights

PICTURED_IMAGES = 3


@dataclass(frozen=True)
class RunOptions:
    """What decides how a recipe is run, and not what it computes (but for `seed`)."""

    save_dir: str = "output"
    num_workers: Optional[int] = None  # None: 0 on the CPU, up to 8 for a GPU
    seed: int = 0
    diff_seed: bool = False  # what is drawn on a device (dropout) differs by rank; weights and data are shared anyway
    deterministic: bool = False
    validate: bool = True
    resume_model: Optional[str] = None
    load_from: Optional[str] = None
    keep_checkpoint_max: int = 5
    use_vdl: bool = False


class Trainer:
    """Trains the network of a recipe.

    Args:
        recipe: what to compute.
        options: how to run it.

    Raises:
        UserError: for data, weights or folders that do not fit; before anything is trained.
    """

    def __init__(self, recipe: Recipe, options: RunOptions):
        self.recipe = recipe
        self.options = options
        self.devices = join_devices()
        self.num_workers = default_workers() if options.num_workers is None else options.num_workers
        self.train_set = dataset_of(recipe.train_dataset)
        self.val_set = dataset_of(recipe.val_dataset) if options.validate else None
        if self.val_set is not None and self.val_set.num_classes != self.train_set.num_classes:
            raise UserError(
                f"train_dataset has {self.train_set.num_classes} classes, val_dataset {self.val_set.num_classes}"
            )
        self.save_dir = prepare_save_dir(options.save_dir)
        seed_everything(options.seed, options.deterministic)
        # The guard numbers parameters from 0, so that optimiser states fit however many networks were built before.
        with paddle.utils.unique_name.guard():
            self.model = synchronize_batch_norm(network_of(recipe, self.train_set.num_classes), self.devices)
            self.criterion = build_criterion(recipe.loss, self.model.output_names)
        self.schedule = build_schedule(recipe.lr_scheduler, recipe.iters)
        self.optimizer = build_optimizer(recipe.optimizer, self.schedule, (self.model, self.criterion))
        if options.diff_seed:  # only now: every rank starts with the same weights
            paddle.seed(options.seed + self.devices.rank)
        self.iteration = 0
        self.best: Dict[str, Dict[str, float]] = {}
        if options.load_from:
            taken = load_weights(self.model, weight_file(options.load_from))
            logger.info("took %d tensors from %s", taken, options.load_from)
        if options.resume_model:
            self._resume(options.resume_model)
        self.replica = replicate(self.model, self.devices)

    def fit(self) -> Dict[str, Dict[str, float]]:
        """Train to the recipe's last iteration.

        Returns:
            {protocol: {"miou": best mIoU, "iteration": where}}; empty without validation.
        """
        recipe = self.recipe
        if self.iteration >= recipe.iters:
            logger.info("nothing to do: the run is at iteration %d of %d", self.iteration, recipe.iters)
            return self.best
        start, stop = (iteration * recipe.accumulate for iteration in (self.iteration, recipe.iters))
        batches = train_batches(
            self.train_set, recipe.batch_size, self.options.seed, start, stop, self.num_workers, *self.devices
        )
        # The optimiser names its states at its first step: from 0 here too, see __init__.
        with paddle.utils.unique_name.guard(), self._progress() as progress:
            self.replica.train()
            for number, (images, labels, _) in enumerate(batches, start=1):
                progress.batch_read()
                rate = self.schedule.get_lr()
                complete = number % recipe.accumulate == 0
                progress.batch_done(self._step(images, labels, complete))
                if not complete:
                    continue
                self.iteration += 1
                progress.iteration_done(self.iteration, rate)
                if self.iteration % recipe.save_interval == 0 or self.iteration == recipe.iters:
                    self._save(progress)
                    progress.restart_clock()
        return self.best

    def _progress(self) -> Progress:
        return Progress(self.save_dir, self.recipe, len(self.train_set), self.devices, self.options.use_vdl)

    def _step(self, images: paddle.Tensor, labels: paddle.Tensor, complete: bool = True) -> Dict[str, paddle.Tensor]:
        """One of an iteration's batches, uint8, and the update if they are `complete`; see `add_gradients`."""
        images = self.train_set.transform.normalize.on_device(images)
        with contextlib.nullcontext() if complete else without_exchange(self.replica):
            losses = add_gradients(self.replica, self.criterion, images, labels, 1 / self.recipe.accumulate)
        if complete:
            self.optimizer.step()
            for layer in (self.model, self.criterion):
                layer.clear_gradients()
            self.schedule.step()
        return losses

    def _save(self, progress: "Progress") -> None:
        """Evaluate, keep the best, write the checkpoint."""
        if self.val_set is not None:
            for rank, name in enumerate(self.recipe.test_config):
                self._evaluate(name, self.save_dir / ("best_model" if rank == 0 else f"best_model_{name}"), progress)
        if self.devices.rank > 0:
            return
        if self.val_set is not None:
            self._draw(progress)
        save_checkpoint(self.save_dir / f"iter_{self.iteration}", self.model, self.optimizer, self._state())
        remove_old_checkpoints(self.save_dir, self.options.keep_checkpoint_max)

    def _evaluate(self, protocol: str, best_folder: Path, progress: "Progress") -> None:
        start = time.perf_counter()
        scores = evaluate(self.model, self.val_set, self.recipe.test_config[protocol], self.num_workers)
        logger.info(
            "[EVAL] %s: #Images: %d mIoU: %.4f Acc: %.4f Kappa: %.4f (%.1f s)",
            protocol,
            len(self.val_set),
            scores.miou,
            scores.accuracy,
            scores.kappa,
            time.perf_counter() - start,
        )
        progress.scores(protocol, scores, self.iteration)
        if scores.miou > self.best.get(protocol, {}).get("miou", -1.0):
            self.best[protocol] = {"miou": scores.miou, "iteration": self.iteration}
            if self.devices.rank == 0:
                save_checkpoint(best_folder, self.model)
        best = self.best[protocol]
        logger.info(
            "[EVAL] The model with the best validation mIoU (%.4f, %s) was saved at iter %d.",
            best["miou"],
            protocol,
            best["iteration"],
        )

    def _draw(self, progress: "Progress") -> None:
        protocol = next(iter(self.recipe.test_config.values()))
        indices = np.linspace(0, len(self.val_set) - 1, min(PICTURED_IMAGES, len(self.val_set))).astype(int)
        views = [view_sample(self.model, self.val_set, int(index), protocol) for index in indices]
        picture = view_sheet(views, self.val_set.classes.palette())
        write_picture(self.save_dir / "pictures" / f"iter_{self.iteration}.png", picture)
        progress.picture(picture, self.iteration)

    def _state(self) -> Dict[str, Any]:
        return {"iteration": self.iteration, "best": self.best, "seed": self.options.seed, "iters": self.recipe.iters}

    def _resume(self, source: str) -> None:
        folder = Path(source)
        if source == "auto":
            found: List[Path] = list_checkpoints(self.save_dir)
            if not found:
                logger.info("--resume_model auto: no checkpoint in %s yet, starting at iteration 0", self.save_dir)
                return
            folder = found[-1]
        state = load_checkpoint(folder, self.model, self.optimizer)
        if state["seed"] != self.options.seed:
            raise UserError(f"{folder}: was trained with --seed {state['seed']}, not {self.options.seed}")
        self.iteration, self.best = state["iteration"], state["best"]
        self.schedule.step(self.iteration)
        logger.info("resumed %s at iteration %d", folder, self.iteration)


def add_gradients(
    model: nn.Layer, criterion: nn.Layer, images: paddle.Tensor, labels: paddle.Tensor, share: float = 1.0
) -> Dict[str, paddle.Tensor]:
    """Add to the parameters' gradients those of `share` times the total loss of one batch.

    Over k batches of n images with a share of 1/k each, the gradients are those of one batch of k * n images, if every
    loss is a mean over as many pixels in each. It is not quite so where the batch itself counts: batch norm sees n
    images; ignored pixels are averaged out within each batch; and the hardest pixels (OHEM) are sought, and its
    fraction or number of pixels `n_min` counted, in each batch alone.

    Args:
        model: the network.
        criterion: answers (total, {name: part}).
        images: [N, 3, H, W] float32.
        labels: [N, H, W] of any integer type.
        share: of this batch in the gradients.

    Returns:
        The total and the parts by name, 0-d, before `share`.
    """
    total, parts = criterion(model(images), labels.astype("int64"))
    (total if share == 1 else total * share).backward()
    return {"loss": total.detach(), **{name: part.detach() for name, part in parts.items()}}


def dataset_of(recipe: DatasetRecipe):
    """The dataset that a recipe describes."""
    where = (recipe.type, recipe.dataset_root, recipe.mode)
    return build_dataset(*where, recipe.transforms, recipe.cache, recipe.cache_dir, **recipe.options)


def network_of(recipe: Recipe, num_classes: int, weights: bool = True) -> nn.Layer:
    """The network that a recipe describes, with the pretrained weights it names unless `weights` is False."""
    model = recipe.model
    pretrained = {"pretrained": model.pretrained, "backbone_pretrained": model.backbone.pretrained} if weights else {}
    return build_model(model.type, num_classes, **pretrained, **model.options)


def default_workers() -> int:
    """Loader processes: none on the CPU, whose cores train; up to 8 for a GPU."""
    return 0 if paddle.get_device() == "cpu" else min(8, os.cpu_count() or 1)


def weight_file(path: str) -> Path:
    """A weight file, or the one in a checkpoint folder."""
    return Path(path) / MODEL if Path(path).is_dir() else Path(path)


def seed_everything(seed: int, deterministic: bool) -> None:
    """Seed the initial weights; `deterministic` also forbids GPU kernels whose sums change their order."""
    paddle.seed(seed)
    if deterministic and paddle.is_compiled_with_cuda():
        paddle.set_flags({"FLAGS_cudnn_deterministic": True})
