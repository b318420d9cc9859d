"""Averaged weights, and what a step leaves behind."""

from types import SimpleNamespace

from compat import UserError

import numpy as np
import paddle
import pytest

from engine.training.ema import WeightAverage, exponential_ramp, hyperbolic_ramp
from engine.training.trainer import RunOptions, Trainer
from loss.detail import OFFICIAL_MIX
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


def train(recipe, folder, kind=TinyNetwork, **options):
    with tiny_network(kind):
        trainer = Trainer(recipe, RunOptions(save_dir=str(folder), **options))
        trainer.fit()
    return trainer


def test_the_average_is_what_is_kept_as_the_best(sample_root, tmp_path):
    with tiny_network():
        trainer = Trainer(tiny_recipe(sample_root, iters=1), RunOptions(save_dir=str(tmp_path)))
    start = {name: weight.numpy().copy() for name, weight in trainer.model.state_dict().items()}
    trainer.fit()
    best, last = (read_weights(tmp_path / name / "model.pdparams") for name in ("best_model", "iter_1"))
    for name, weight in trainer.model.state_dict().items():
        assert (last[name].numpy() == weight.numpy()).all()
        assert (best[name].numpy() == trainer.step.average.state_dict()[name].numpy()).all()
        moved = (1 - 2 / 11) * (weight.numpy() - start[name])  # the first update's decay is 2 / 11
        np.testing.assert_allclose(best[name].numpy(), start[name] + moved, rtol=1e-5, atol=1e-7)
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


class WithDetail(TinyNetwork):
    """Its logits' first channel is a detail output too."""

    output_names = ("main", "detail1")

    def forward(self, image):
        (logits,) = super().forward(image)
        return [logits, logits[:, :1]] if self.training else [logits]


def test_the_decaying_mix_of_the_detail_loss_resumes_to_the_bit(sample_root, tmp_path):
    """As in the official recipes, where weight decay shrinks it over the run."""
    detail = {"type": "DetailAggregateLoss", "decaying_mix": True}
    recipe = tiny_recipe(
        sample_root,
        loss={"main": {"type": "CrossEntropyLoss"}, "detail1": detail},
        optimizer={"type": "Momentum", "weight_decay": 0.5},
    )
    (mix,) = train(recipe, tmp_path / "whole", WithDetail).criterion.parameters()
    assert (mix.numpy() < 0.99 * np.array(OFFICIAL_MIX)).all()
    (tmp_path / "parts").mkdir()
    (tmp_path / "whole" / "iter_3").rename(tmp_path / "parts" / "iter_3")
    (resumed,) = train(recipe, tmp_path / "parts", WithDetail, resume_model="auto").criterion.parameters()
    assert (resumed.numpy() == mix.numpy()).all()


def test_what_a_checkpoint_holds_beside_the_weights(sample_root, tmp_path):
    """The loss scale, which fp16 needs on a GPU; an average where the run had none begins with the weights."""
    trainer = train(tiny_recipe(sample_root, iters=3, ema_decay=0.0), tmp_path)
    loaded = []
    scaler = SimpleNamespace(state_dict=lambda: {"scale": 4096.0}, load_state_dict=loaded.append)
    trainer.step.precision.scaler = scaler
    trainer.step.set_state_dict(trainer.step.state_dict())
    assert loaded == [{"scale": 4096.0}]
    with tiny_network():
        averaged = Trainer(tiny_recipe(sample_root, iters=4), RunOptions(save_dir=str(tmp_path), resume_model="auto"))
    weights = trainer.model.state_dict()
    assert all((mean == weights[name]).all() for name, mean in averaged.step.average.state_dict().items())
