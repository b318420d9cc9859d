"""Checkpoints: those of the first format resume, and every file is read once."""

import hashlib
import json
import re
import shutil
import sys

from compat import UserError, logger

import pytest

from engine.resilience.checkpoint import CHECKSUMS, newest_intact
from engine.training.options import RunOptions
from engine.training.state import RunState
from engine.training.trainer import Trainer
from tests.helpers.tiny_training import TinyNetwork, tiny_network, tiny_recipe, train

# What a run of 3 iterations wrote before the parts of a run had states of their own.
FIRST_FORMAT = """{
 "iteration": 3,
 "validated": 3,
 "iters": 8,
 "seed": 5,
 "total_batch": 2,
 "best": {"full": {"miou": 0.9, "iteration": 2}},
 "skipped": 1,
 "bad_samples": {"a.png": "not a complete image file"},
 "untold_losses": [{"loss": 3.395953416824341, "main": 3.395953416824341}],
 "records": {"train.log": 253}
}"""


def weights(trainer):
    return {name: tensor.numpy() for name, tensor in trainer.model.state_dict().items()}


def losses_in_log(folder):
    lines = (folder / "train.log").read_text().splitlines()
    return [re.search(r"iter: .* lr:", line)[0] for line in lines if "[TRAIN]" in line]


@pytest.fixture(scope="module")
def whole(sample_root, tmp_path_factory):
    """8 iterations without interruption, saved at 3, 6 and 8."""
    return train(tiny_recipe(sample_root, log_iters=4), save_dir=str(tmp_path_factory.mktemp("whole")))


@pytest.fixture
def first_format(whole, tmp_path):
    """A folder with `iter_3` of that run as the first format has it."""
    folder = tmp_path / "iter_3"
    shutil.copytree(whole.save_dir / "iter_3", folder)
    losses = json.loads((folder / "state.json").read_text())["progress"]["pending_losses"]
    state = {**json.loads(FIRST_FORMAT), "untold_losses": losses}
    (folder / "state.json").write_text(json.dumps(state))
    files = sorted(path for path in folder.iterdir() if path.name != CHECKSUMS)
    assert [path.name for path in files] == ["model.pdopt", "model.pdparams", "state.json", "training.pdstate"]
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    (folder / CHECKSUMS).write_text(sums)
    return tmp_path


def test_the_first_format_resumes_to_the_bit(whole, first_format, sample_root):
    resumed = train(tiny_recipe(sample_root, log_iters=4), save_dir=str(first_format), resume_model="auto")
    expected, found = weights(whole), weights(resumed)
    assert expected.keys() == found.keys() and all((expected[name] == found[name]).all() for name in expected)
    last = [newest_intact(folder) for folder in (whole.save_dir, first_format)]
    for part in (lambda one: one.optimizer, lambda one: one.extra["average"]):
        expected, found = map(part, last)
        assert len(expected) > 6 and expected.keys() == found.keys()
        assert all((expected[name].numpy() == found[name].numpy()).all() for name in expected if name != "LR_Scheduler")
    assert resumed.best == {"full": {"miou": 0.9, "iteration": 2}}
    assert resumed.guard.skipped == 1 and list(resumed.feed.bad_samples.found) == ["a.png"]
    lines = [losses_in_log(folder) for folder in (whole.save_dir, first_format)]
    assert len(lines[0]) == 2 and lines[0] == lines[1]  # the first line averages losses from before the checkpoint


def test_the_state_survives_its_file():
    state = RunState.from_json(json.loads(FIRST_FORMAT))
    assert state.records == {"lengths": {"train.log": 253}} and state.guard == {"skipped": 1}
    assert RunState.from_json(json.loads(json.dumps(state.to_json()))) == state


OPENED = []  # files that were opened while it holds a list
sys.addaudithook(lambda event, arguments: OPENED and event == "open" and OPENED[-1].append(str(arguments[0])))


