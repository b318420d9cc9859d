"""Every recipe in configs/: its header, its parts, its rates, and two iterations on the rendered sample."""

import functools
import math
import re
from pathlib import Path

import pytest

from engine.recipe import load_recipe
from engine.training.optimizer import build_optimizer, build_schedule
from engine.training.trainer import RunOptions
from engine.weights import read_manifest
from loss import build_criterion
from models import build_model
from tests.helpers.tiny_training import RecordedTrainer

CONFIGS = Path("configs")
PARTS = ("_base_", "ablation")  # folders of no recipes
RECIPES = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.yml") if path.parent.name not in PARTS)

# With a calculator, by the papers' formulas: iterations, warmup, and the rates at iterations 0, 1, warmup, half, last.
RATES = {
    "paddle port": (80000, 1000, (1e-5, 1.999e-5, 0.01, 5.4244594e-3, 1.0390572e-5)),
    "paddle port from scratch": (60000, 0, (0.01, 9.99985e-3, 0.01, 5.3588673e-3, 5.0079949e-7)),
    "paddle port continued": (60000, 0, (0.001, 9.99985e-4, 0.001, 5.3588673e-4, 5.0079949e-8)),
    "official": (60000, 1000, (1e-5, 1.0069317e-5, 0.01, 5.4405439e-3, 5.0843237e-7)),
    "bisestdc": (160000, 1000, (1e-5, 1.0069317e-5, 0.01, 5.389191e-3, 2.0832557e-7)),
    "mmsegmentation": (80000, 1000, (0.001, 0.001009, 0.01, 5.4656804e-3, 1.0038705e-4)),
    "deepspark": (20000, 1000, (0.001, 0.001009, 0.01, 5.6559324e-3, 1.0139559e-4)),
    "ddrnet 120k": (120000, 0, (0.01, 9.999925e-3, 0.01, 5.3588673e-3, 2.683718e-7)),
    "ddrnet 160k": (160000, 0, (0.01, 9.9999437e-3, 0.01, 5.3588673e-3, 2.0715338e-7)),
    "camvid 480x360": (600, 100, (1e-5, 1.099e-4, 0.01, 6.3144587e-3, 3.7232911e-5)),
    "camvid 960x720": (10000, 200, (1e-5, 5.995e-5, 0.01, 5.4571958e-3, 2.5579764e-6)),
    "best seg50": (74400, 930, (1e-5, 2.0741935e-5, 0.01, 5.4198792e-3, 4.1735052e-7)),
    "best seg75": (148800, 1860, (1e-5, 1.2682796e-5, 0.005, 2.7099396e-3, 1.118263e-7)),
    "best ddrnet": (62000, 1240, (1e-5, 1.6040323e-5, 0.0075, 4.0928968e-3, 3.7136868e-7)),
    "best camvid": (4000, 100, (1e-5, 1.99e-5, 0.001, 5.4823764e-4, 5.8619465e-7)),
    "sample": (300, 20, (0.001, 0.00145, 0.01, 5.7021666e-3, 6.2741915e-5)),
}
# Which row a recipe has: the first pattern that its path holds.
ROWS = (
    (r"^best/bisestdc", "bisestdc"),
    (r"^best/ddrnet", "best ddrnet"),
    (r"^best/.*seg50", "best seg50"),
    (r"^best/.*seg75", "best seg75"),
    (r"^best/.*camvid", "best camvid"),
    (r"^official/|_48\.yml", "official"),
    (r"_scratch_continued", "paddle port continued"),
    (r"_mmseg", "mmsegmentation"),
    (r"_deepspark", "deepspark"),
    (r"_scratch", "paddle port from scratch"),
    (r"^bisestdc2?_seg", "bisestdc"),
    (r"^stdc._seg\d\d_cityscapes", "paddle port"),
    (r"1024x1024", "ddrnet 120k"),
    (r"1024x512", "ddrnet 160k"),
    (r"_camvid\.yml", "camvid 480x360"),
    (r"_camvid_960x720", "camvid 960x720"),
    (r"_sample", "sample"),
)
# The pretrained backbone that each network takes.
BACKBONES = {
    "stdc1_seg": "stdc1",
    "stdc2_seg": "stdc2",
    "bisestdc": "stdc1",
    "bisestdc2": "stdc1",
    "ddrnet23_slim": "ddrnet23_slim",
}
# Batch of one device, devices, accumulated batches: the total is what the rate is stated for.
SINGLE_GPU = {"8gb": (6, 6), "12gb": (12, 3), "24gb": (18, 2)}


