"""PaddleSeg's recipes: read as they are, computing what PaddleSeg's builder makes of the same file, and trained."""

import logging
import math

from compat import UserError, logger

import numpy as np
import paddle
import pytest
import yaml
from paddleseg.core.train import loss_computation
from paddleseg.cvlibs import Config, SegBuilder, manager

from engine.recipe import Protocol, load_recipe
from engine.training.optimizer import build_schedule
from engine.training.options import RunOptions
from loss import build_criterion
from tests.helpers.tiny_training import RecordedTrainer

OHEM, DETAIL = {"type": "OhemCrossEntropyLoss"}, {"type": "DetailAggregateLoss"}
URL = "https://example.org/weights.tar.gz"
BASE = {
    "batch_size": 2,
    "iters": 80,
    "train_dataset": {
        "type": "Cityscapes",
        "dataset_root": "data/cityscapes",
        "mode": "train",
        "transforms": [
            {"type": "ResizeStepScaling", "min_scale_factor": 0.5, "max_scale_factor": 2.0, "scale_step_size": 0.25},
            {"type": "RandomPaddingCrop", "crop_size": [64, 64]},
            {"type": "RandomHorizontalFlip"},
            {"type": "RandomDistort", "brightness_range": 0.4, "contrast_range": 0.4, "saturation_range": 0.4},
            {"type": "Normalize"},
        ],
    },
    "val_dataset": {
        "type": "Cityscapes",
        "dataset_root": "data/cityscapes",
        "mode": "val",
        "transforms": [{"type": "Normalize"}],
    },
    "optimizer": {"type": "SGD", "momentum": 0.9, "weight_decay": 4.0e-5},
    "lr_scheduler": {"type": "PolynomialDecay", "learning_rate": 0.01, "end_lr": 0, "power": 0.9},
    "loss": {"types": [{"type": "CrossEntropyLoss"}], "coef": [1]},
}
STDC = {
    "_base_": "base.yml",
    "model": {"type": "STDCSeg", "backbone": {"type": "STDC1", "pretrained": URL}, "pretrained": None},
    "loss": {"types": [OHEM, OHEM, OHEM, DETAIL], "coef": [1, 1, 0.5, 2]},
    "lr_scheduler": {"warmup_iters": 20, "warmup_start_lr": 1.0e-5},
    "optimizer": {"type": "sgd"},
    "export": {"transforms": [{"type": "Normalize"}]},
}
RECIPES = {
    "stdc1_seg": STDC,
    "stdc2_seg": {**STDC, "model": {"type": "STDCSeg", "num_classes": 19, "backbone": {"type": "STDC2"}}},
    "ddrnet23": {
        "_base_": "base.yml",
        "model": {"type": "DDRNet_23", "enable_auxiliary_loss": False, "pretrained": URL},
        "loss": {"types": [OHEM], "coef": [1]},
        "train": {"save_interval": 40, "do_eval": False},
        "test": {"aug_eval": False, "auc_roc": False},
        "global": {"device": "gpu"},
    },
}


@pytest.fixture
def written(tmp_path):
    """A function that writes a recipe beside its base and returns the file."""

    def write(recipe):
        (tmp_path / "base.yml").write_text(yaml.safe_dump(BASE))
        (tmp_path / "recipe.yml").write_text(yaml.safe_dump(recipe))
        return tmp_path / "recipe.yml"

    return write


@pytest.mark.parametrize("name", ["stdc1_seg", "ddrnet23"])
def test_a_pruned_network_may_build_on_a_recipe_of_paddleseg(name, written):
    widths = {"heads.main.conv": 64}
    recipe = {**RECIPES[name], "model": {**RECIPES[name]["model"], "widths": widths}}
    assert load_recipe(written(recipe)).model.widths == widths


