"""Shared data. Importing compat first puts zlib, threads and MKL in place before any test imports paddle."""

import compat  # noqa: F401

import pytest

from data.sample import render_sample
from engine.recipe import load_recipe

SAMPLE_RECIPE = "configs/stdc1_seg_sample.yml"


@pytest.fixture(scope="session")
def sample_root(tmp_path_factory):
    """A rendered sample of 6 + 3 images of 128 x 64."""
    root = tmp_path_factory.mktemp("sample")
    render_sample(str(root), train=6, val=3, size=(128, 64), seed=0)
    return root


@pytest.fixture
def small_recipe(sample_root):
    """The sample's recipe, small enough to train within a test; call it with further overrides."""

    def load(**overrides):
        return load_recipe(
            SAMPLE_RECIPE,
            {
                "train_dataset.dataset_root": str(sample_root),
                "val_dataset.dataset_root": str(sample_root),
                "train_dataset.transforms.RandomPaddingCrop.crop_size": [64, 64],
                "batch_size": 2,
                "iters": 2,
                **{key.replace("__", "."): value for key, value in overrides.items()},
            },
        )

    return load
