"""Reading recipes: bases, overrides, and every kind of mistake."""

import re
from pathlib import Path

from compat import UserError

import pytest

from engine.recipe import Protocol, load_recipe, scale_learning_rate

SAMPLE = "configs/stdc1_seg_sample.yml"


def test_bases_merge_and_the_recipe_has_the_last_word():
    recipe = load_recipe("configs/stdc2_seg50_cityscapes.yml")
    assert (recipe.batch_size, recipe.total_batch_size, recipe.iters) == (36, 36, 80000)
    assert recipe.model.type == "stdc2_seg" and recipe.model.options == {"detail_strides": (8,)}
    assert recipe.model.backbone.pretrained == "stdc2_imagenet_mmseg"
    assert recipe.lr_scheduler.learning_rate == 0.01 and recipe.lr_scheduler.end_lr == 1e-5
    assert recipe.test_config == {"seg50": Protocol(scales=0.5), "seg75": Protocol(scales=0.75)}
    assert list(recipe.loss) == ["main", "aux8", "aux16", "detail8"]


def test_overrides_and_opts():
    recipe = load_recipe(
        SAMPLE,
        {"iters": 7, "batch_size": 3},
        [
            "iters=9",
            "optimizer.weight_decay=1e-4",
            "train_dataset.transforms.RandomPaddingCrop.crop_size=[32, 16]",
            "train_dataset.transforms.0.min_scale_factor=0.5",
            "optimizer.lr_mult={heads: 10}",
            "model.backbone.pretrained=null",
        ],
    )
    assert (recipe.iters, recipe.batch_size, recipe.total_batch_size) == (9, 3, 4)
    assert recipe.optimizer.weight_decay == 1e-4 and recipe.optimizer.lr_mult == {"heads": 10}
    crop = next(item for item in recipe.train_dataset.transforms if item.type == "RandomPaddingCrop")
    assert crop.crop_size == (32, 16) and recipe.train_dataset.transforms[0].min_scale_factor == 0.5


def test_flat_test_config_is_one_protocol(tmp_path):
    path = tmp_path / "flat.yml"
    path.write_text(
        f"_base_: {_absolute(SAMPLE)}\ntest_config: {{_inherited_: False, aug_eval: True, scales: [0.5, 1]}}"
    )
    assert load_recipe(path).test_config == {"val": Protocol(scales=(0.5, 1))}


def test_a_protocol_that_is_none_is_named_and_not_those_beside_it(tmp_path):
    path = tmp_path / "null.yml"
    path.write_text(f"_base_: {_absolute(SAMPLE)}\ntest_config: {{half: null}}")
    with pytest.raises(UserError, match="null.yml: test_config.half: expected a mapping of keys, got None"):
        load_recipe(path)


def test_another_type_over_a_base_names_the_way_to_drop_the_bases_options(tmp_path):
    path = tmp_path / "adamw.yml"
    path.write_text(f"_base_: {_absolute(SAMPLE)}\noptimizer: {{type: AdamW}}")
    with pytest.raises(UserError) as error:
        load_recipe(path)
    assert "the key 'momentum' is not known" in str(error.value)
    assert "what the base says under optimizer is for another type; _inherited_: false" in str(error.value)
    path.write_text(f"_base_: {_absolute(SAMPLE)}\noptimizer: {{_inherited_: false, type: AdamW}}")
    assert load_recipe(path).optimizer.type == "AdamW"


def test_a_mistake_elsewhere_says_nothing_of_types(tmp_path):
    path = tmp_path / "other.yml"
    path.write_text(f"_base_: {_absolute(SAMPLE)}\noptimizer: {{_inherited_: false, type: AdamW}}\nbatchsize: 4")
    with pytest.raises(UserError) as error:
        load_recipe(path)
    assert "_inherited_" not in str(error.value)
    path.write_text(f"_base_: {_absolute(SAMPLE)}\nmodel: {{type: stdc2_seg}}\nbatchsize: 4")  # `model` is a known key
    with pytest.raises(UserError) as error:
        load_recipe(path)
    assert "_inherited_" not in str(error.value)


def _absolute(path):
    from pathlib import Path

    return Path(path).resolve()


