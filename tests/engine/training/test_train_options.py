"""The command line of train.py, without training; and accumulated gradients."""

import re

from compat import UserError

import numpy as np
import paddle
import pytest
from paddle import nn

import train
from data import train_batches
from engine.recipe import load_recipe, parse_value, scale_learning_rate
from engine.training.gradients import add_gradients
from engine.training.trainer import RunOptions, Trainer
from loss import build_criterion

SAMPLE = "configs/stdc1_seg_sample.yml"


def parse(*argv):
    return train.recipe_and_options(train.flags().parse_args(["--config", SAMPLE, *argv]))


def test_without_flags_it_is_the_default_recipe():
    recipe, options = train.recipe_and_options(train.flags().parse_args([]))
    assert (recipe.model.type, recipe.batch_size, recipe.iters) == ("stdc2_seg", 36, 80000)
    assert options == RunOptions()


@pytest.mark.parametrize(
    ("spellings", "value", "option", "expected"),
    [
        (("--save_dir", "--work-dir"), "there", "save_dir", "there"),
        (("--load_from", "--load-from"), "weights.pdparams", "load_from", "weights.pdparams"),
        (("--resume_model", "--resume-from"), "output/iter_20", "resume_model", "output/iter_20"),
        (("--auto-resume", "--auto_resume"), None, "resume_model", "auto"),
        (("--no_validate", "--no-validate"), None, "validate", False),
        (("--diff_seed", "--diff-seed"), None, "diff_seed", True),
        (("--seed",), "7", "seed", 7),
        (("--deterministic",), None, "deterministic", True),
        (("--on_nan",), "skip", "on_nan", "skip"),
        (("--skip_bad_samples",), "2", "skip_bad_samples", 2),
        (("--keep_checkpoint_max",), "2", "keep_checkpoint_max", 2),
    ],
)
def test_both_spellings_mean_the_same(spellings, value, option, expected):
    for flag in spellings:
        _, options = parse(*([flag] if value is None else [flag, value]))
        assert getattr(options, option) == expected != getattr(RunOptions(), option)


def test_flags_that_would_do_nothing_are_refused():
    assert parse("--on_nan", "skip", "--max_skipped", "3")[1].max_skipped == 3
    with pytest.raises(UserError, match="--max_skipped 3: is for --on_nan skip"):
        parse("--max_skipped", "3")
    for flag in ("--load_from", "--finetune"):
        with pytest.raises(UserError, match=f"--resume_model there: goes on with .* so leave out {flag} weights"):
            parse(flag, "weights", "--resume_model", "there")
        parse(flag, "weights", "--resume_model", "auto")  # which may find no checkpoint yet


def test_recipe_flags_and_options_override():
    recipe, _ = parse("--iters", "7", "--accumulate", "3", "--opts", "iters=8", "--cfg-options", "save_interval=4")
    assert (recipe.iters, recipe.accumulate, recipe.save_interval) == (8, 3, 4)
    recipe, _ = parse("--precision", "bf16", "--opts", "amp_level=O2", "ema_decay=0.99")
    assert (recipe.precision, recipe.amp_level, recipe.ema_decay) == ("bf16", "O2", 0.99)
    with pytest.raises(UserError, match="accumulate: expected a number of at least 1, got 0"):
        parse("--opts", "accumulate=0")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("true", True),
        ("None", None),
        ("[1,2]", [1, 2]),
        ("(1,2)", [1, 2]),
        ("[(1,2),(3,4)]", [[1, 2], [3, 4]]),
        ("((1,2),[3,(4,5)])", [[1, 2], [3, [4, 5]]]),
        ("[(a,b), (c,d)]", [["a", "b"], ["c", "d"]]),
        ("1,2", [1, 2]),
        ("(1,2),(3,4)", [[1, 2], [3, 4]]),
        ("{'^(heads|fusion)\\.': 10, b: (1,2)}", {"^(heads|fusion)\\.": 10, "b": [1, 2]}),
        ("{^(heads|fusion)\\.: 10}", {"^(heads|fusion)\\.": 10}),
        ("'(a|b),c'", "(a|b),c"),
        ("it's (quite) plain", "it's (quite) plain"),
        ("','", ","),
    ],
)
def test_values_are_yaml_or_mmengines(text, value):
    assert parse_value(text, "--opts") == value


def test_values_that_are_neither_are_refused():
    for text in ("[1", "[1)", "{a: (1}"):
        with pytest.raises(UserError, match="--opts a=.*: not valid YAML"):
            load_recipe(SAMPLE, opts=[f"a={text}"])


def test_tuples_reach_the_recipe():
    recipe, _ = parse("--cfg-options", "model.detail_strides=(8,16)", "test_config.full.scales=0.5,1.0")
    assert recipe.model.options["detail_strides"] == (8, 16)
    assert recipe.test_config["full"].scales == (0.5, 1.0)


def test_launchers():
    for launcher in ("none", "paddle"):
        parse("--launcher", launcher)
    with pytest.raises(UserError, match="--launcher pytorch: .*run: python -m paddle.distributed.launch --gpus"):
        parse("--launcher", "pytorch")


def test_resuming_is_said_once(capsys):
    with pytest.raises(SystemExit) as stopped:
        parse("--auto-resume", "--resume-from", "output/iter_20")
    assert stopped.value.code == 2 and "not allowed with" in capsys.readouterr().err


