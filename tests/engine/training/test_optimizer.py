"""Optimisers against formulas in numpy, and their exact resume."""

import numpy as np
import paddle
import pytest
from paddle import nn

from engine.training.optimizer import build_optimizer, build_schedule, rate_factor
from tests.helpers.tiny_training import tiny_recipe, train

RATE = 0.01
GROUPS = {"lr_mult": {"head": 10}, "no_weight_decay": ["bias"], "weight_decay": 0.1}


class TwoLayers(nn.Layer):
    """`body` has the plain rate, `head` ten times that; biases decay with neither."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(nn.functional.tanh(self.body(x)))


def nesterov(weight, gradient, state, rate, decay):
    """Nesterov and Sutskever's momentum as Paddle writes it, with the decay as part of the gradient."""
    gradient = gradient + decay * weight
    state["v"] = 0.9 * state.get("v", 0) + gradient
    return weight - rate * (gradient + 0.9 * state["v"])


def plain(weight, gradient, state, rate, decay):
    return weight - rate * (gradient + decay * weight)


def adamw(weight, gradient, state, rate, decay, beta1=0.8, beta2=0.95, epsilon=1e-6):
    """Loshchilov and Hutter 2019, algorithm 2."""
    state["t"] = state.get("t", 0) + 1
    state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * gradient
    state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * gradient**2
    m, v = state["m"] / (1 - beta1 ** state["t"]), state["v"] / (1 - beta2 ** state["t"])
    return weight * (1 - rate * decay) - rate * m / (np.sqrt(v) + epsilon)


@pytest.mark.parametrize(
    ("options", "update"),
    [
        ({"type": "Momentum", "use_nesterov": True}, nesterov),
        ({"type": "SGD"}, plain),
        ({"type": "sgd", "momentum": 0.9, "use_nesterov": True}, nesterov),
        ({"type": "AdamW", "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-6}, adamw),
    ],
)
def test_updates(options, update, sample_root):
    schedule = {"type": "Constant", "learning_rate": RATE}
    recipe = tiny_recipe(sample_root, optimizer={**options, **GROUPS}, lr_scheduler=schedule)
    model = TwoLayers()
    optimizer = build_optimizer(recipe.optimizer, build_schedule(recipe.lr_scheduler, 100), [model])
    expected = {name: weight.numpy().astype("float64") for name, weight in model.named_parameters()}
    states = {name: {} for name in expected}
    for step in range(4):
        (model(paddle.full([5, 3], 0.3 + step)) ** 2).mean().backward()
        for name, weight in model.named_parameters():
            rate, decay = RATE * (10 if "head" in name else 1), 0.0 if "bias" in name else 0.1
            expected[name] = update(expected[name], weight.grad.numpy(), states[name], rate, decay)
        optimizer.step()
        optimizer.clear_grad()
        for name, weight in model.named_parameters():
            assert np.abs(weight.numpy() - expected[name]).max() <= 2e-6, (step, name)


def test_the_first_pattern_that_finds_a_parameter_counts():
    factors = {"^head": 10.0, "bias$": 2.0, "head.*bias": 5.0}
    names = ("head.weight", "head.bias", "body.bias", "body.weight")
    assert [rate_factor(factors, name) for name in names] == [10, 10, 2, 1]


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [
        ({"type": "AdamW", "weight_decay": 0.01}, {"type": "CosineAnnealingDecay", "warmup_iters": 2}),
        ({"type": "Momentum", "use_nesterov": True, "weight_decay": 0.01}, {"type": "Constant"}),
    ],
)
def test_exact_resume(optimizer, schedule, sample_root, tmp_path):
    recipe = tiny_recipe(sample_root, optimizer=optimizer, lr_scheduler={"learning_rate": 0.01, **schedule})
    whole = train(recipe, save_dir=str(tmp_path / "whole"), validate=False)
    (tmp_path / "parts").mkdir()
    (tmp_path / "whole" / "iter_3").rename(tmp_path / "parts" / "iter_3")
    resumed = train(recipe, save_dir=str(tmp_path / "parts"), validate=False, resume_model="auto")
    for name, weight in whole.model.state_dict().items():
        assert (resumed.model.state_dict()[name].numpy() == weight.numpy()).all(), name
