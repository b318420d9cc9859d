"""The training loop."""

import contextlib
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

from compat import UserError, logger

import paddle
from paddle import nn

from data.check import warn_of_single_class
from engine.build import (
    choose_gpu_kernels,
    criterion_of,
    default_workers,
    network_of,
    prepared_for_training,
    seed_draws,
    seed_everything,
    training_datasets,
)
from engine.parallel import join_devices, share_statistics, wait_for_all
from engine.recipe import Recipe
from engine.recipe.optimization import Constant
from engine.resilience.checkpoint import (
    MODEL,
    Checkpoint,
    finish_replacements,
    in_order_of_writing,
    newest_intact,
    prepare_save_dir,
    read_checkpoint,
    remove_old_checkpoints,
    save_checkpoint,
)
from engine.resilience.divergence import LossGuard
from engine.resilience.faults import named_faults
from engine.resilience.folder_lock import FolderLock
from engine.resilience.interruption import Interrupted, Interruption
from engine.resilience.records import Records
from engine.training.distillation import Distiller, build_distiller
from engine.training.ema import WeightAverage, ramp_of
from engine.training.feed import Feed
from engine.training.finetuning import take_starting_weights
from engine.training.memory import training_advice
from engine.training.optimizer import build_optimizer, build_schedule
from engine.training.options import AUTO, RunOptions
from engine.training.precision import Precision
from engine.training.progress import Progress
from engine.training.sparsity import shrinkage_of
from engine.training.state import RunState
from engine.training.step import TrainStep
from engine.training.validation import Validation
from models.weights import load_weights

EVALUATION_MEMORY = "evaluation takes images one by one: a smaller scale, or is_slide with a crop_size, in test_config"