@pytest.mark.parametrize("resume", ["auto", "iter_8"])
def test_every_file_is_read_once(resume, whole, sample_root, tmp_path):
    shutil.copytree(whole.save_dir, tmp_path, dirs_exist_ok=True)
    OPENED.append([])
    try:
        train(
            tiny_recipe(sample_root, log_iters=4),
            save_dir=str(tmp_path),
            resume_model=resume if resume == "auto" else str(tmp_path / resume),
        )
    finally:
        opened = OPENED.pop()
    files = [str(path) for path in (tmp_path / "iter_8").iterdir()]
    states = [str(tmp_path / "iter_8" / "state.json")]  # also read to find out which one is the newest
    assert len(files) == 5 and sorted(name for name in opened if "iter_8" in name) == sorted(files + states)


def test_a_resumed_run_needs_no_weights_but_its_own(whole, sample_root, tmp_path, monkeypatch):
    """Such as a job whose command stays the same, on a host without the files that it began with."""
    shutil.copytree(whole.save_dir / "iter_3", tmp_path / "iter_3")
    read, said, lines = [], [], []

    def network_of(recipe, num_classes, weights=True):
        read.append(weights)
        return TinyNetwork()

    monkeypatch.setattr("engine.training.trainer.network_of", network_of)
    monkeypatch.setattr(logger, "warning", lambda *words: said.append(words[0] % words[1:]))
    monkeypatch.setattr(logger, "info", lambda *words: lines.append(words[0] % words[1:]))
    options = {"seed": 5, "validate": False, "save_dir": str(tmp_path), "resume_model": "auto"}
    resumed = Trainer(tiny_recipe(sample_root, batch_size=3), RunOptions(load_from="gone.pdparams", **options))
    assert any("--load_from gone.pdparams is not used any more" in line for line in lines)
    expected = newest_intact(tmp_path).weights
    assert all((expected[name].numpy() == value).all() for name, value in weights(resumed).items())
    assert read == [False] and resumed.iteration == 3
    assert said == [f"{tmp_path}/iter_3: an iteration took 2 images and now takes 6, so the order of images changes"]
    Trainer(tiny_recipe(sample_root), RunOptions(**options))
    Trainer(tiny_recipe(sample_root), RunOptions(**{**options, "save_dir": str(tmp_path / "new")}))
    assert read == [False, False, True]
    elsewhere = {"save_dir": str(tmp_path / "other"), "resume_model": str(tmp_path / "iter_3")}
    started = Trainer(tiny_recipe(sample_root), RunOptions(**{**options, **elsewhere}))
    assert resumed.records.lengths and not started.records.lengths  # the other folder's log is not cut


def test_a_folder_without_checkpoints(tmp_path):
    assert newest_intact(tmp_path) is None


@pytest.mark.parametrize("schedule", ["PolynomialDecay", "Constant"])
def test_a_resumed_run_of_another_length_is_told_that_its_rates_change(
    schedule, whole, sample_root, tmp_path, monkeypatch
):
    said = []
    monkeypatch.setattr(logger, "warning", lambda *words: said.append(words[0] % words[1:]))
    recipe = tiny_recipe(sample_root, iters=9, lr_scheduler={"type": schedule, "learning_rate": 0.01})
    options = RunOptions(seed=5, save_dir=str(tmp_path), resume_model=str(whole.save_dir / "iter_3"), validate=False)
    with tiny_network():
        Trainer(recipe, options)
    changes = f"{whole.save_dir}/iter_3: its run had 8 iterations and this one has 9, so the learning rates change"
    assert said == ([changes] if schedule == "PolynomialDecay" else [])


@pytest.mark.parametrize("change", ["type", "frozen"])
def test_a_checkpoint_of_another_optimiser_is_named(change, sample_root, tmp_path):
    few = {"iters": 3, "save_interval": 3}
    frozen = tiny_recipe(sample_root, optimizer__frozen="features", **few)
    train(frozen, save_dir=str(tmp_path))
    optimizer = {"type": "AdamW"} if change == "type" else {"weight_decay": 0.0}
    recipe = tiny_recipe(sample_root, **{**few, "iters": 4}, optimizer=optimizer)
    with pytest.raises(UserError, match="optimiser has another type or trained other parameters.*--load_from"):
        train(recipe, save_dir=str(tmp_path), resume_model="auto")
