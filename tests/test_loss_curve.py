"""Training on samples that PaddleSeg's transforms made of the same draws loses as training on ours does.

Batch norm over a few small images magnifies the last grey level: noise of 0 or 1 on each pixel moves the first loss by
0.7 %. That is the scale of what is allowed.
"""

import numpy as np
import pytest

from data import SegmentationDataset
from engine.trainer import RunOptions, Trainer
from tests.paddleseg_draws import apply_theirs

ITERATIONS = 6
BOUND, MEAN_BOUND = 0.03, 0.01  # relative difference of the total loss: at any iteration, and of the curves' means


class Recorded(Trainer):
    """Keeps the loss of each iteration, writes no checkpoint."""

    def _step(self, *batch):
        losses = super()._step(*batch)
        self.curve = [*getattr(self, "curve", []), float(losses["loss"])]
        return losses

    def _save(self, *_):
        pass


def their_item(dataset, index, rng):
    """As SegmentationDataset.train_item, by PaddleSeg's transforms, which answer whole levels before Normalize."""
    image, label = dataset.read_image(index), dataset.read_label(index)
    transform = dataset.transform
    image, label = apply_theirs(image, label, transform.draw(label.shape, rng), transform.crop.crop_size)
    assert (image == np.floor(image)).all()
    return image.astype(np.uint8), label


def curve(recipe, folder):
    trainer = Recorded(recipe, RunOptions(save_dir=str(folder), validate=False, seed=1))
    trainer.fit()
    return np.array(trainer.curve)


def test_the_loss_curve_is_the_one_of_paddlesegs_transforms(small_recipe, tmp_path, monkeypatch):
    recipe = small_recipe(iters=ITERATIONS, batch_size=4)
    ours = curve(recipe, tmp_path / "ours")
    monkeypatch.setattr(SegmentationDataset, "train_item", their_item)
    theirs = curve(recipe, tmp_path / "theirs")
    assert len(ours) == ITERATIONS and (ours != theirs).any()
    assert ours == pytest.approx(theirs, rel=BOUND)
    assert ours.mean() == pytest.approx(theirs.mean(), rel=MEAN_BOUND)