class Trainer:
    """Trains the network of a recipe.

    Args:
        recipe: what to compute.
        options: how to run it.

    Raises:
        UserError: for data, weights or folders that cannot be used, before anything is trained.
    """

    def __init__(self, recipe: Recipe, options: RunOptions):
        self.recipe, self.options = recipe, options
        self.devices = join_devices()
        self.num_workers = default_workers() if options.num_workers is None else options.num_workers
        self.iteration = 0  # updates made
        self.validated = 0  # last iteration that was saved with its validation, if the run has one

        self.train_set, self.val_set = training_datasets(recipe, options.validate)
        if self._is_first:
            warn_of_single_class(self.train_set)
        self.save_dir = prepare_save_dir(options.save_dir)
        self.lock = FolderLock(self.save_dir) if self._is_first else contextlib.nullcontext()
        self.feed = self._build_feed()
        self.validation = self._build_validation()
        self.kept_validation: Mapping[str, Any] = {}  # of a run that is resumed without validation, for when it has one
        self.records = Records(self.save_dir, options.use_vdl and self._is_first)
        self.progress = Progress(recipe, len(self.train_set), self.devices, self.records)

        checkpoint = self._checkpoint_to_resume()
        choose_gpu_kernels(recipe, options.deterministic)
        seed_everything(options.seed, options.deterministic)
        self.model, self.criterion = self._build_network(checkpoint)
        self.schedule = build_schedule(recipe.lr_scheduler, recipe.iters)
        self.optimizer = build_optimizer(recipe.optimizer, self.schedule, (self.model, self.criterion))
        self.guard = self._build_guard()
        self.step = self._build_step()
        if checkpoint:
            self._resume(checkpoint)
        self._seed_draws()

    @property
    def best(self) -> Dict[str, Dict[str, float]]:
        """{protocol: {"miou": best mIoU, "iteration": where}}; empty without validation."""
        return self.validation.best if self.validation else {}

    def fit(self) -> Dict[str, Dict[str, float]]:
        """Train to the recipe's last iteration and return `best`.

        Raises:
            Interrupted: after SIGTERM or SIGINT, when the checkpoint is written.
            UserError: when the run stops for a reason that the user can change.
        """
        # The optimiser names its states at its first step: from 0 here too, see _build_network.
        names = paddle.utils.unique_name.guard()
        faults = named_faults(self.devices.count, lambda: training_advice(self.recipe, self.train_set))
        with self.lock, names, faults, self.records, Interruption(decides=self._is_first) as interruption:
            self.progress.restart_clock()
            if self._save_is_due() and self.validated < self.iteration:  # the run was stopped while it validated
                self._save(interruption)
            if self.iteration >= self.recipe.iters or self._stops_early():
                logger.info("nothing to do: the run is at iteration %d of %d", self.iteration, self.recipe.iters)
                return self.best
            self._train(interruption)
        return self.best

    # --- what is built ------------------------------------------------------------------------------------------------

    def _build_feed(self) -> Feed:
        return Feed(
            self.train_set,
            self.recipe.batch_size,
            self.options.seed,
            self.num_workers,
            self.devices,
            self.options.skip_bad_samples,
            self.save_dir,
        )

    def _build_validation(self) -> Optional[Validation]:
        if self.val_set is None:
            return None
        return Validation(self.val_set, self.recipe.test_config, self.save_dir, self.devices, self.num_workers)

    def _build_network(self, checkpoint: Optional[Checkpoint]) -> Tuple[nn.Layer, nn.Layer]:
        """Network and criterion, with weights from the checkpoint, else from the options, else from the recipe."""
        # The guard numbers parameters from 0, so that optimiser states fit however many networks were built before.
        with paddle.utils.unique_name.guard():
            others = checkpoint or self.options.starting_weights
            network = network_of(self.recipe, self.train_set.num_classes, weights=not others)
            model = prepared_for_training(network, self.recipe, self.devices)
            criterion = criterion_of(self.recipe, model, self.train_set)
        if checkpoint:
            load_weights(model, checkpoint.weights, where=str(checkpoint.folder / MODEL))
        else:
            take_starting_weights(model, self.recipe, self.options)
        return model, criterion

    def _build_guard(self) -> LossGuard:
        policy = (self.options.on_nan, self.options.skips_allowed)
        return LossGuard(*policy, self.recipe.accumulate, self.feed.read, self.save_dir, self.devices)

    def _build_step(self) -> TrainStep:
        return TrainStep(
            self.model,
            self.criterion,
            self.optimizer,
            self.schedule,
            Precision(self.recipe.precision, self.recipe.amp_level, type(self.optimizer).__name__.lower()),
            self._build_average if self.recipe.ema_decay else None,
            self.guard,
            self.recipe.accumulate,
            self.devices,
            self._build_distiller() if self.recipe.distill else None,
            shrinkage_of(self.recipe.optimizer, self.model),
        )

    def _build_distiller(self) -> Distiller:
        normalize = self.train_set.transform.normalize
        return build_distiller(self.recipe, self.train_set.num_classes, self.model.output_names, normalize)

    def _build_average(self, model: nn.Layer) -> WeightAverage:
        return WeightAverage(model, self.recipe.ema_decay, ramp_of(self.recipe))

    # --- training -----------------------------------------------------------------------------------------------------

    def _train(self, interruption: Interruption) -> None:
        self.step.replica.train()
        start, stop = (iteration * self.recipe.accumulate for iteration in (self.iteration, self.recipe.iters))
        for number, images, labels in self.feed.batches(start, stop):
            self.progress.batch_read()
            rate = self.schedule.get_lr()
            self.progress.batch_done(self._train_batch(number, images, labels))
            if (number + 1) % self.recipe.accumulate:
                continue
            self.iteration += 1
            self._seed_draws()
            if self.progress.line_is_due(self.iteration) or self._save_is_due():
                self.guard.check()
                self.feed.bad_samples.check()
            self.progress.iteration_done(self.iteration, rate)
            if interruption.requested:
                self._save_alone()
                interruption.leave_if_requested()
            if self._save_is_due():
                self._save(interruption)
                self.progress.restart_clock()
                if self._stops_early():
                    return

    def _train_batch(self, number: int, images: paddle.Tensor, labels: paddle.Tensor) -> Dict[str, paddle.Tensor]:
        """Call `self.step`; images are [N, H, W, 3] uint8 RGB, and normalised here."""
        return self.step(number, self.train_set.transform.normalize.on_device(images), labels)

    def _seed_draws(self) -> None:
        seed_draws(self.options.seed, self.iteration, self.devices.rank if self.options.diff_seed else 0)

    def _stops_early(self) -> bool:
        """Whether no validation of the recipe's last `early_stop_intervals` found better weights; the log says so."""
        allowed = self.recipe.early_stop_intervals * self.recipe.save_interval
        found = self.validation.best_iteration if self.validation and allowed else None
        if found is None or self.validated - found < allowed:
            return False
        logger.info("stopping early: no validation since iteration %d had a better mIoU", found)
        return True

    # --- saving -------------------------------------------------------------------------------------------------------

    def _save_is_due(self) -> bool:
        at = self.iteration
        return at > 0 and (at % self.recipe.save_interval == 0 or at >= self.recipe.iters)

    def _save(self, interruption: Interruption) -> None:
        """Validate, keep the best, write the checkpoint; if interrupted, the resumed run repeats the validation."""
        self.guard.check_weights(self.model, self.iteration)
        before = self._state()
        try:
            if self.validation:
                with self.step.applied_average(), self.step.precision.evaluation():
                    share_statistics(self.model, self.devices)
                    with named_faults(self.devices.count, lambda: EVALUATION_MEMORY):
                        leaving = interruption.leaving_anywhere()
                        self.validation.run(self.model, self.iteration, self.progress, leaving)
        except Interrupted:
            self._write(before)
            raise
        self.validated = self.iteration
        self._write(self._state())

    def _save_alone(self) -> None:
        """Write a checkpoint after a signal, which only this process acts on: without collective calls."""
        self.guard.check(alone=True)
        self.guard.check_weights(self.model, self.iteration, alone=True)
        self.feed.bad_samples.check()
        self._write(self._state())
        logger.info("saved at iteration %d; to go on: --resume_model auto", self.iteration)

    def _write(self, state: RunState) -> None:
        if not self._is_first:
            return
        folder = self.save_dir / f"iter_{self.iteration}"
        save_checkpoint(folder, self.model, self.optimizer, state.to_json(), self.step.state_dict())
        remove_old_checkpoints(self.save_dir, self.options.keep_checkpoint_max, self.iteration)

    def _parts(self) -> Dict[str, Any]:
        """The parts that have a state of their own, by their names in RunState."""
        parts = {
            "guard": self.guard,
            "bad_samples": self.feed.bad_samples,
            "progress": self.progress,
            "records": self.records,
        }
        return {**parts, "validation": self.validation} if self.validation else parts

    def _state(self) -> RunState:
        """The run's present state, except for tensors, which are taken when they are written."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        parts.setdefault("validation", self.kept_validation)
        return RunState(
            iteration=self.iteration,
            validated=self.validated,
            iters=self.recipe.iters,
            seed=self.options.seed,
            total_batch=self._total_batch(),
            **parts,
        )

    def _total_batch(self) -> int:
        return self.recipe.batch_size * self.recipe.accumulate * self.devices.count

    # --- resuming -----------------------------------------------------------------------------------------------------

    def _resume(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint, whose weights the network has already."""
        state = RunState.from_json(checkpoint.state)
        self._check_origin(checkpoint.folder, state)
        self.iteration, self.validated = state.iteration, state.validated
        self.optimizer.set_state_dict(checkpoint.optimizer)
        self.schedule.step(state.iteration)
        self.step.set_state_dict(checkpoint.extra)
        parts = self._parts()
        if not self.validation:
            self.kept_validation = state.validation
        if not self._is_first or checkpoint.folder.resolve().parent != self.save_dir.resolve():
            del parts["records"]  # those of another process or folder
        for name, part in parts.items():
            part.set_state_dict(getattr(state, name))
        unused = self.options.starting_weights and f"; {self.options.starting_weights} is not used any more"
        logger.info("resumed %s at iteration %d%s", checkpoint.folder, self.iteration, unused)

    def _checkpoint_to_resume(self) -> Optional[Checkpoint]:
        """Read the checkpoint that the options name, if any."""
        if self._is_first:
            finish_replacements(self.save_dir)
        wait_for_all(self.devices)
        source = self.options.resume_model
        if source != AUTO:
            for last in in_order_of_writing(self.save_dir)[-1:]:
                if source is None or last.resolve() != Path(source).resolve():  # auto takes it until this run has saved
                    logger.warning("%s of an earlier run stays; to go on from it: --resume_model %s", last, last)
            return read_checkpoint(Path(source)) if source else None
        checkpoint = newest_intact(self.save_dir)
        if checkpoint is None:
            logger.info("--resume_model auto: no checkpoint in %s yet, starting at iteration 0", self.save_dir)
            if self._is_first:
                self.records.start_over()
        return checkpoint

    def _check_origin(self, folder: Path, state: RunState) -> None:
        """Raises UserError for the checkpoint of a run with another seed; warns where images or rates change."""
        if state.seed != self.options.seed:
            raise UserError(f"{folder}: was trained with --seed {state.seed}, not {self.options.seed}")
        if state.total_batch != self._total_batch():
            logger.warning(
                "%s: an iteration took %d images and now takes %d, so the order of images changes",
                folder,
                state.total_batch,
                self._total_batch(),
            )
        if state.iters != self.recipe.iters and not isinstance(self.recipe.lr_scheduler, Constant):
            logger.warning(
                "%s: its run had %d iterations and this one has %d, so the learning rates change",
                folder,
                state.iters,
                self.recipe.iters,
            )

    @property
    def _is_first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.devices.rank == 0
