"""What happens to a training run when something goes wrong, and what is kept: docs/reliability.md as tests."""

import gc
import hashlib
import json
import logging
import multiprocessing
import os
import resource
import shutil
import signal

from compat import UserError, logger

import numpy as np
import paddle
import pytest
from paddle.io.dataloader.dataloader_iter import _DataLoaderIterMultiProcess

from data import sample_of
from engine.resilience.checkpoint import damage, list_checkpoints, newest_intact
from engine.resilience.folder_lock import LOCK
from engine.resilience.interruption import Interrupted
from engine.training.trainer import RunOptions, Trainer
from tests.helpers.tiny_training import tiny_network, tiny_recipe


@pytest.fixture
def lines():
    """What the log says meanwhile."""
    found = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


def train(recipe, folder, kind=Trainer, **options):
    with tiny_network():
        trainer = kind(recipe, RunOptions(save_dir=str(folder), seed=5, **options))
        trainer.fit()
    return trainer


def weights(trainer):
    return {name: tensor.numpy().copy() for name, tensor in trainer.model.state_dict().items()}


def same(ours, theirs):
    return all((ours[name] == theirs[name]).all() for name in {**ours, **theirs})


def hashes(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(sample_root, tmp_path_factory):
    """A run without faults: 8 iterations, saved at 3, 6 and 8."""
    return train(tiny_recipe(sample_root), tmp_path_factory.mktemp("whole"))


# --- signals ----------------------------------------------------------------------------------------------------------


class Signalled(Trainer):
    """Is sent a signal in the fifth iteration, between its two batches."""

    number = signal.SIGTERM

    def _train_batch(self, number, images, labels):
        if number == 9:
            os.kill(os.getpid(), self.number)
        return super()._train_batch(number, images, labels)


class SignalledByKeyboard(Signalled):
    number = signal.SIGINT


@pytest.mark.parametrize(("kind", "status"), [(Signalled, 143), (SignalledByKeyboard, 130)])
def test_a_signal_saves_and_leaves_within_one_iteration(kind, status, sample_root, tmp_path, whole):
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(Interrupted) as left:
        train(tiny_recipe(sample_root), tmp_path, kind)
    assert left.value.code == status
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert [path.name for path in list_checkpoints(tmp_path)] == ["iter_3", "iter_5"]
    assert same(weights(train(tiny_recipe(sample_root), tmp_path, resume_model="auto")), weights(whole))


def test_a_signal_while_validating_leaves_the_validation_to_the_resumed_run(sample_root, tmp_path, whole, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("engine.training.validation.evaluate_protocols", lambda *_, **__: os.kill(os.getpid(), 15))
        with pytest.raises(Interrupted):
            train(tiny_recipe(sample_root), tmp_path)
    state = json.loads((tmp_path / "iter_3" / "state.json").read_text())
    assert (state["iteration"], state["validated"], state["validation"]) == (3, 0, {"best": {}, "checksums": {}})
    resumed = train(tiny_recipe(sample_root), tmp_path, resume_model="auto")
    assert same(weights(resumed), weights(whole)) and resumed.best == whole.best
    assert (tmp_path / "train.log").read_text().count("[EVAL] full") == 3


def test_a_validation_that_fails_loses_no_iteration(sample_root, tmp_path, whole, monkeypatch):
    def fail(*_, **__):
        raise UserError("frankfurt_000000.png: cannot be read")

    with monkeypatch.context() as patch, pytest.raises(UserError, match="frankfurt_000000.png"):
        patch.setattr("engine.training.validation.evaluate_protocols", fail)
        train(tiny_recipe(sample_root), tmp_path)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["iter_3"]
    resumed = train(tiny_recipe(sample_root), tmp_path, resume_model="auto")
    assert same(weights(resumed), weights(whole)) and resumed.best == whole.best


def test_a_signal_while_the_best_weights_are_written_leaves_after_that(sample_root, tmp_path, monkeypatch):
    class SignalledWhileSaving(Trainer):
        """Is sent a signal when the best weights are complete, but not yet in place."""

        def _save(self, interruption):
            with monkeypatch.context() as patch:
                patch.setattr(os, "replace", signal_then_rename)
                super()._save(interruption)

    def signal_then_rename(source, target):
        if target == tmp_path / "best_model":
            os.kill(os.getpid(), signal.SIGTERM)
        os.rename(source, target)

    with pytest.raises(Interrupted):
        train(tiny_recipe(sample_root), tmp_path, SignalledWhileSaving)
    assert damage(tmp_path / "best_model") is None
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".") and path.name != LOCK]
    state = json.loads((tmp_path / "iter_4" / "state.json").read_text())
    assert (state["validated"], state["validation"]["best"]["full"]["iteration"]) == (3, 3)


# --- files ------------------------------------------------------------------------------------------------------------


