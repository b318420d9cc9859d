"""Two processes on one CPU, by Paddle's launcher."""

import json
import os
import socket
import subprocess
import sys
import zipfile

import numpy as np
import paddle
import pytest

from data.cache import Cache
from data.datasets import build_dataset
from data.renderer.sample import render_sample
from engine.build import dataset_of
from engine.evaluation.evaluator import evaluate
from engine.parallel import Devices, gather, shard
from engine.resilience.checkpoint import damage, list_checkpoints
from models import build_model
from tests.helpers.tiny_training import TinyNetwork, tiny_recipe
from tests.helpers.two_processes import batch_of_four, commands, gradients_of, network

pytestmark = pytest.mark.skipif(
    paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() < 2,
    reason="the launcher of a Paddle for CUDA gives each process a GPU of its own",
)


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


def launch(what, sample, folder, hosts=1):
    """Run tests/helpers/two_processes.py twice, on one host, or on two that two launchers on the loopback stand for.

    Returns:
        The exit status, of two hosts the larger, and what the processes said.
    """
    environment = {**os.environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": "1"}
    launchers = []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        master = f"127.0.0.1:{free.getsockname()[1]}"
    for host in range(hosts):
        command = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", 2 // hosts]
        command += ["--nnodes", hosts, "--rank", host, "--master", master] if hosts > 1 else []
        command += ["--log_dir", folder / "said" / f"{what}_{host}", "tests/helpers/two_processes.py"]
        command = [str(word) for word in [*command, what, sample, folder]]
        launchers.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    try:
        for launcher in launchers:
            launcher.communicate(timeout=300)
    finally:
        for launcher in launchers:
            launcher.kill()
    said = "".join(path.read_text() for path in (folder / "said").glob(f"{what}_*/workerlog.*"))
    return max(abs(launcher.returncode) for launcher in launchers), said


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
        assert found["flags"].tolist() == [True, True, False]  # such as of a loss that is not finite on one of them
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


@pytest.fixture(scope="module")
def two_hosts(five_images, tmp_path_factory):
    """The folder with what two hosts computed, of one process each."""
    folder = tmp_path_factory.mktemp("hosts")
    write_weights(folder)
    status, said = launch("hosts", five_images, folder, hosts=2)
    assert status == 0, said
    return folder


def write_weights(folder):
    """A network that does not say the same of every pixel."""
    paddle.seed(7)
    paddle.save(build_model("stdc1_seg", 19).state_dict(), str(folder / "weights.pdparams"))


def test_two_hosts_train_and_evaluate_as_one(sums, two_hosts):
    for rank in (0, 1):
        for name in (f"gradients_{rank}.npz", f"areas_{rank}.npz"):
            one, two = np.load(sums / name), np.load(two_hosts / name)
            assert one.files == two.files and all((one[key] == two[key]).all() for key in one.files)


def test_a_run_on_two_hosts_whose_second_dies_goes_on_to_the_same_weights(five_images, two_hosts, tmp_path):
    status, said = launch("death", five_images, tmp_path, hosts=2)
    assert status != 0 and "error: the process of another device is gone" in said and "Traceback" not in said
    assert [path.name for path in list_checkpoints(tmp_path)] == ["iter_2"]
    status, said = launch("training", five_images, tmp_path, hosts=2)
    assert status == 0 and "at iteration 2" in said, said
    resumed, whole = (paddle.load(str(at / "iter_8" / "model.pdparams")) for at in (tmp_path, two_hosts / "whole"))
    assert all((resumed[name].numpy() == whole[name].numpy()).all() for name in whole)


@pytest.fixture(scope="module")
def one_process(five_images, tmp_path_factory):
    """The folder with what the commands write in one process."""
    folder = tmp_path_factory.mktemp("alone")
    write_weights(folder)
    commands(five_images, folder)
    return folder


def test_commands_share_their_work_and_write_what_one_process_writes(two_hosts, one_process):
    scores = [json.loads((folder / "scores.json").read_text()) for folder in (two_hosts, one_process)]
    for score in scores:
        score.pop("model_path")
    assert scores[0] == scores[1]
    pictures = [
        {path.name: path.read_bytes() for path in (folder / "pictures").rglob("*.png")}
        for folder in (two_hosts, one_process)
    ]
    assert pictures[0] == pictures[1] and len(pictures[0]) == 6  # and the legend
    zips = [zipfile.ZipFile(folder / "maps.zip") for folder in (two_hosts, one_process)]
    maps = [{name: archive.read(name) for name in archive.namelist()} for archive in zips]
    assert maps[0] == maps[1] and len(maps[0]) == 5
    reports = [(folder / "report" / "report.html").read_text() for folder in (two_hosts, one_process)]
    assert reports[0].replace(str(two_hosts), "") == reports[1].replace(str(one_process), "")


def test_a_cache_that_several_processes_filled_is_whole(two_hosts, five_images):
    cache = Cache(two_hosts / "cache", five_images)
    samples = [
        sample for mode in ("train", "val") for sample in build_dataset("Cityscapes", str(five_images), mode).samples
    ]
    assert len(cache.entries) == len(samples) == 7 and all(cache.is_intact(sample) for sample in samples)


def test_processes_without_an_image_take_part():
    assert [list(shard(1, Devices(rank, 3))) for rank in range(3)] == [[0], [], []]
    assert gather("alone", Devices(0, 1)) == ["alone"]


def test_a_process_without_images_has_no_scores(five_images):
    recipe = tiny_recipe(five_images)
    scores = evaluate(TinyNetwork(), dataset_of(recipe.val_dataset), recipe.test_config["full"], indices=range(0))
    assert scores.images == 0 and scores.confusion.sum() == 0
