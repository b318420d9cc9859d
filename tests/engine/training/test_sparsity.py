"""Scales of batch norms drawn towards 0: by the formula, in a run, and exact when it is resumed."""

import numpy as np
import paddle

from engine.training.sparsity import ScaleShrinkage
from engine.training.trainer import RunOptions, Trainer
from models.freezing import freeze
from tests.helpers.tiny_training import TinyNetwork, tiny_network, tiny_recipe


def test_each_scale_comes_nearer_to_0_by_rate_times_strength():
    model = TinyNetwork()
    norm = model.features[1]
    before = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    norm.weight.set_value(np.float32([1.0, -0.5, 0.003, 0.0]))
    ScaleShrinkage(model, 0.5)(0.01)
    np.testing.assert_allclose(norm.weight.numpy(), [0.995, -0.495, 0.0, 0.0], atol=1e-7)
    ScaleShrinkage(model, 0.5, frozen=[r"^features\.1\.weight$"])(0.01)
    np.testing.assert_allclose(norm.weight.numpy(), [0.995, -0.495, 0.0, 0.0], atol=1e-7)
    ScaleShrinkage(model, 0.5, lr_mult={r"^nothing\.": 2.0, r"^features\.1\.": 10.0})(0.01)
    np.testing.assert_allclose(norm.weight.numpy(), [0.945, -0.445, 0.0, 0.0], atol=1e-7)
    others = [name for name in before if name != "features.1.weight"]
    assert all((model.state_dict()[name].numpy() == before[name]).all() for name in others)


def test_scales_that_the_recipe_freezes_stay():
    model = TinyNetwork()
    freeze(model, [r"^features\.1\."])
    before = model.features[1].weight.numpy().copy()
    ScaleShrinkage(model, 0.5)(0.01)
    np.testing.assert_array_equal(model.features[1].weight.numpy(), before)


def test_a_run_shrinks_scales_and_resumes_to_the_bit(sample_root, tmp_path):
    def scales(folder, strength, **options):
        recipe = tiny_recipe(sample_root, optimizer__norm_sparsity=strength, ema_decay=0.0)
        with tiny_network():
            trainer = Trainer(recipe, RunOptions(seed=5, save_dir=str(tmp_path / folder), validate=False, **options))
            trainer.fit()
        return trainer.model.features[1].weight.numpy().copy()

    plain, drawn = scales("plain", 0.0), scales("drawn", 5.0)
    assert (np.abs(drawn) < np.abs(plain)).all()
    for file in (tmp_path / "drawn" / "iter_8").iterdir():
        file.unlink()
    (tmp_path / "drawn" / "iter_8").rmdir()
    np.testing.assert_array_equal(scales("drawn", 5.0, resume_model="auto"), drawn)


def test_gradients_do_not_flow_through_the_step():
    model = TinyNetwork()
    ScaleShrinkage(model, 1.0)(0.1)
    assert not model.features[1].weight.stop_gradient
    model(paddle.ones([1, 3, 8, 8]))[0].sum().backward()
    assert model.features[1].weight.grad is not None