def test_the_newest_intact_checkpoint_is_found(sample_root, tmp_path, whole, lines):
    shutil.copytree(whole.save_dir, tmp_path, dirs_exist_ok=True)
    newest = tmp_path / "iter_8" / "model.pdopt"
    newest.write_bytes(newest.read_bytes()[:-1])
    flipped = bytearray((tmp_path / "iter_6" / "model.pdparams").read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (tmp_path / "iter_6" / "model.pdparams").write_bytes(flipped)
    resumed = train(tiny_recipe(sample_root), tmp_path, resume_model="auto")
    said = [line for line in lines if "damaged" in line or "resumed" in line]
    assert "iter_8 is damaged (model.pdopt is not as it was written)" in said[0]
    assert "iter_6 is damaged (model.pdparams" in said[1] and "iter_3 at iteration 3" in said[2]
    assert same(weights(resumed), weights(whole))
    for folder in list_checkpoints(tmp_path):
        assert damage(folder) is None
        (folder / "state.json").unlink()
    with pytest.raises(UserError, match="all 3 checkpoints are damaged"):
        newest_intact(tmp_path)


@pytest.mark.parametrize("start", ["iter_3", None])
def test_what_was_saved_last_is_resumed_not_what_an_abandoned_run_left(start, sample_root, tmp_path, whole, lines):
    """Resumed from an earlier checkpoint, or begun anew, in the folder of a run that had come further."""
    folder = tmp_path / "used"
    shutil.copytree(whole.save_dir, folder)
    with pytest.raises(Interrupted):
        train(tiny_recipe(sample_root), folder, Signalled, resume_model=start and str(folder / start))
    last = folder / "iter_8"
    assert (
        f"{last} of an earlier run stays until this one comes as far; to go on from it: --resume_model {last}"
        in "".join(lines)
    )
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied, copy_function=shutil.copy)  # which gives the files new times, in any order
    resumed = train(tiny_recipe(sample_root), copied, resume_model="auto")
    assert f"resumed {copied / 'iter_5'} at iteration 5" in lines
    assert same(weights(resumed), weights(whole))