@pytest.mark.parametrize(
    ("opt", "message"),
    [
        ("batchsize=4", "the key 'batchsize' is not known; did you mean batch_size"),
        ("optimizer.momentun=0.9", "optimizer: the key 'momentun' is not known; did you mean momentum"),
        ("lr_scheduler.warmup_iter=3", "lr_scheduler: the key 'warmup_iter' is not known; did you mean warmup_iters"),
        ("iters=many", "iters: expected a whole number, got 'many'"),
        ("save_interval=0", "save_interval: expected a number of at least 1, got 0"),
        ("iters=1.5", "iters: expected a whole number, got 1.5"),
        ("model.backbone.pretraned=x", "did you mean pretrained"),
        ("test_config.full.scale=1", "did you mean scales"),
        ("iters", "expected key=value"),
        ("iters.deep=1", "holds the value"),
        ("train_dataset.transforms.Crop.size=1", "no item 'Crop'"),
        ("train_dataset.transforms.5.size=1", "no item '5' in this list of ResizeStepScaling, "),
        ("loss=[", "not valid YAML"),
        ("loss.main=abc", "loss.main: expected a mapping with a type, got 'abc'"),
        ("loss.main.class_weights=[1,2]", "loss.main.class_weights: 2 numbers for the dataset's 19 classes"),
        ("loss.main.weight=abc", "loss.main.weight: expected a number, got 'abc'"),
        ("loss.main.n_min=1.5", "loss.main.n_min: expected a whole number or a number below 1, got 1.5"),
        ("loss.main.thresh=3", "loss.main.thresh: expected a number of at most 1, got 3"),
        ("loss.main.ignore_index=300", "loss.main.ignore_index: expected a number of at most 255, got 300"),
        ("loss.main.ignore_index=7", "loss.main.ignore_index: 7; all datasets mark ignored pixels with 255"),
        ("train_dataset.transforms=[Normalize]", "train_dataset.transforms.0: expected a mapping with a type"),
        ("train_dataset.transforms=null", "train_dataset.transforms: expected a list, got None"),
        (
            "train_dataset.transforms.RandomPaddingCrop.crop_size=64",
            "RandomPaddingCrop.crop_size: expected a list, got 64",
        ),
        ("train_dataset.transforms.0.min_scale_factor=3", "min_scale_factor 3 is above max_scale_factor 1.25"),
        ("val_dataset.transforms=[{type: RandomDistort}]", "val transform 'RandomDistort' is not known"),
        ("optimizer.lr_mult=[1]", "optimizer.lr_mult: expected a mapping of keys, got [1]"),
        ("optimizer.frozen='('", "'(' is not a regular expression"),
        ("model.type=stdc9_seg", "model: type 'stdc9_seg' is not known; did you mean stdc2_seg"),
        ("test_config.full.scales=[0.5,0]", "test_config.full.scales.1: expected a number above 0, got 0"),
        ("test_config.full.is_slide=true", "test_config.full: is_slide needs crop_size and stride"),
        ("test_config.full={is_slide: true, crop_size: [8, 8], stride: [8, 9]}", "must be at most crop_size (8, 8)"),
        ("train_dataset.transforms.².min_scale_factor=1", "no item '²' in this list"),
        ("train_dataset={mode: val, type: CamVid, dataset_root: x}", "train_dataset.mode: val; only mode train has"),
        ("loss={main: {type: CrossEntropyLoss, type: DiceLoss}}", "the key 'type' is given twice"),
        ("model.aux_strides=true", "model.aux_strides: expected a whole number, got True"),
        ("model.aux_strides=eight", "model.aux_strides: expected a whole number, got 'eight'"),
        ("loss.main.class_weights=atuo", "loss.main.class_weights: 'atuo' is not one of auto, median, enet"),
        ("batch_size=true", "batch_size: expected a whole number, got True"),
    ],
)
def test_mistakes_are_named(opt, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        load_recipe(SAMPLE, {}, [opt])
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("num_classes: 1", "num_classes must be a number from 2 to 254, not 1; the background is a class too"),
        ("num_classes: 255", "num_classes must be a number from 2 to 254, not 255; the background is a class too"),
        ("num_classes: 3, classes: {a: [0, 0, 0], b: [9, 9, 9]}", "classes names 2 classes, num_classes is 3"),
    ],
)
def test_wrong_classes_are_named_with_the_file(tmp_path, given, message):
    path = tmp_path / "recipe.yml"
    data = f"{{_inherited_: false, type: Dataset, dataset_root: none, mode: val, val_path: list.txt, {given}}}"
    path.write_text(f"_base_: {_absolute(SAMPLE)}\nval_dataset: {data}")
    with pytest.raises(UserError) as error:
        load_recipe(path)
    assert str(error.value) == f"{path}: val_dataset: dataset type Dataset: {message}"


def test_mistakes_are_all_named():
    with pytest.raises(UserError) as error:
        load_recipe(SAMPLE, {}, ["iters=many", "optimizer.momentum=2", "loss.main.thresh=0"])
    first, rest = str(error.value).splitlines()
    assert first == f"{SAMPLE}: iters: expected a whole number, got 'many'"
    assert rest == "and 2 more: optimizer.momentum, loss.main.thresh"