@pytest.fixture
def lines():
    """The log's messages."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


def test_networks_losses_and_differences(written, lines):
    recipe = load_recipe(written(RECIPES["stdc1_seg"]))
    assert (recipe.model.type, recipe.model.backbone.pretrained, recipe.total_batch_size) == ("stdc1_seg", None, 2)
    paddleseg = {"head_bias": True, "gate_bias": True, "exclusive_pool": True}
    assert recipe.model.options == {"detail_strides": (8,), **paddleseg}
    weights = {name: term.weight for name, (term,) in recipe.loss.items()}
    assert weights == {"main": 1, "aux8": 1, "aux16": 0.5, "detail8": 2}
    assert recipe.loss["main"][0].n_min == 10000 and recipe.test_config == {"val": Protocol(aug_eval=False)}
    assert sum(f"{URL} is NOT loaded" in line for line in lines) == 1
    assert len([line for line in lines if "a recipe of PaddleSeg" in line]) == 3
    recipe = load_recipe(written(RECIPES["ddrnet23"]))
    assert recipe.model.type == "ddrnet23" and recipe.save_interval == 40 and recipe.loss["aux8"][0].weight == 0


def test_known_urls_of_weights_become_names(written, lines):
    url = "https://bj.bcebos.com/paddleseg/dygraph/PP_STDCNet1.tar.gz"
    recipe = load_recipe(
        written({**STDC, "model": {**STDC["model"], "backbone": {"type": "STDC1", "pretrained": url}}})
    )
    assert recipe.model.backbone.pretrained == "stdc1_imagenet_paddleseg"
    assert any("is stdc1_imagenet_paddleseg, which is downloaded" in line for line in lines)


@pytest.mark.parametrize("name", ["stdc1_seg", "ddrnet23"])
def test_rates_optimizer_and_losses_are_those_of_paddlesegs_builder(name, written):
    path = written(RECIPES[name])
    recipe, theirs = load_recipe(path), SegBuilder(Config(str(path)))
    ours = build_schedule(recipe.lr_scheduler, recipe.iters)
    for iteration in range(recipe.iters):
        assert ours.get_lr() == pytest.approx(theirs.lr_scheduler.get_lr(), rel=1e-6), iteration
        ours.step()
        theirs.lr_scheduler.step()
    optimizer = theirs.config.optimizer_cfg
    assert (recipe.optimizer.momentum, recipe.optimizer.weight_decay) == (optimizer["momentum"], 4e-5)
    outputs = [output for output in recipe.loss if not output.startswith("detail")]  # theirs draws random mixes
    criterion = build_criterion({output: recipe.loss[output] for output in outputs}, outputs)
    rng = np.random.default_rng(0)
    labels = paddle.to_tensor(rng.choice([*range(19), 255], (2, 90, 90)).astype("int64"))
    # Sure of most pixels, so that it is their number which decides what is hard.
    sure = 9 * (labels.unsqueeze(1) == paddle.arange(19).reshape([1, 19, 1, 1])).astype("float32")
    logits = [sure + paddle.to_tensor(rng.normal(0, 3, (2, 19, 90, 90)).astype("float32")) for _ in outputs]
    losses = {key: value[: len(outputs)] for key, value in theirs.loss.items()}
    if name == "ddrnet23":
        outputs, logits = outputs[:1], logits[:1] * 2  # ours has an auxiliary head, of weight 0
        losses = {key: value[:1] for key, value in losses.items()}
    expected = sum(map(float, loss_computation(logits[: len(outputs)], labels, None, losses)))
    assert float(criterion(logits, labels)[0]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "given", [{}, {"end_lr": 0.001}, {"power": 2}, {"warmup_iters": 20, "warmup_start_lr": 1.0e-5, "power": 0.9}]
)
def test_what_a_schedule_leaves_out_is_as_in_paddle(given, written):
    schedule = {"_inherited_": False, "type": "PolynomialDecay", "learning_rate": 0.01, **given}
    path = written({**STDC, "lr_scheduler": schedule})
    recipe, theirs = load_recipe(path), SegBuilder(Config(str(path))).lr_scheduler
    ours = build_schedule(recipe.lr_scheduler, recipe.iters)
    for iteration in range(recipe.iters):
        assert ours.get_lr() == pytest.approx(theirs.get_lr(), rel=1e-6), iteration
        ours.step()
        theirs.step()


@pytest.mark.parametrize("name", ["sgd", "SGD"])
def test_sgd_has_momentum_only_if_given(name, written):
    for given, momentum in (({}, 0), ({"momentum": 0.8}, 0.8)):
        optimizer = {"_inherited_": False, "type": name, **given}
        path = written({**RECIPES["stdc2_seg"], "optimizer": optimizer})
        theirs = SegBuilder(Config(str(path))).optimizer
        assert load_recipe(path).optimizer.momentum == getattr(theirs, "_momentum", 0) == momentum


def test_adamw_decays_weights_as_paddlesegs_does(written):
    adamw = {"_inherited_": False, "type": "AdamW"}
    for given, decay in (({}, 0.01), ({"weight_decay": 0.05}, 0.05)):
        path = written({**STDC, "optimizer": {**adamw, **given}})
        theirs = manager.OPTIMIZERS["AdamW"](**given)
        assert load_recipe(path).optimizer.weight_decay == theirs.weight_decay == decay


@pytest.mark.parametrize("name", list(RECIPES))
def test_two_iterations_on_the_sample(name, written, sample_root, tmp_path):
    roots = {f"{part}_dataset.dataset_root": str(sample_root) for part in ("train", "val")}
    recipe = load_recipe(written(RECIPES[name]), {**roots, "iters": 2})
    trainer = RecordedTrainer(recipe, RunOptions(save_dir=str(tmp_path), validate=False))
    trainer.fit()
    assert len(trainer.losses) == 2 and all(math.isfinite(loss) for loss in trainer.losses)


def test_mixed_losses_become_terms(written):
    weighted = {"type": "CrossEntropyLoss", "weight": [2.0] * 19}
    mixed = {"type": "MixedLoss", "losses": [weighted, {"type": "DiceLoss"}], "coef": [0.8, 0.2]}
    recipe = {**RECIPES["ddrnet23"], "model": {"type": "DDRNet_23", "enable_auxiliary_loss": True}}
    loss = load_recipe(written({**recipe, "loss": {"types": [mixed, OHEM], "coef": [2, 0.5]}})).loss
    assert [(term.type, term.weight) for term in loss["main"]] == [("CrossEntropyLoss", 1.6), ("DiceLoss", 0.4)]
    assert loss["main"][0].class_weights == (2.0,) * 19 and loss["aux8"][0].weight == 0.5


def test_an_ohem_that_keeps_no_number_is_plain_cross_entropy(written):
    """PaddleSeg's OhemCrossEntropyLoss applies its threshold only `if self.min_kept > 0`."""
    unlimited = {**OHEM, "thresh": 0.9, "min_kept": 0}
    loss = load_recipe(written({**RECIPES["ddrnet23"], "loss": {"types": [unlimited], "coef": [2]}})).loss
    assert [(term.type, term.weight) for term in loss["main"]] == [("CrossEntropyLoss", 2)]