def test_only_as_many_checkpoints_stay_as_asked_for(sample_root, tmp_path):
    (tmp_path / "iter_9000").mkdir()  # of an earlier run, which must not count: it would push out the new ones
    train(tiny_recipe(sample_root), tmp_path, validate=False, keep_checkpoint_max=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["iter_6", "iter_8", "iter_9000"]


def test_a_disk_too_full_for_the_log(sample_root, tmp_path, capfd):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    recipe = tiny_recipe(sample_root, iters=300, log_iters=1, save_interval=300)
    with tiny_network():
        trainer = Trainer(recipe, RunOptions(save_dir=str(tmp_path), validate=False))
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
        try:
            with pytest.raises(UserError, match="nothing more can be written .*make room; .*--resume_model auto"):
                trainer.fit()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert 1800 < (tmp_path / "train.log").stat().st_size <= 2000 and "Traceback" not in capfd.readouterr().err


def test_output_that_cannot_be_written(sample_root):
    with pytest.raises(UserError, match="/proc/output: cannot write there .*choose another --save_dir"):
        train(tiny_recipe(sample_root), "/proc/output")


# --- losses -----------------------------------------------------------------------------------------------------------


class Diverging(Trainer):
    """The second batch of some iterations is not finite."""

    bad = (5,)

    def _train_batch(self, number, images, labels):
        if number in [2 * iteration - 1 for iteration in self.bad]:
            spoil = self.model.head.register_forward_post_hook(lambda layer, inputs, logits: logits * float("nan"))
            try:
                return super()._train_batch(number, images, labels)
            finally:
                spoil.remove()
        return super()._train_batch(number, images, labels)


class DivergingTwice(Diverging):
    bad = (2, 5)


class DivergingOnGpu(Diverging):
    """Checks losses only where they are read anyway, as on a GPU."""

    def fit(self):
        self.guard.checks_at_once = False
        return super().fit()


@pytest.mark.parametrize("kind", [Diverging, DivergingOnGpu])
def test_a_loss_that_is_not_finite_stops_the_run(kind, sample_root, tmp_path, whole):
    with pytest.raises(UserError) as stopped:
        train(tiny_recipe(sample_root), tmp_path, kind)
    _, index = sample_of(9, 6, seed=5)
    file = whole.train_set.file_list[index][0]
    for words in ("iteration 5: the loss is not finite", "main nan", file, "not_finite_iter_5.npz", "--on_nan skip"):
        assert words in str(stopped.value)
    batch = np.load(tmp_path / "not_finite_iter_5.npz")
    assert batch["images"].shape == (1, 32, 32, 3) and batch["labels"].shape == (1, 32, 32)
    assert list(batch["files"]) == [file]
    assert [path.name for path in list_checkpoints(tmp_path)] == ["iter_3"]
    assert hashes(tmp_path / "iter_3")["model.pdparams"] == hashes(whole.save_dir / "iter_3")["model.pdparams"]
    state = json.loads((tmp_path / "iter_3" / "state.json").read_text())
    assert state["validation"]["best"]["full"]["iteration"] == 3 and damage(tmp_path / "best_model") is None
    assert same(weights(train(tiny_recipe(sample_root), tmp_path, resume_model="auto")), weights(whole))


class DivergingAtACheckpoint(DivergingOnGpu):
    bad = (3,)  # which writes no log line


def test_losses_are_read_before_a_checkpoint(sample_root, tmp_path):
    with pytest.raises(UserError, match="iteration 3: the loss is not finite"):
        train(tiny_recipe(sample_root), tmp_path, DivergingAtACheckpoint)
    assert not list_checkpoints(tmp_path) and (tmp_path / "not_finite_iter_3.npz").is_file()


def test_skipping_updates_nothing(sample_root, tmp_path, whole, lines):
    class Watched(Diverging):
        def _train_batch(self, number, images, labels):
            losses = super()._train_batch(number, images, labels)
            if number in (7, 9):
                velocity = {k: v.numpy() for k, v in self.optimizer.state_dict().items() if k.endswith("velocity_0")}
                averages = {k: v.numpy().copy() for k, v in self.step.average.state_dict().items()}
                self.seen = [*getattr(self, "seen", []), ({**weights(self), **velocity}, averages)]
            return losses

    trainer = train(tiny_recipe(sample_root), tmp_path, Watched, on_nan="skip", max_skipped=1)
    (before, average_before), (after, average_after) = trainer.seen
    assert len(before) > 6 and [name for name in before if (before[name] != after[name]).any()] == []
    assert same(average_before, average_after)
    assert trainer.iteration == 8 and trainer.schedule.last_epoch == 8
    assert all(np.isfinite(value).all() for value in weights(trainer).values())
    assert any("iteration 5" in line and "(1 of at most 1)" in line for line in lines)
    assert json.loads((tmp_path / "iter_8" / "state.json").read_text())["guard"] == {"skipped": 1}
    lines = [line for line in (tmp_path / "train.log").read_text().splitlines() if "[TRAIN]" in line]
    assert len(lines) == 4 and not any("nan" in line for line in lines)
    with pytest.raises(UserError, match="iteration 5: .* 1 iterations were skipped before, and --max_skipped allows 1"):
        train(tiny_recipe(sample_root), tmp_path / "twice", DivergingTwice, on_nan="skip", max_skipped=1)


def test_weights_that_are_not_finite_are_never_kept(sample_root, tmp_path):
    class Spoilt(Trainer):
        def _train_batch(self, number, images, labels):
            losses = super()._train_batch(number, images, labels)
            if number == 5:
                self.model.head.bias.set_value(paddle.full([19], float("inf")))
            return losses

    with pytest.raises(UserError, match="iteration 3: the losses were finite, but a weight is not"):
        train(tiny_recipe(sample_root), tmp_path, Spoilt)
    assert not list_checkpoints(tmp_path) and not (tmp_path / "best_model").exists()


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def corrupt_root(sample_root, tmp_path):
    """The sample with two images that end early."""
    root = tmp_path / "data"
    shutil.copytree(sample_root, root)
    for image in sorted((root / "leftImg8bit" / "train").rglob("*.png"))[:2]:
        image.write_bytes(image.read_bytes()[:-40])
    return root


def test_bad_images(corrupt_root, tmp_path, lines):
    recipe = tiny_recipe(corrupt_root)
    with pytest.raises(UserError, match="leftImg8bit.*png: not a complete image file"):
        train(recipe, tmp_path / "none")
    with pytest.raises(UserError, match="bad sample number 2, and --skip_bad_samples allows 1"):
        train(recipe, tmp_path / "one", skip_bad_samples=1)
    two = train(recipe, tmp_path / "two", skip_bad_samples=2)
    listed = (tmp_path / "two" / "bad_samples.txt").read_text().splitlines()
    assert len(listed) == 2 and all("not a complete image file" in line for line in listed)
    assert sum("skipped:" in line and "(bad sample 2 of at most 2)" in line for line in lines) == 1
    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "again", Signalled, skip_bad_samples=2)
    again = train(recipe, tmp_path / "again", skip_bad_samples=2, resume_model="auto")
    assert (
        same(weights(again), weights(two)) and again.feed.bad_samples.found.keys() == two.feed.bad_samples.found.keys()
    )


# --- processes --------------------------------------------------------------------------------------------------------


def test_a_killed_loader_process(sample_root, tmp_path):
    class Robbed(Trainer):
        def _train_batch(self, number, images, labels):
            if number == 9:
                multiprocessing.active_children()[0].kill()
            return super()._train_batch(number, images, labels)

    recipe = tiny_recipe(sample_root, iters=4000, test_config__full__scales=0.25)
    with pytest.raises(UserError, match="a loader process is gone .*use fewer --num_workers; .*--resume_model auto"):
        train(recipe, tmp_path, Robbed, num_workers=2, validate=False)
    assert damage(tmp_path / "iter_3") is None
    for reader in gc.get_objects():  # or Paddle reports the killed process again when a later test's process ends
        if isinstance(reader, _DataLoaderIterMultiProcess):
            paddle.base.core._erase_process_pids(id(reader))
            reader._try_shutdown_all()
