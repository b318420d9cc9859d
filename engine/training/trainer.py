"""The training loop."""

from pathlib import Path
from typing import Any, Dict, Optional

from compat import UserError, logger

import numpy as np
import paddle

from engine.build import dataset_of, default_workers, network_of, seed_everything, weight_file
from engine.parallel import join_devices, share_statistics, synchronize_batch_norm, wait_for_all
from engine.recipe import Recipe
from engine.resilience.checkpoint import (
    finish_replacements,
    list_checkpoints,
    load_checkpoint,
    newest_intact,
    prepare_save_dir,
    remove_old_checkpoints,
    save_checkpoint,
)
from engine.resilience.divergence import LossGuard
from engine.resilience.faults import faults_named
from engine.resilience.interruption import Interrupted, Interruption
from engine.resilience.records import Records, lengths_at_start
from engine.training.ema import WeightAverage
from engine.training.feed import Feed
from engine.training.optimizer import build_optimizer, build_schedule
from engine.training.options import RunOptions
from engine.training.precision import Precision
from engine.training.progress import Progress
from engine.training.step import TrainStep
from engine.training.validation import Validation
from loss import build_criterion
from models.weights import load_weights


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
        classes = [dataset.num_classes for dataset in (self.train_set, self.val_set) if dataset is not None]
        if len(set(classes)) > 1:
            raise UserError(f"train_dataset has {classes[0]} classes, val_dataset {classes[1]}")
        self.save_dir = prepare_save_dir(options.save_dir)
        self.validation = None
        if self.val_set is not None:
            self.validation = Validation(
                self.val_set, recipe.test_config, self.save_dir, self.devices, self.num_workers
            )
        seed_everything(options.seed, options.deterministic)
        # The guard numbers parameters from 0, so that optimiser states fit however many networks were built before.
        with paddle.utils.unique_name.guard():
            self.model = synchronize_batch_norm(network_of(recipe, self.train_set.num_classes), self.devices)
            self.criterion = build_criterion(recipe.loss, self.model.output_names)
        self.schedule = build_schedule(recipe.lr_scheduler, recipe.iters)
        self.optimizer = build_optimizer(recipe.optimizer, self.schedule, (self.model, self.criterion))
        self.iteration = 0
        self.validated = 0  # the last iteration whose validation is complete
        self.resumed: Dict[str, Any] = {}
        if options.load_from:
            taken = load_weights(self.model, weight_file(options.load_from))
            logger.info("took %d tensors from %s", taken, options.load_from)
        self.feed = Feed(
            self.train_set,
            recipe.batch_size,
            options.seed,
            self.num_workers,
            self.devices,
            options.skip_bad_samples,
            self.save_dir,
        )
        self.guard = LossGuard(
            options.on_nan, options.max_skipped, recipe.accumulate, self.feed.read, self.save_dir, self.devices
        )
        folder = self._checkpoint_to_resume()
        if folder:
            self._resume(folder)
        self.step = TrainStep(
            self.model,
            self.criterion,
            self.optimizer,
            self.schedule,
            Precision(recipe.precision, recipe.amp_level),
            WeightAverage(self.model, recipe.ema_decay) if recipe.ema_decay else None,
            self.guard,
            recipe.accumulate,
            self.devices,
        )
        if folder:
            self.step.set_state_dict(self.resumed["extra"])
        self._seed_draws()

    @property
    def best(self) -> Dict[str, Dict[str, float]]:
        """{protocol: {"miou": best mIoU, "iteration": where}}; empty without validation."""
        return self.validation.best if self.validation else {}

    def fit(self) -> Dict[str, Dict[str, float]]:
        """Train to the recipe's last iteration and return `best`.

        Raises:
            Interrupted: after SIGTERM or SIGINT, when the checkpoint is written.
            UserError: for whatever stops the run and the user can mend.
        """
        # The optimiser names its states at its first step: from 0 here too, see __init__.
        guard = paddle.utils.unique_name.guard()
        first = self.devices.rank == 0
        records = Records(self.save_dir, self.options.use_vdl and first, self.resumed.get("records") if first else None)
        with guard, faults_named(), records, Interruption(decides=first) as interruption:
            progress = Progress(
                self.recipe, len(self.train_set), self.devices, records, self.resumed.get("untold_losses", ())
            )
            if self._save_is_due() and self.validated < self.iteration:  # the run was stopped while it validated
                self._save(progress, interruption)
            if self.iteration >= self.recipe.iters:
                logger.info("nothing to do: the run is at iteration %d of %d", self.iteration, self.recipe.iters)
                return self.best
            self._train(progress, interruption)
        return self.best

    def _train(self, progress: Progress, interruption: Interruption) -> None:
        self.step.replica.train()
        start, stop = (iteration * self.recipe.accumulate for iteration in (self.iteration, self.recipe.iters))
        for number, images, labels in self.feed.batches(start, stop):
            progress.batch_read()
            rate = self.schedule.get_lr()
            progress.batch_done(self._step(number, images, labels))
            if (number + 1) % self.recipe.accumulate:
                continue
            self.iteration += 1
            self._seed_draws()
            if progress.line_is_due(self.iteration) or self._save_is_due():
                self.guard.look()
                self.feed.bad_samples.look()
            progress.iteration_done(self.iteration, rate)
            if interruption.asked:
                self._save_alone(progress)
                interruption.leave_if_asked()
            if self._save_is_due():
                self._save(progress, interruption)
                progress.restart_clock()

    def _step(self, number: int, images: paddle.Tensor, labels: paddle.Tensor) -> Dict[str, paddle.Tensor]:
        """See TrainStep; the images are uint8 [N, H, W, 3] still."""
        return self.step(number, self.train_set.transform.normalize.on_device(images), labels)

    def _seed_draws(self) -> None:
        """What is drawn on the device (dropout) is a function of seed and iteration, so that resuming repeats it."""
        rank = self.devices.rank if self.options.diff_seed else 0
        entropy = np.random.SeedSequence([self.options.seed, self.iteration, rank])
        paddle.seed(int(entropy.generate_state(1)[0] >> 1))

    def _save_is_due(self) -> bool:
        at = self.iteration
        return at > 0 and (at % self.recipe.save_interval == 0 or at >= self.recipe.iters)

    def _save(self, progress: Progress, interruption: Interruption) -> None:
        """Validate, keep the best, write the checkpoint; if interrupted, the validation is the resumed run's."""
        self.guard.check_weights(self.model, self.iteration)
        before = self._state(progress)
        try:
            if self.validation:
                with self.step.applied_average(), self.step.precision.evaluation():
                    share_statistics(self.model, self.devices)
                    with interruption.leaving_anywhere():
                        self.validation.run(self.model, self.iteration, progress)
        except Interrupted:
            self._write(before)
            raise
        self.validated = self.iteration
        self._write(self._state(progress))

    def _save_alone(self, progress: Progress) -> None:
        """Write a checkpoint without the other devices' help."""
        self.guard.look(alone=True)
        self.guard.check_weights(self.model, self.iteration, alone=True)
        self.feed.bad_samples.look()
        self._write(self._state(progress))
        logger.info("saved at iteration %d; to go on: --resume_model auto", self.iteration)

    def _write(self, state: Dict[str, Any]) -> None:
        if self.devices.rank > 0:
            return
        folder = self.save_dir / f"iter_{self.iteration}"
        save_checkpoint(folder, self.model, self.optimizer, state, self.step.state_dict())
        remove_old_checkpoints(self.save_dir, self.options.keep_checkpoint_max, self.iteration)

    def _state(self, progress: Progress) -> Dict[str, Any]:
        """What `state.json` holds; that the weights' files hold is as it is when they are written."""
        return {
            "iteration": self.iteration,
            "validated": self.validated,
            "iters": self.recipe.iters,
            "seed": self.options.seed,
            "total_batch": self._total_batch(),
            "best": {name: dict(best) for name, best in self.best.items()},
            "skipped": self.guard.skipped,
            "bad_samples": self.feed.bad_samples.found,
            "untold_losses": progress.untold(),
            "records": progress.records.lengths(),
        }

    def _total_batch(self) -> int:
        return self.recipe.batch_size * self.recipe.accumulate * self.devices.count

    def _checkpoint_to_resume(self) -> Optional[Path]:
        if self.devices.rank == 0:
            finish_replacements(self.save_dir)
        wait_for_all(self.devices)
        source = self.options.resume_model
        if source not in (None, "auto"):
            return Path(source)
        if source is None:
            found = list_checkpoints(self.save_dir)
            if found:
                logger.warning("%s of an earlier run stays; to go on from it: --resume_model auto", found[-1])
            return None
        folder = newest_intact(self.save_dir)
        if folder is None:
            logger.info("--resume_model auto: no checkpoint in %s yet, starting at iteration 0", self.save_dir)
            self.resumed = {"records": lengths_at_start(self.save_dir)}
        return folder

    def _resume(self, folder: Path) -> None:
        state = load_checkpoint(folder, self.model, self.optimizer)
        if state["seed"] != self.options.seed:
            raise UserError(f"{folder}: was trained with --seed {state['seed']}, not {self.options.seed}")
        if state["total_batch"] != self._total_batch():
            logger.warning(
                "%s: an iteration took %d images and now takes %d, so the order of the images is not the run's",
                folder,
                state["total_batch"],
                self._total_batch(),
            )
        self.iteration, self.validated = state["iteration"], state["validated"]
        self.guard.skipped, self.feed.bad_samples.found = state["skipped"], state["bad_samples"]
        self.schedule.step(self.iteration)
        if self.validation:
            self.validation.best = state["best"]
        if folder.resolve().parent != self.save_dir.resolve():
            state["records"] = None  # those of another folder
        self.resumed = state
        logger.info("resumed %s at iteration %d", folder, self.iteration)
