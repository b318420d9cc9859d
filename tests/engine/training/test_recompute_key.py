"""`recompute: true` in a recipe: the same run to the bit; a network without blocks is refused."""

from compat import UserError

import pytest

from engine.build import prepared_for_training
from engine.parallel import Devices
from engine.training.trainer import RunOptions, Trainer
from tests.helpers.tiny_training import TinyNetwork, tiny_network, tiny_recipe


def weights_after(sample_root, folder, recomputed):
    recipe = tiny_recipe(
        sample_root, recompute=recomputed, iters=2, model={"type": "ddrnet23_slim"},
        loss={name: {"type": "OhemCrossEntropyLoss"} for name in ("main", "aux8")},
        train_dataset__transforms__RandomPaddingCrop__crop_size=[64, 64],
    )  # fmt: skip
    trainer = Trainer(recipe, RunOptions(save_dir=str(folder), seed=5, validate=False))
    trainer.fit()
    return {name: value.numpy().tobytes() for name, value in trainer.model.state_dict().items()}


def test_a_run_is_the_same_to_the_bit(sample_root, tmp_path):
    assert weights_after(sample_root, tmp_path / "a", True) == weights_after(sample_root, tmp_path / "b", False)


def test_a_network_without_blocks_is_refused(sample_root, tmp_path):
    with tiny_network(), pytest.raises(UserError, match="recompute: stdc1_seg has no blocks"):
        Trainer(tiny_recipe(sample_root, recompute=True), RunOptions(save_dir=str(tmp_path)))


def test_several_devices_are_refused(sample_root):
    with pytest.raises(UserError, match="recompute: works on one device only, and this run has 2"):
        prepared_for_training(TinyNetwork(), tiny_recipe(sample_root, recompute=True), Devices(0, 2))
