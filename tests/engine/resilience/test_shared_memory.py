"""The memory through which loader processes hand over batches is checked before they are started."""

import os
from types import SimpleNamespace

from compat import UserError

import pytest

from tests.helpers.tiny_training import tiny_recipe, train


def test_a_small_shared_memory_is_noticed_before_it_kills(sample_root, tmp_path, monkeypatch):
    real = os.statvfs

    def eight_megabytes(path):
        return SimpleNamespace(f_bavail=2048, f_frsize=4096) if str(path) == "/dev/shm" else real(path)

    monkeypatch.setattr(os, "statvfs", eight_megabytes)
    recipe = tiny_recipe(sample_root, batch_size=6, train_dataset__transforms__RandomPaddingCrop__crop_size=[512, 256])
    with pytest.raises(UserError, match="/dev/shm: 8.0 MB are free, and 2 loader processes need 12.0 MB.*--shm-size"):
        train(recipe, save_dir=str(tmp_path), num_workers=2)
    train(tiny_recipe(sample_root, iters=1), save_dir=str(tmp_path / "small"), num_workers=1, validate=False)


def test_whole_images_of_the_validation_must_fit_too(sample_root, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=8, f_frsize=4096))
    # Two batches of a crop take 8 KiB, of an image of 128 x 64 pixels and its label 64.
    with pytest.raises(UserError, match="/dev/shm: 0.0 MB are free, and 1 loader processes need 0.1 MB"):
        train(tiny_recipe(sample_root, iters=1), save_dir=str(tmp_path), num_workers=1)
