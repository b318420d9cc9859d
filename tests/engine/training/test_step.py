"""Averaged weights, and what a step leaves behind."""

from compat import UserError

import numpy as np
import paddle
import pytest

from engine.training.ema import WeightAverage, exponential_ramp, hyperbolic_ramp
from engine.training.trainer import RunOptions, Trainer
from models import build_model
from models.weights import read_weights
from tests.helpers.tiny_training import TinyNetwork, tiny_network, tiny_recipe


def test_the_average_follows_its_formula():
    model = TinyNetwork()
    average = WeightAverage(model, decay=0.6)
    expected = {name: weight.numpy().astype("float64") for name, weight in model.state_dict().items()}
    for updates in (1, 2, 3, 20):
        for weight in model.state_dict().values():
            weight.set_value(paddle.to_tensor(weight.numpy() * 1.5 + updates))
        average.update(updates)
        decay = min(0.6, (1 + updates) / (10 + updates))
        for name, weight in model.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * weight.numpy()
    own = {name: weight.numpy().copy() for name, weight in model.state_dict().items()}
    with average.applied():
        for name, weight in model.state_dict().items():
            assert np.allclose(weight.numpy(), expected[name], rtol=1e-5), name
    assert all((weight.numpy() == own[name]).all() for name, weight in model.state_dict().items())
    with pytest.raises(UserError, match="ema_decay: 1.0 is not in"):
        WeightAverage(model, 1.0)


def train(recipe, folder, **options):
    with tiny_network():
        trainer = Trainer(recipe, RunOptions(save_dir=str(folder), **options))
        trainer.fit()
    return trainer


def test_the_average_is_what_is_kept_as_the_best(sample_root, tmp_path):
    trainer = train(tiny_recipe(sample_root, iters=1), tmp_path)
    best, last = (read_weights(tmp_path / name / "model.pdparams") for name in ("best_model", "iter_1"))
    for name, weight in trainer.model.state_dict().items():
        assert (last[name].numpy() == weight.numpy()).all()
        assert (best[name].numpy() == trainer.step.average.state_dict()[name].numpy()).all()
    assert (best["head.weight"].numpy() != last["head.weight"].numpy()).any()


def test_gradients_take_no_memory_between_iterations(sample_root, tmp_path):
    trainer = train(tiny_recipe(sample_root, iters=1), tmp_path)
    assert all(parameter.grad is None for parameter in trainer.model.parameters())


@pytest.mark.parametrize("name", ["stdc2_seg", "ddrnet23_slim"])
def test_the_average_is_to_the_bit_what_it_is_weight_by_weight(name):
    model = build_model(name, 19)
    average = WeightAverage(model, decay=0.9)
    weights = model.state_dict()
    expected = {name: weight.clone() for name, weight in weights.items()}
    assert 10 * 4 * len(average.groups) <= 5 * len(weights)  # at most a tenth of the kernels of each weight alone
    for updates in (1, 2):
        for weight in weights.values():
            weight.set_value(weight * 1.1 + updates)
        average.update(updates)
        share = 1 - (1 + updates) / (10 + updates)
        expected = {name: mean + share * (weights[name] - mean) for name, mean in expected.items()}
    found = average.state_dict()
    assert list(found) == list(weights)
    assert all(found[name].shape == expected[name].shape for name in found)
    assert all((found[name] == expected[name]).all() for name in found)
    resumed = WeightAverage(model, decay=0.9)
    resumed.set_state_dict(found)
    assert all((mean == found[name]).all() for name, mean in resumed.state_dict().items())


def test_ramps_of_the_decay():
    assert [hyperbolic_ramp(0.99, n) for n in (1, 80, 10000)] == pytest.approx([2 / 11, 0.9, 0.99])
    ramp = [exponential_ramp(0.9999, n, iters=1000) for n in (1, 100, 1000)]
    assert ramp == pytest.approx([0.9999 * 0.0148881, 0.9999 * 0.7768698, 0.9999 * 0.9999997], abs=1e-7)


def test_the_exponential_ramp_resumes_to_the_bit(sample_root, tmp_path):
    recipe = tiny_recipe(sample_root, ema_ramp="exponential", ema_beta=5, ema_decay=0.9)
    whole = train(recipe, tmp_path / "whole")
    assert whole.step.average.decay_after(0.9, 8) == pytest.approx(0.9 * 0.9932621)  # 1 - exp(-5)
    (tmp_path / "parts").mkdir()
    (tmp_path / "whole" / "iter_3").rename(tmp_path / "parts" / "iter_3")
    resumed = train(recipe, tmp_path / "parts", resume_model="auto")
    expected, found = (trainer.step.average.state_dict() for trainer in (whole, resumed))
    assert all((found[name] == expected[name]).all() for name in expected)