def test_texts_where_lists_and_numbers_belong():
    optimizer = load_recipe(SAMPLE, {}, ["optimizer.frozen=backbone", "optimizer.weight_decay=5e-4"]).optimizer
    assert optimizer.frozen == ("backbone",) and optimizer.weight_decay == 5e-4
    assert load_recipe(SAMPLE, {}, ["iters=1e3", "optimizer.no_weight_decay=norm"]).iters == 1000
    for key, value in (("detail_strides", 8), ("aux_strides", 16), ("backbone_aux_strides", 32)):
        assert load_recipe(SAMPLE, {}, [f"model.{key}={value}"]).model.options[key] == (value,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("iters: 3", "the key 'batch_size' is missing"),
        ("- 1", "a recipe is a mapping"),
        ("_base_: self.yml", "builds on itself"),
        ("_base_: other.yml", "other.yml: no such recipe"),
        ("a: [", "not valid YAML"),
        ("a: 2026-13-01", "not valid YAML"),
        ("a: 1\nb: {}\na: 2", "the key 'a' is given twice in .*line 3"),
        ("model: &own {type: stdc1_seg, backbone: *own}", "holds itself by an alias"),
        ("&own\nmodel: *own", "holds itself by an alias"),
        ("_base_: 5", "_base_: expected a recipe's file name or a list of them, got 5"),
        ("_base_: [{a: 1}]", "_base_: expected a recipe's file name"),
    ],
)
def test_broken_files_are_named(tmp_path, text, message):
    path = tmp_path / "self.yml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_recipe(path)


@pytest.mark.parametrize(
    ("text", "batch", "total"),
    [("batch_size: '8'", 8, 8), ("batch_size: 8.0", 8, 8), ("accumulate: '2'", 4, 8), ("accumulate: 1e1", 4, 40)],
)
def test_numbers_of_a_file_may_be_text_as_those_of_opts(tmp_path, text, batch, total):
    path = tmp_path / "recipe.yml"
    path.write_text(f"_base_: {_absolute(SAMPLE)}\n{text}\n")
    recipe = load_recipe(path)
    assert (recipe.batch_size, recipe.total_batch_size) == (batch, total)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_size: many", "batch_size: expected a whole number, got 'many'"),
        ("accumulate: 0", "accumulate: expected a number of at least 1, got 0"),
        ("accumulate: null", "accumulate: expected a whole number, got None"),
    ],
)
def test_a_wrong_batch_is_named_and_not_the_total(tmp_path, text, message):
    path = tmp_path / "recipe.yml"
    path.write_text(f"_base_: {_absolute(SAMPLE)}\n{text}\n")
    with pytest.raises(UserError) as error:
        load_recipe(path)
    assert str(error.value) == f"{path}: {message}"


def test_auto_learning_rate_is_linear_in_the_batch():
    recipe = scale_learning_rate(load_recipe("configs/stdc2_seg50_cityscapes.yml", {"batch_size": 9}), devices=2)
    assert recipe.lr_scheduler.learning_rate == pytest.approx(0.005)
    assert recipe.lr_scheduler.end_lr == recipe.lr_scheduler.warmup_start_lr == pytest.approx(5e-6)


def test_an_override_changes_what_it_names_and_not_an_alias_of_it(tmp_path):
    """Overrides of train_dataset.transforms changed val_dataset's too, if the recipe repeats them by an alias."""
    recipe = tmp_path / "recipe.yml"
    recipe.write_text(
        f"_base_: {Path(SAMPLE).resolve().as_posix()}\n"
        "train_dataset: {transforms: [&n {type: Normalize, mean: [0.1, 0.1, 0.1]}]}\n"
        "val_dataset: {transforms: [*n]}\n"
    )
    loaded = load_recipe(recipe, {}, ["train_dataset.transforms.Normalize.mean=[0.9,0.9,0.9]"])
    assert loaded.train_dataset.normalize.mean == (0.9, 0.9, 0.9)
    assert loaded.val_dataset.normalize.mean == (0.1, 0.1, 0.1)


def test_merged_mappings_may_repeat_keys(tmp_path):
    """`<<` brings in the keys of another mapping, whatever is given beside it."""
    recipe = tmp_path / "recipe.yml"
    recipe.write_text(
        f"_base_: {Path(SAMPLE).resolve().as_posix()}\n"
        "optimizer: &first {<<: &base {momentum: 0.5, weight_decay: 0.1}, momentum: 0.6}\n"
        "test_config: {full: {scales: &one 1.0}, half: {<<: [{scales: 0.5}, {scales: *one}]}}\n"
    )
    loaded = load_recipe(recipe)
    assert loaded.optimizer.momentum == 0.6 and loaded.optimizer.weight_decay == 0.1
    assert loaded.test_config["half"].scales == 0.5
