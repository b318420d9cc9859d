"""Recomputed blocks: the same training to the bit, in less memory."""

import copy

import numpy as np
import paddle
import pytest

from models import build_model
from models.recompute import recompute_blocks

IMAGES = np.random.default_rng(0).normal(0, 1, (2, 3, 64, 96)).astype("float32")


def trained(name, recomputed, steps=2, **options):
    """(gradients of the last of some steps, state after them, bytes kept by its forward pass)."""
    paddle.seed(5)
    model = build_model(name, 3, **options)
    if recomputed:
        assert recompute_blocks(model) > 0
    optimizer = paddle.optimizer.SGD(0.01, parameters=model.parameters())
    images = paddle.to_tensor(IMAGES)
    for _ in range(steps):
        optimizer.clear_grad(set_to_zero=False)
        before = paddle.base.core.host_memory_stat_current_value("Allocated", 0)
        total = sum((output**2).mean() for output in model(images))
        kept = paddle.base.core.host_memory_stat_current_value("Allocated", 0) - before
        total.backward()
        optimizer.step()
    gradients = {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}
    return gradients, {name: value.numpy() for name, value in model.state_dict().items()}, kept


@pytest.mark.parametrize("name", ["stdc1_seg", "stdc2_seg", "bisestdc", "ddrnet23_slim"])
def test_gradients_and_statistics_are_the_same_to_the_bit(name):
    options = {"dropout": 0.2}
    gradients, state, kept = trained(name, False, **options)
    again, state_again, kept_again = trained(name, True, **options)
    assert gradients.keys() == again.keys()
    for one, other in ((gradients, again), (state, state_again)):
        assert [key for key in one if one[key].tobytes() != other[key].tobytes()] == []
    assert kept_again < 0.85 * kept


def test_evaluation_and_copies_are_untouched():
    model = build_model("stdc1_seg", 3)
    recompute_blocks(model)
    twin = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.set_value(paddle.zeros_like(parameter))
    twin.eval()
    assert float(twin(paddle.to_tensor(IMAGES))[0].abs().sum()) > 0
    statistics = {name: value.numpy() for name, value in twin.state_dict().items()}
    twin(paddle.to_tensor(IMAGES))
    assert all((statistics[name] == value.numpy()).all() for name, value in twin.state_dict().items())
