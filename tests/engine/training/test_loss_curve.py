"""Training on samples that PaddleSeg's transforms made of the same draws loses as training on ours does.

A network of two convolutions follows closely; an image that is not flipped with its label would move it by 11 %. In
STDC1-Seg, batch norm over a few small images magnifies the last grey level: noise of 0 or 1 on each pixel moves the
first loss by 0.7 %, which is the scale of what is allowed there.
"""

import numpy as np
import pytest

from data import SegmentationDataset
from engine.training.trainer import RunOptions, Trainer
from tests.helpers.paddleseg_draws import apply_theirs
from tests.helpers.tiny_training import tiny_network, tiny_recipe

ITERATIONS = 4
BOUND, MEAN_BOUND = 0.03, 0.01  # relative difference of the total loss: at any iteration, and of the curves' means
SMALL_BOUND = 0.003  # at any iteration


class Recorded(Trainer):
    """Keeps the loss of each iteration, writes no checkpoint."""

    def _train_batch(self, *batch):
        losses = super()._train_batch(*batch)
        self.curve = [*getattr(self, "curve", []), float(losses["loss"])]
        return losses

    def _save(self, *_):
        pass


def their_item(dataset, index, rng, _class_id=None):
    """As SegmentationDataset.train_item, by PaddleSeg's transforms, which return whole levels before Normalize."""
    image, label = dataset.read_image(index), dataset.read_label(index)
    transform = dataset.transform
    image, label = apply_theirs(image, label, transform.draw(label.shape, rng), transform.crop.crop_size)
    assert (image == np.floor(image)).all()
    return image.astype(np.uint8), label


def both_curves(recipe, folder, monkeypatch):
    """The losses of our samples and of theirs."""
    ours = curve(recipe, folder / "ours")
    monkeypatch.setattr(SegmentationDataset, "train_item", their_item)
    monkeypatch.setattr("data.loader.reader_threads", lambda: 1)  # their draws are set in what all threads share
    return ours, curve(recipe, folder / "theirs")


def curve(recipe, folder):
    trainer = Recorded(recipe, RunOptions(save_dir=str(folder), validate=False, seed=1))
    trainer.fit()
    return np.array(trainer.curve)


def test_the_loss_curve_is_the_one_of_paddlesegs_transforms(small_recipe, tmp_path, monkeypatch):
    ours, theirs = both_curves(small_recipe(iters=ITERATIONS, batch_size=4), tmp_path, monkeypatch)
    assert len(ours) == ITERATIONS and (ours != theirs).any()
    assert ours == pytest.approx(theirs, rel=BOUND)
    assert ours.mean() == pytest.approx(theirs.mean(), rel=MEAN_BOUND)


def test_a_small_network_follows_closely(sample_root, tmp_path, monkeypatch):
    recipe = tiny_recipe(sample_root, iters=60, batch_size=4, accumulate=1, lr_scheduler__learning_rate=0.1)
    with tiny_network():
        ours, theirs = both_curves(recipe, tmp_path, monkeypatch)
    assert ours[-5:].mean() < 0.8 * ours[0]
    assert ours == pytest.approx(theirs, rel=SMALL_BOUND)
