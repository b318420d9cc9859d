"""Optimiser groups, and the training loop."""

import re

from compat import UserError

import numpy as np
import paddle
import pytest
from paddle import nn

from data import train_batches
from engine.recipe.optimization import Momentum, PolynomialDecay
from engine.training.optimizer import build_optimizer, build_schedule
from engine.training.trainer import RunOptions, Trainer


class Toy(nn.Layer):
    """A convolution with bias, a batch norm, and a head."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(1, 2, 1)
        self.bn = nn.BatchNorm2D(2)
        self.head = nn.Conv2D(2, 1, 1, bias_attr=False)

    def forward(self, x):
        return self.head(self.bn(self.conv(x)))


def test_momentum_with_groups_equals_its_formula():
    paddle.seed(1)
    model = Toy()
    recipe = Momentum(
        momentum=0.8, weight_decay=0.1, no_weight_decay=("norm", "bias"), lr_mult={"^head": 10}, frozen=("bn.weight",)
    )
    schedule = build_schedule(PolynomialDecay(learning_rate=0.05, warmup_iters=2, warmup_start_lr=0.01), 4)
    optimizer = build_optimizer(recipe, schedule, (model,))
    decay = {"conv.weight": 0.1, "conv.bias": 0.0, "bn.bias": 0.0, "head.weight": 0.1}
    factor = {"head.weight": 10.0}
    values = {name: parameter.numpy().astype("float64") for name, parameter in model.named_parameters()}
    speeds = {name: np.zeros_like(value) for name, value in values.items()}
    x = paddle.to_tensor(np.random.default_rng(0).normal(0, 1, (2, 1, 4, 4)).astype("float32"))
    for _ in range(4):
        (model(x) ** 2).mean().backward()
        for name, parameter in model.named_parameters():
            if name in decay:
                gradient = parameter.grad.numpy() + decay[name] * values[name]
                speeds[name] = 0.8 * speeds[name] + gradient
                values[name] = values[name] - schedule.get_lr() * factor.get(name, 1.0) * speeds[name]
        optimizer.step()
        optimizer.clear_grad()
        schedule.step()
    trained = dict(model.named_parameters())
    for name in decay:
        assert np.allclose(trained[name].numpy(), values[name], rtol=2e-5, atol=1e-6), name
    assert (model.bn.weight.numpy() == 1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr_mult": {"haed": 10}}, "'haed' matches no parameter; their names are like "),
        ({"frozen": ("zz",)}, "'zz' matches no parameter; their names are like "),
        ({"frozen": (".",)}, "freeze every parameter; nothing is left to train"),
    ],
)
def test_optimizer_refuses(options, message):
    schedule = build_schedule(PolynomialDecay(learning_rate=0.1), 2)
    with pytest.raises(UserError, match=message):
        build_optimizer(Momentum(**options), schedule, (Toy(),))


def weights(trainer):
    return {name: tensor.numpy().copy() for name, tensor in trainer.model.state_dict().items()}


def test_training_writes_what_it_promises(small_recipe, tmp_path):
    options = RunOptions(save_dir=str(tmp_path), use_vdl=True)
    recipe = small_recipe(save_interval=1, log_iters=1, test_config__half={"scales": 0.5})
    best = Trainer(recipe, options).fit()
    assert set(best) == {"full", "half"}
    for folder in ("iter_1", "iter_2", "best_model", "best_model_half"):
        assert (tmp_path / folder / "model.pdparams").is_file()
    assert (tmp_path / "pictures" / "iter_2.png").is_file() and list((tmp_path / "vdl").iterdir())
    lines = (tmp_path / "train.log").read_text().splitlines()
    # PaddleSeg's form, with every loss by name
    form = (
        r"\[TRAIN\] epoch: 1, iter: 1/2, loss: \d+\.\d{4}, main: \d+\.\d{4}, aux8: \d+\.\d{4}, aux16: \d+\.\d{4}, "
        r"detail8: \d+\.\d{4}, lr: \d\.\d{6}, batch_cost: \d+\.\d{4}, reader_cost: \d+\.\d{5}, "
        r"ips: \d+\.\d{4} samples/sec \| ETA \d\d:\d\d:\d\d$"
    )
    assert any(re.search(form, line) for line in lines)
    assert sum("[EVAL] full" in line for line in lines) == 2


def test_same_seed_same_weights_and_resuming_changes_nothing(small_recipe, tmp_path):
    def train(folder, iters, **options):
        recipe = small_recipe(iters=iters, save_interval=2, lr_scheduler__warmup_iters=2)
        # the schedule belongs to the whole run of 4 iterations
        trainer = Trainer(recipe, RunOptions(save_dir=str(tmp_path / folder), validate=False, seed=3, **options))
        trainer.schedule.schedule["iters"] = 4
        trainer.fit()
        return weights(trainer)

    whole = train("whole", 4)
    train("parts", 2)
    resumed = train("parts", 4, resume_model="auto")
    assert all((whole[name] == resumed[name]).all() for name in whole)
    other_seed = small_recipe(iters=2)
    trainer = Trainer(other_seed, RunOptions(save_dir=str(tmp_path / "other"), validate=False, seed=4))
    trainer.fit()
    assert any((whole[name] != tensor).any() for name, tensor in weights(trainer).items())
    with pytest.raises(UserError, match="was trained with --seed 3, not 0"):
        Trainer(small_recipe(), RunOptions(save_dir=str(tmp_path / "parts"), validate=False, resume_model="auto"))
    with pytest.raises(UserError, match="nowhere: no such checkpoint"):
        Trainer(small_recipe(), RunOptions(save_dir=str(tmp_path / "x"), validate=False, resume_model="nowhere"))
    with pytest.raises(UserError, match="lacks model.pdparams"):
        Trainer(small_recipe(), RunOptions(save_dir=str(tmp_path / "x"), validate=False, resume_model=str(tmp_path)))


def test_a_few_iterations_on_one_batch_lower_the_loss(small_recipe, tmp_path):
    recipe = small_recipe(iters=8, log_iters=1, lr_scheduler__warmup_iters=0)
    trainer = Trainer(recipe, RunOptions(save_dir=str(tmp_path), validate=False))
    images, labels, _ = next(iter(train_batches(trainer.train_set, recipe.batch_size, 0, 0, 1)))
    losses = [float(trainer._train_batch(number, images, labels)["loss"]) for number in range(8)]
    assert losses[-1] < 0.8 * losses[0]