def test_diff_seed_keeps_the_weights_and_changes_the_draws(small_recipe, one_convolution, tmp_path, monkeypatch):
    drawn, weights = [], []
    for rank in (1, 0):
        monkeypatch.setattr(paddle.distributed, "get_rank", lambda rank=rank: rank)
        trainer = Trainer(
            small_recipe(**one_convolution), RunOptions(save_dir=str(tmp_path), validate=False, diff_seed=True)
        )
        weights.append(trainer.model.conv.weight.numpy())
        drawn.append(paddle.rand([4]).numpy())
    assert (weights[0] == weights[1]).all() and (drawn[0] != drawn[1]).all()


# --- accumulated gradients --------------------------------------------------------------------------------------------


class OneConvolution(nn.Layer):
    """The least network: a pixel's logits are a linear function of its colour."""

    output_names = ("main",)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(3, 19, 1)

    def forward(self, image):
        return [self.conv(image)]


@pytest.fixture
def one_convolution(monkeypatch):
    """Recipe overrides under which the trainer trains that network."""
    monkeypatch.setattr("engine.training.trainer.network_of", lambda *_, **__: OneConvolution())
    return {"loss": {"main": {"type": "CrossEntropyLoss"}}, "log_iters": 1}


def gradients(model, criterion, batches, share):
    model.clear_gradients()
    losses = [float(add_gradients(model, criterion, *batch, share)["loss"]) for batch in batches]
    return losses, [parameter.grad.numpy() for parameter in model.parameters()]


def test_four_batches_of_one_give_the_gradients_of_one_of_four():
    generator = np.random.default_rng(0)
    images = paddle.to_tensor(generator.normal(0, 1, (4, 3, 8, 6)).astype("float32"))
    labels = paddle.to_tensor(generator.integers(0, 19, (4, 8, 6)).astype("uint8"))
    model = OneConvolution()
    criterion = build_criterion({"main": {"type": "CrossEntropyLoss"}}, model.output_names)
    (whole_loss,), whole = gradients(model, criterion, [(images, labels)], 1)
    losses, accumulated = gradients(model, criterion, [(images[i : i + 1], labels[i : i + 1]) for i in range(4)], 1 / 4)
    assert np.mean(losses) == pytest.approx(whole_loss, abs=1e-6)
    for ours, theirs in zip(accumulated, whole):
        assert np.abs(theirs).max() > 0.01 and np.abs(ours - theirs).max() <= 1e-6


class Recorded(Trainer):
    """Keeps what each batch held and lost."""

    def _train_batch(self, number, images, labels):
        losses = super()._train_batch(number, images, labels)
        self.seen = [*getattr(self, "seen", []), (images.numpy(), float(losses["loss"]))]
        return losses


def run(recipe, folder, **options):
    trainer = Recorded(recipe, RunOptions(save_dir=str(folder), validate=False, **options))
    trainer.fit()
    return trainer


def test_an_iteration_consumes_its_batches_and_a_resumed_one_too(small_recipe, one_convolution, tmp_path):
    def recipe(iters):  # a rate of which the run's length is no part
        return small_recipe(**one_convolution, iters=iters, accumulate=2, lr_scheduler__power=0)

    whole = run(recipe(4), tmp_path / "whole")
    batches = [images.numpy() for images, _, _ in train_batches(whole.train_set, 2, 0, 0, 8)]
    assert len(whole.seen) == 8 and all((seen == batch).all() for (seen, _), batch in zip(whole.seen, batches))
    run(recipe(2), tmp_path / "parts")
    resumed = run(recipe(4), tmp_path / "parts", resume_model="auto")
    assert (resumed.seen[0][0] == batches[4]).all() and len(resumed.seen) == 4
    assert (resumed.model.conv.weight.numpy() == whole.model.conv.weight.numpy()).all()


def test_the_log_counts_all_images_and_averages_the_losses(small_recipe, one_convolution, tmp_path):
    trainer = run(small_recipe(**one_convolution, iters=3, accumulate=2), tmp_path)
    # 6 images make an epoch, and 2 batches of 2 an iteration
    lines = [line for line in (tmp_path / "train.log").read_text().splitlines() if "[TRAIN]" in line]
    assert [int(re.search(r"epoch: (\d+)", line)[1]) for line in lines] == [1, 1, 2]
    for number, line in enumerate(lines):
        mean = np.mean([loss for _, loss in trainer.seen[2 * number : 2 * number + 2]])
        assert float(re.search(r"loss: ([\d.]+)", line)[1]) == pytest.approx(mean, abs=6e-5)
        cost, ips = (float(re.search(rf"{name}: ([\d.]+)", line)[1]) for name in ("batch_cost", "ips"))
        assert ips == pytest.approx(4 / cost, rel=0.1)


def test_the_automatic_rate_counts_accumulated_batches():
    recipe = load_recipe("configs/stdc2_seg50_cityscapes_8gb.yml")
    assert scale_learning_rate(recipe, devices=1).lr_scheduler == recipe.lr_scheduler
    assert scale_learning_rate(recipe, devices=2).lr_scheduler.learning_rate == pytest.approx(0.02)
    official = load_recipe("configs/official/stdc1_seg50_cityscapes.yml", {"accumulate": 3})
    assert scale_learning_rate(official, devices=1).lr_scheduler.learning_rate == pytest.approx(0.01)