def test_class_weights_of_dice_are_kept(written, lines):
    """PaddleSeg divides the weighted sum of the classes' losses by their number, we by the sum of the weights."""
    dice = {"type": "DiceLoss", "weight": [3.0, *[1.0] * 18]}
    loss = load_recipe(written({**RECIPES["ddrnet23"], "loss": {"types": [dice], "coef": [2]}})).loss
    assert loss["main"][0].class_weights == (3.0, *[1.0] * 18) and loss["main"][0].weight == 2 * 21 / 19
    assert any("the mean over the images" in line for line in lines)


def test_the_class_count_may_be_given_once(written):
    data = {"type": "Dataset", "dataset_root": "none", "num_classes": 2}
    parts = {
        f"{mode}_dataset": {**data, "mode": mode, f"{mode}_path": "list.txt", "transforms": [{"type": "Normalize"}]}
        for mode in ("train", "val")
    }
    assert load_recipe(written({**RECIPES["stdc1_seg"], **parts})).train_dataset.class_count == 2


@pytest.mark.parametrize("key", ["test", "test_config"])
def test_scales_need_aug_eval_as_in_paddleseg(key, written):
    recipe = {**RECIPES["ddrnet23"], "test": {}, key: {"scales": 0.75}}
    assert load_recipe(written(recipe)).test_config == {"val": Protocol(aug_eval=False, scales=0.75)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": {"types": [{**OHEM, "weight": [1] * 19}], "coef": [1]}}, "OhemCrossEntropyLoss.weight: is not"),
        ({"model": {"type": "BiSeNetV2"}}, "model: type 'BiSeNetV2' is not known"),
        ({"model": {"type": "STDCSeg", "backbone": {"type": "STDC3"}}}, "model.backbone.type: 'STDC3' is not one of"),
        ({"model": {"type": "STDCSeg", "backbone": {"type": "STDC1"}, "use_conv_last": True}}, "model.use_conv_last"),
        ({"model": {**STDC["model"], "num_classes": 3}, "train_dataset": {"num_classes": 4}}, "num_classes is 3"),
        (
            {"loss": {"types": [OHEM, OHEM], "coef": [1]}},
            "2 types and 2 coef for 4 outputs: main, aux8, aux16, detail8",
        ),
        ({"loss": {"types": OHEM}}, "loss.types: expected a list"),
        ({"loss": {"types": [{**OHEM, "min_kept": "x"}], "coef": [1]}}, "min_kept: expected a whole number"),
        ({"loss": {"types": [{"type": "LovaszHingeLoss"}], "coef": [1]}}, "did you mean LovaszSoftmaxLoss"),
    ],
)
def test_what_is_not_ours_is_named(change, message, written):
    with pytest.raises(UserError, match=message) as error:
        load_recipe(written({**STDC, **change}))
    assert len(str(error.value).splitlines()) <= 2
