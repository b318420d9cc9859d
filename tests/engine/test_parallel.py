"""Two processes on one CPU, by Paddle's launcher."""

import os
import subprocess
import sys

import numpy as np
import paddle
import pytest

from data.renderer.sample import render_sample
from engine.build import dataset_of
from engine.evaluation.evaluator import evaluate
from engine.resilience.checkpoint import damage, list_checkpoints
from tests.helpers.tiny_training import TinyNetwork, tiny_recipe
from tests.helpers.two_processes import batch_of_four, gradients_of, network


def test_two_processes_train_one_network(sample_root, tmp_path):
    launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", tmp_path / "ranks"]
    flags = ["--config", "configs/stdc1_seg_sample.yml", "--dataset_root", sample_root, "--save_dir", tmp_path / "out"]
    flags += ["--iters", 2, "--batch_size", 1, "--accumulate", 2, "--log_iters", 1, "--learning_rate", "auto"]
    flags += ["--opts", "train_dataset.transforms.RandomPaddingCrop.crop_size=[64,64]"]
    command = [sys.executable, *launch, "train.py", *flags]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=180)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    log = (tmp_path / "out" / "train.log").read_text()
    assert log.count("iter: 2/2") == 1 and log.count("[EVAL] full: #Images: 3") == 1
    assert (tmp_path / "out" / "iter_2" / "model.pdopt").is_file()
    spoken = "".join(path.read_text() for path in (tmp_path / "ranks").glob("workerlog.*"))
    assert "becomes 0.01 for 4 (batch 1 on 2 device(s), accumulated 2)" in spoken


def launch(what, sample, folder):
    """Run tests/helpers/two_processes.py twice; returns the exit status and what the processes said."""
    command = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", folder / "said"]
    command += ["tests/helpers/two_processes.py", what, sample, folder]
    environment = {**os.environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, timeout=300)
    return done.returncode, "".join(path.read_text() for path in (folder / "said").glob("workerlog.*"))


@pytest.fixture(scope="module")
def five_images(tmp_path_factory):
    """A sample with 5 validation images."""
    root = tmp_path_factory.mktemp("five")
    render_sample(str(root), train=2, val=5, size=(128, 64), seed=1)
    return root


@pytest.fixture(scope="module")
def sums(five_images, tmp_path_factory):
    """The folder with what two processes computed."""
    folder = tmp_path_factory.mktemp("two")
    status, said = launch("sums", five_images, folder)
    assert status == 0, said
    return folder


def gradients(folder, rank, loss):
    found = np.load(folder / f"gradients_{rank}.npz")
    return [found[f"{loss}/{number}"] for number in range(4)]


def assert_equal(ours, theirs, tolerance=1e-6):
    for one, other in zip(ours, theirs):
        assert np.abs(other).max() > 1e-3 and np.abs(one - other).max() <= tolerance


@pytest.mark.parametrize("accumulated", ["", "_accumulated"])
def test_two_devices_have_the_gradients_of_one_with_the_whole_batch(sums, accumulated):
    whole = gradients_of(network(), "cross_entropy", [batch_of_four()])
    for rank in (0, 1):
        assert_equal(gradients(sums, rank, "cross_entropy" + accumulated), whole)


def test_hard_examples_are_sought_on_each_device_and_in_each_accumulated_batch_alone(sums):
    images, labels = batch_of_four()
    halves = [(images[i : i + 2], labels[i : i + 2]) for i in (0, 2)]
    singles = [(images[i : i + 1], labels[i : i + 1]) for i in range(4)]
    mean_of_halves = gradients_of(network(), "ohem", halves, 1 / 2)
    mean_of_singles = gradients_of(network(), "ohem", singles, 1 / 4)
    for rank in (0, 1):
        assert_equal(gradients(sums, rank, "ohem"), mean_of_halves)
        assert_equal(gradients(sums, rank, "ohem_accumulated"), mean_of_singles)
    whole = gradients_of(network(), "ohem", [(images, labels)])
    different = [np.abs(one - other).max() for one, other in zip(whole, mean_of_halves)]
    assert max(different) > 1e-3  # which is why docs/training.md states it


def test_sharded_evaluation_has_the_integers_of_one_process(sums, five_images):
    recipe = tiny_recipe(five_images)
    paddle.seed(3)
    scores = evaluate(TinyNetwork(), dataset_of(recipe.val_dataset), recipe.test_config["full"])
    for rank in (0, 1):
        found = np.load(sums / f"areas_{rank}.npz")
        assert found["images"] == 5 == scores.images
        assert found["means"] == pytest.approx(0.1)  # the first process's running statistics: 0.9 * 0 + 0.1 * 1
        assert found["confusion"].sum() > 30000 and (found["confusion"] == scores.confusion).all()


def test_a_device_that_dies_ends_the_run_with_a_line(five_images, tmp_path):
    status, said = launch("death", five_images, tmp_path)
    assert status != 0 and "error: the process of another device is gone" in said and "Traceback" not in said
    (checkpoint,) = list_checkpoints(tmp_path)
    assert checkpoint.name == "iter_2" and damage(checkpoint) is None


def test_a_signal_to_all_devices_saves_once(five_images, tmp_path):
    status, said = launch("signal", five_images, tmp_path)
    assert status != 0 and "saved at iteration 4" in said and "Traceback" not in said, said
    assert [path.name for path in list_checkpoints(tmp_path)] == ["iter_2", "iter_4"]
    assert all(damage(path) is None for path in list_checkpoints(tmp_path))