def load(name, **overrides):
    return load_recipe(CONFIGS / name, {key.replace("__", "."): value for key, value in overrides.items()})


@functools.cache
def network(model_type, options):
    """One network for all recipes that build the same."""
    return build_model(model_type, 19, **dict(options))


def network_of_recipe(recipe):
    return network(recipe.model.type, tuple(recipe.model.options.items()))


def test_every_published_recipe_is_there():
    for protocol in ("seg50_cityscapes", "seg75_cityscapes", "camvid"):
        for network_name in ("stdc1", "stdc2", "bisestdc", "bisestdc2"):
            infix = "_seg_" if protocol == "camvid" and network_name.startswith("stdc") else "_"
            assert f"{network_name}{infix}{protocol}.yml" in RECIPES
    assert {name for name in RECIPES if name.startswith("best/")} == {
        *(f"best/stdc{n}_seg{scale}_cityscapes.yml" for n in (1, 2) for scale in (50, 75)),
        *(f"best/{name}_seg{scale}_cityscapes.yml" for name in ("bisestdc", "bisestdc2") for scale in (50, 75)),
        "best/ddrnet23_slim_cityscapes.yml",
        "best/stdc1_seg_camvid.yml",
    }
    assert {name for name in RECIPES if re.search(r"_\d+gb", name)} == {
        f"{network_name}_seg50_cityscapes_{memory}.yml" for network_name in ("stdc1", "stdc2") for memory in SINGLE_GPU
    }


@pytest.mark.parametrize("name", RECIPES)
def test_the_header_says_command_result_and_run(name):
    text = (CONFIGS / name).read_text()
    assert len(text.splitlines()) <= 40
    header = " ".join(line[1:].strip(" \\") for line in text.split("\n_base_:")[0].splitlines())
    assert re.search(rf"python .*train\.py {{1,2}}--config configs/{re.escape(name)}(\s|$)", header)
    assert re.search(r"[Pp]ublished", header) and re.search(r"Not run here|run here is in docs/", header)


@pytest.mark.parametrize("name", RECIPES)
def test_it_builds_network_criterion_schedule_and_optimiser(name):
    recipe = load(name)
    model = network_of_recipe(recipe)
    criterion = build_criterion(recipe.loss, model.output_names)
    build_optimizer(recipe.optimizer, build_schedule(recipe.lr_scheduler, recipe.iters), (model, criterion))
    weights = recipe.model.backbone.pretrained
    assert weights is None or read_manifest()[weights].output.split("_imagenet")[0] == BACKBONES[recipe.model.type]
    assert (weights is None) == bool(re.search(r"_scratch|deepspark|1024x512|camvid\.yml|sample|ddrnet23_camvid", name))
    if "_seg75" in name:
        assert list(recipe.test_config) == ["seg75", "seg50"]
        assert [protocol.scales for protocol in recipe.test_config.values()] == [0.75, 0.5]
    elif "_seg50" in name:
        assert list(recipe.test_config) == ["seg50", "seg75"]
    else:
        assert list(recipe.test_config) == ["full"]


