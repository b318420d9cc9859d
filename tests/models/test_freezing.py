"""Frozen layers: nothing of them changes, whatever a training does."""

from compat import UserError

import numpy as np
import paddle
import pytest
from paddle import nn

from engine.parallel import Devices, synchronize_batch_norm
from models import build_model
from models.freezing import freeze, is_frozen_norm
from tests.helpers.tiny_training import tiny_recipe, train


def network():
    paddle.seed(0)
    layers = [nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4), nn.Conv2D(4, 4, 3), nn.BatchNorm2D(4)]
    return nn.Sequential(*layers)


def state_of(model):
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("pattern", [r"^[01]\.", r"^(0|1\.bias)"])
def test_parameters_and_statistics_stay(pattern):
    model = network()
    assert freeze(model, [pattern]) == 6
    before = state_of(model)
    optimizer = paddle.optimizer.Momentum(0.1, parameters=model.parameters())
    model.train()
    for step in range(2):
        (model(paddle.rand([2, 3, 8, 8]) + step) ** 3).sum().backward()
        optimizer.step()
        optimizer.clear_grad()
    after = state_of(model)
    changed = {name for name in after if not np.array_equal(after[name], before[name])}
    assert {name for name in after if name[0] in "01"}.isdisjoint(changed)
    assert {"2.weight", "3.weight", "3.bias", "3._mean", "3._variance"} <= changed


def test_a_pattern_may_match_anywhere_in_a_name():
    model = network()
    assert freeze(model, ["bias"]) == 10  # of two convolutions, and all four of two batch norms
    assert [name for name, one in model.named_parameters() if not one.stop_gradient] == ["0.weight", "2.weight"]


def test_a_frozen_norm_takes_its_running_statistics():
    norm = nn.BatchNorm2D(2)
    norm._mean.set_value(np.float32([1, -2]))
    norm._variance.set_value(np.float32([4, 0.25]))
    freeze(norm, ["weight"])
    image = paddle.to_tensor(np.random.default_rng(0).normal(0, 5, (2, 2, 3, 3)).astype("float32"), stop_gradient=False)
    norm.train()
    scale = 1 / np.sqrt(np.float32([4, 0.25]) + 1e-5)
    expected = (image.numpy() - np.float32([1, -2])[:, None, None]) * scale[:, None, None]
    result = norm(image)
    assert np.allclose(result.numpy(), expected, rtol=1e-5)
    result.sum().backward()
    assert np.allclose(image.grad.numpy(), np.broadcast_to(scale[:, None, None], image.shape), rtol=1e-5)


def test_over_several_devices_frozen_norms_stay_what_they_are(monkeypatch):
    model = build_model("stdc1_seg", 3)
    freeze(model, [r"^backbone\.stages\.[01]\."])
    monkeypatch.setattr(paddle, "get_device", lambda: "gpu:0")
    weights = {name: id(parameter) for name, parameter in model.named_parameters()}
    kinds = [
        (name.startswith(("backbone.stages.0.", "backbone.stages.1.")), type(layer), is_frozen_norm(layer))
        for name, layer in synchronize_batch_norm(model, Devices(0, 2)).named_sublayers()
        if isinstance(layer, nn.layer.norm._BatchNormBase)
    ]
    assert set(kinds) == {(True, nn.BatchNorm2D, True), (False, nn.SyncBatchNorm, False)}
    assert {name: id(parameter) for name, parameter in model.named_parameters()} == weights


def test_a_pattern_that_finds_nothing():
    with pytest.raises(UserError, match="freeze: the pattern 'zz' matches no parameter; their names are like 0.weight"):
        freeze(network(), ["^0", "zz"])


def test_a_frozen_run_resumes_to_the_bit(sample_root, tmp_path):
    runs = {}
    for name, iterations in (("whole", [8]), ("parts", [3, 8])):
        for count in iterations:
            recipe = tiny_recipe(sample_root, freeze=["features"], iters=count, lr_scheduler={**RATE})
            runs[name] = train(recipe, save_dir=str(tmp_path / name), resume_model="auto")
    whole, parts = (state_of(run.model) for run in runs.values())
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)
    first = paddle.load(str(tmp_path / "whole" / "iter_3" / "model.pdparams"))
    assert all(np.array_equal(first[name].numpy(), whole[name]) == ("features" in name) for name in whole)


RATE = {"type": "Constant", "learning_rate": 0.1, "warmup_iters": 0}
