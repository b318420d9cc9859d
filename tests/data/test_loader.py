"""Batches without loader processes, as a GPU takes them: through Paddle's buffer, on the CPU here."""

import shutil
import threading
import time

from compat import UserError

import pytest

from data import train_batches
from engine.build import dataset_of
from tests.helpers.fake_gpu import fake_gpu
from tests.helpers.tiny_training import tiny_recipe


@pytest.fixture
def dataset(sample_root):
    return dataset_of(tiny_recipe(sample_root).train_dataset)


def batches(dataset, stop, **options):
    return train_batches(dataset, 2, 0, 0, stop, **options)


def test_the_batches_of_a_gpu_are_those_of_the_cpu(dataset):
    expected = [[part.numpy() for part in batch] for batch in batches(dataset, 5)]
    with fake_gpu():
        found = [[part.numpy() for part in batch] for batch in batches(dataset, 5)]
    assert len(found) == 5 and [part.dtype.name for part in found[0]] == ["uint8", "uint8", "int64"]
    for ours, theirs in zip(found, expected):
        assert all(one.shape == other.shape and (one == other).all() for one, other in zip(ours, theirs))


def test_an_unreadable_image_comes_as_itself(sample_root, tmp_path, capfd):
    root = tmp_path / "data"
    shutil.copytree(sample_root, root)
    for image in (root / "leftImg8bit" / "train").rglob("*.png"):
        image.write_bytes(image.read_bytes()[:-40])
    with fake_gpu(), pytest.raises(UserError, match="png: not a complete image file"):
        list(batches(dataset_of(tiny_recipe(root).train_dataset), 5))
    assert "Traceback" not in capfd.readouterr().err


def test_leaving_early_leaves_no_thread(dataset):
    before = set(threading.enumerate())  # one that an earlier test left may end meanwhile
    with fake_gpu():
        iterator = iter(batches(dataset, 1000))
        next(iterator)
        iterator.close()
    deadline = time.monotonic() + 10
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before