@pytest.mark.parametrize("name", RECIPES)
def test_its_rates_are_those_of_the_table(name):
    recipe = load(name)
    row = next(row for pattern, row in ROWS if re.search(pattern, name))
    iters, warmup, rates = RATES[row]
    assert (recipe.iters, recipe.lr_scheduler.warmup_iters) == (iters, warmup)
    schedule = build_schedule(recipe.lr_scheduler, recipe.iters)
    for iteration, rate in zip((0, 1, warmup, iters // 2, iters - 1), rates):
        schedule.step(iteration)
        assert schedule.get_lr() == pytest.approx(rate, rel=1e-6), iteration


def test_single_gpu_variants_keep_batch_and_rate():
    for network_name in ("stdc1", "stdc2"):
        whole = load(f"{network_name}_seg50_cityscapes.yml")
        for memory, (batch, accumulate) in SINGLE_GPU.items():
            recipe = load(f"{network_name}_seg50_cityscapes_{memory}.yml")
            assert (recipe.batch_size, recipe.accumulate, recipe.total_batch_size) == (batch, accumulate, 36)
            assert batch * accumulate == whole.batch_size == whole.total_batch_size
            assert recipe.lr_scheduler == whole.lr_scheduler and recipe.loss == whole.loss


def test_the_authors_batch_on_one_gpu_is_their_recipe():
    one, three = load("stdc2_seg50_cityscapes_48.yml"), load("official/stdc2_seg50_cityscapes.yml")
    assert one.batch_size == one.total_batch_size == three.total_batch_size == 3 * three.batch_size
    assert (one.lr_scheduler, one.loss, one.optimizer) == (three.lr_scheduler, three.loss, three.optimizer)


def test_the_published_losses():
    bisestdc = load("bisestdc_seg50_cityscapes.yml").loss
    assert {name: term.weight for name, (term,) in bisestdc.items()} == {
        "main": 1, "aux4": 0.3, "aux8": 0.3, "aux16": 0.3, "detail4": 1,
    }  # fmt: skip
    ddrnet = load("ddrnet23_slim_cityscapes_1024x1024.yml").loss
    weights = (
        ".8373 .918 .866 1.0345 1.0166 .9969 .9754 1.0489 .8786 1.0023 .9539 .9843 1.1116 .9037 1.0865 1.0955 1.0865 "
        "1.1529 1.0507"
    )
    for name, factor in (("main", 1), ("aux8", 0.4)):
        (term,) = ddrnet[name]
        assert (term.thresh, term.n_min, term.weight) == (0.9, 131072, factor)
        assert list(term.class_weights) == [float(weight) for weight in weights.split()]
    plain = load("ddrnet23_slim_cityscapes_1024x512.yml").loss
    assert {name: (term.type, term.weight) for name, (term,) in plain.items()} == {
        "main": ("CrossEntropyLoss", 1),
        "aux8": ("CrossEntropyLoss", 0),
    }


def content(name):
    """What decides how an iteration of a recipe runs."""
    recipe = load(name)
    transforms = recipe.train_dataset.transforms
    return repr((recipe.model.type, recipe.model.options, recipe.loss, recipe.optimizer, transforms))


DISTINCT = list({content(name): name for name in reversed(RECIPES)}.values())


@pytest.mark.parametrize("name", sorted(DISTINCT))
def test_it_runs_two_iterations_on_the_sample(name, sample_root, tmp_path, monkeypatch):
    recipe = load(
        name,
        train_dataset__type="Cityscapes",
        train_dataset__dataset_root=str(sample_root),
        train_dataset__transforms__RandomPaddingCrop__crop_size=[64, 64],
        model__backbone__pretrained=None,
        batch_size=2,
        accumulate=1,
        iters=2,
    )
    monkeypatch.setattr("engine.training.trainer.network_of", lambda recipe, *_, **__: network_of_recipe(recipe))
    trainer = RecordedTrainer(recipe, RunOptions(save_dir=str(tmp_path), validate=False))
    trainer.fit()
    assert len(trainer.losses) == 2 and all(math.isfinite(loss) for loss in trainer.losses)
