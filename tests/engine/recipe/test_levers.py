"""Recipes with several losses, class weights from the histogram, and sampling by classes: read, and built."""

from compat import UserError

import numpy as np
import pytest

from engine.build import criterion_of, dataset_of
from engine.recipe import load_recipe
from loss.class_weights import class_weights
from tests.helpers.tiny_training import TinyNetwork

RECIPE = "configs/stdc1_seg_sample.yml"
SEVERAL = [
    {"type": "CrossEntropyLoss", "class_weights": "auto"},
    {"type": "DiceLoss", "weight": 0.5, "class_weights": "enet"},
    {"type": "OhemCrossEntropyLoss", "class_weights": [1.0] * 19},
    {"type": "FocalLoss"},
]


@pytest.fixture
def recipe(sample_root):
    def load(**overrides):
        roots = {f"{split}_dataset.dataset_root": str(sample_root) for split in ("train", "val")}
        return load_recipe(RECIPE, {**roots, **{key.replace("__", "."): value for key, value in overrides.items()}})

    return load


def test_formulas_become_the_weights_of_the_training_set(recipe):
    loaded = recipe(loss={"main": SEVERAL})
    dataset = dataset_of(loaded.train_dataset)
    criterion = criterion_of(loaded, TinyNetwork(), dataset)
    pixels = sum(np.bincount(dataset.read_label(i).ravel(), minlength=256)[:19] for i in range(len(dataset)))
    weights = [getattr(term.loss, "class_weights", None) for term in criterion.terms]
    for found, formula in zip(weights, ("auto", "enet")):
        np.testing.assert_allclose(found.numpy(), class_weights(formula, pixels), rtol=1e-5)
    assert weights[2].numpy().tolist() == [1.0] * 19 and weights[3] is None


def test_numbers_need_no_histogram(recipe):
    loaded = recipe(loss={"main": SEVERAL[2:]})
    criterion_of(loaded, TinyNetwork(), train_set=None)


def test_sampling_options_reach_the_dataset(recipe):
    loaded = recipe(train_dataset__class_uniform={"prob": 0.25}, train_dataset__copy_paste={"max_frequency": 0.1})
    dataset = dataset_of(loaded.train_dataset)
    assert dataset.class_uniform.prob == 0.25 and dataset.copy_paste.prob == 0.5
    shares = dataset.histogram.sum(0) / dataset.histogram.sum()
    assert dataset.copy_paste.rare.tolist() == np.flatnonzero((shares > 0) & (shares <= 0.1)).tolist()
    plain = dataset_of(recipe().train_dataset)
    assert plain.class_uniform is None and plain.copy_paste is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"loss": {"main": {"type": "FocalLoss", "class_weights": "automatic"}}}, r"loss\.main\.class_weights"),
        ({"loss": {"main": {"type": "DiceLoss", "class_weights": [1, 2]}}}, "2 numbers for the dataset's 19 classes"),
        ({"loss": {"main": {"type": "DiceLoss", "class_weights": [0] * 19}}}, "class_weights: all are 0"),
        ({"loss": {"main": {"type": "DiceLoss", "smoth": 1}}}, "did you mean smooth"),
        ({"train_dataset__class_uniform": {"prob": 1.5}}, r"train_dataset\.class_uniform\.prob"),
        ({"train_dataset__copy_paste": {"probs": 0.5}}, "did you mean prob"),
        ({"val_dataset__class_uniform": {"prob": 0.5}}, "for mode train, not val"),
    ],
)
def test_wrong_options_are_named(recipe, overrides, message):
    with pytest.raises(UserError, match=message):
        recipe(**overrides)
