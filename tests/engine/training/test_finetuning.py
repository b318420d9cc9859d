"""--finetune: what is taken, what stays fresh, which classes are mapped, and what is refused."""

import logging

from compat import UserError, logger

import numpy as np
import paddle
import pytest

import train
from engine.build import weight_file
from engine.recipe import load_recipe
from engine.training.finetuning import take_starting_weights
from engine.training.options import RunOptions
from engine.training.trainer import Trainer
from models import build_model
from models.weights import load_weights, read_weights
from tests.helpers.zero_networks import zero_networks

SAMPLE = "configs/stdc1_seg_sample.yml"
COLORS = {"Traffic Sign": [1, 2, 3], "crane": [4, 5, 6], "road": [7, 8, 9]}
IMAGENET = "configs/stdc1_seg_camvid_960x720.yml"  # normalises as for the weights of ImageNet
CITYSCAPES_ROWS = {0: 7, 2: 0}  # by name: traffic sign and road
CLASSIFIERS = [f"heads.{head}.classifier.weight" for head in ("main", "aux8", "aux16")]


@pytest.fixture(scope="module", autouse=True)
def no_random_weights():
    with zero_networks():
        yield


def saved(path, name, num_classes=19, keep=lambda tensor: True, **options):
    """(tensors, file) of a network with random weights."""
    rng = np.random.default_rng(0)
    shapes = {key: tensor.shape for key, tensor in build_model(name, num_classes, **options).state_dict().items()}
    state = {key: rng.uniform(0.5, 1, shape).astype("float32") for key, shape in shapes.items() if keep(key)}
    paddle.save({key: paddle.to_tensor(array) for key, array in state.items()}, str(path))
    return state, str(path)


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("weights") / "model.pdparams", "stdc1_seg")


def recipe_of(classes=3, **overrides):
    dataset = {"type": "Dataset", "dataset_root": "none", "num_classes": classes}
    if classes == 3:
        dataset["classes"] = COLORS
    parts = {
        f"{mode}_dataset": {**dataset, "mode": mode, f"{mode}_path": "list.txt", "transforms": [{"type": "Normalize"}]}
        for mode in ("train", "val")
    }
    return load_recipe(SAMPLE, {**parts, **{key.replace("__", "."): value for key, value in overrides.items()}})


def start(recipe, finetune, **options):
    """The network's tensors before and after."""
    model = build_model(recipe.model.type, recipe.train_dataset.class_count, **recipe.model.options)
    before = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    take_starting_weights(model, recipe, RunOptions(finetune=finetune, **options))
    return before, {name: tensor.numpy() for name, tensor in model.state_dict().items()}


@pytest.fixture
def lines():
    """The log's messages."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


def same(state, other, names):
    return all(np.array_equal(state[name], other[name]) for name in names)


def test_all_but_the_classifiers_of_another_class_count(cityscapes, lines):
    state, file = cityscapes
    before, after = start(recipe_of(), file)
    assert same(state, after, set(state) - set(CLASSIFIERS)) and same(before, after, CLASSIFIERS)
    assert lines == [
        f"--finetune {file}: took 208 tensors; 19 classes there, 3 here; new classifiers: main, aux8, aux16"
    ]


def test_all_of_the_same_class_count(cityscapes, lines):
    state, file = cityscapes
    _, after = start(recipe_of(19), file)
    assert same(state, after, state) and lines == [f"--finetune {file}: took 211 tensors; 19 classes"]


def test_heads_that_only_training_uses_may_differ(cityscapes, lines):
    state, file = cityscapes
    recipe = recipe_of(model__detail_strides=[4], model__aux_strides=[16], model__backbone_aux_strides=[32])
    before, after = start(recipe, file)
    taken = [name for name in after if not name.startswith(("heads.detail4", "heads.backbone32"))]
    assert same(state, after, set(taken) - set(CLASSIFIERS))
    assert same(before, after, (set(after) - set(taken)) | {CLASSIFIERS[0], CLASSIFIERS[2]})
    assert "new classifiers: main, aux16; new heads: backbone32, detail4; heads that are not used:" in lines[0]


def test_deployed_weights_suffice(tmp_path):
    trained_only = ("heads.aux", "heads.detail")
    state, file = saved(tmp_path / "w.pdparams", "stdc1_seg", keep=lambda name: not name.startswith(trained_only))
    before, after = start(recipe_of(), file)
    assert same(state, after, set(state) - set(CLASSIFIERS))
    assert same(before, after, [name for name in after if name.startswith(trained_only)])


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        (["by_name"], CITYSCAPES_ROWS),
        (["crane=truck"], {1: 14}),
        (["by_name", "crane=truck", "road=sidewalk"], {0: 7, 1: 14, 2: 1}),
    ],
)
def test_classes_begin_with_their_classifiers(words, rows, cityscapes, lines):
    state, file = cityscapes
    options = {"finetune_classes": tuple(words), "finetune_config": "configs/stdc1_seg50_cityscapes.yml"}
    before, after = start(recipe_of(), file, **options)
    for name in CLASSIFIERS:
        for own in range(3):
            assert np.array_equal(after[name][own], state[name][rows[own]] if own in rows else before[name][own])
    new = [name for own, name in enumerate(COLORS) if own not in rows]
    assert lines[-1].endswith(f"; new: {', '.join(new) or 'none'}")


@pytest.mark.parametrize("head_bias", [False, True])
def test_biases_of_classes_that_the_recipe_has_no_place_for_are_reported(head_bias, tmp_path, lines):
    detail = "heads.detail8."  # its classifier has a bias only in a network with head_bias
    state, file = saved(
        tmp_path / "w.pdparams", "stdc1_seg", keep=lambda name: not name.startswith(detail), head_bias=True
    )
    options = {"finetune_classes": ("crane=truck",), "finetune_config": "configs/stdc1_seg50_cityscapes.yml"}
    _, after = start(recipe_of(model__head_bias=head_bias), file, **options)
    if head_bias:
        assert after["heads.main.classifier.bias"][1] == state["heads.main.classifier.bias"][14]
    assert any("biases of their classifiers are not copied" in line for line in lines) != head_bias


def test_classes_are_mapped_for_the_same_class_count_too(cityscapes):
    state, file = cityscapes
    options = {"finetune_classes": ("class_1=road",), "finetune_config": "configs/stdc1_seg50_cityscapes.yml"}
    before, after = start(recipe_of(19), file, **options)
    name = CLASSIFIERS[0]
    assert np.array_equal(after[name][1], state[name][0]) and np.array_equal(after[name][2], before[name][2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"finetune_classes": ("by_name",)}, "does not say what its classes are called; .* --finetune_config"),
        ({"finetune_config": SAMPLE, "finetune_classes": ("craen=truck",)}, "our class 'craen' .* did you mean crane"),
        ({"finetune_config": SAMPLE, "finetune_classes": ("crane=truk",)}, "their class 'truk' .* did you mean truck"),
        ({"finetune_config": SAMPLE, "finetune_classes": ("crane",)}, "expected by_name or OURS=THEIRS"),
        (
            {"finetune_config": "configs/stdc1_seg_camvid.yml", "finetune_classes": ("by_name",)},
            "has 11 classes, .* 19",
        ),
    ],
)
def test_classes_that_cannot_be_mapped(options, message, cityscapes):
    with pytest.raises(UserError, match=message):
        start(recipe_of(), cityscapes[1], **options)


def test_no_class_of_the_same_name(cityscapes):
    with pytest.raises(
        UserError, match="no class of class_0, class_1, .* is one of road, sidewalk, .*pavement=sidewalk"
    ):
        start(recipe_of(5), cityscapes[1], finetune_classes=("by_name",), finetune_config=SAMPLE)


def test_another_network_is_named(cityscapes, tmp_path):
    _, file = saved(tmp_path / "d.pdparams", "ddrnet23_slim")
    with pytest.raises(UserError, match="holds weights of ddrnet23_slim, and the recipe's network is stdc1_seg"):
        start(recipe_of(), file)
    _, file = saved(tmp_path / "h.pdparams", "stdc1_seg", gate_bias=True)
    with pytest.raises(UserError, match="does not fit STDCSeg: 0 missing; 2 unexpected"):
        start(recipe_of(), file)


def test_a_backbone_alone_is_named(tmp_path, cityscapes):
    message = "holds only a backbone; .*--opts model.backbone.pretrained="
    _, file = saved(tmp_path / "b.pdparams", "stdc1_seg", keep=lambda name: name.startswith("backbone."))
    for network in (file, "stdc1_imagenet_mmseg"):
        with pytest.raises(UserError, match=message):
            start(recipe_of(), network)
    with pytest.raises(UserError, match=message):
        load_weights(build_model("stdc1_seg", 3), file)
    _, file = saved(tmp_path / "c.pdparams", "stdc1")
    with pytest.raises(UserError, match=message):
        start(recipe_of(), file)
    paddle.save({"ffm.conv.weight": paddle.ones([1])}, str(tmp_path / "f.pdparams"))
    with pytest.raises(UserError, match="holds no network of this project .*tool.convert"):
        start(recipe_of(), str(tmp_path / "f.pdparams"))


def test_weights_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("STDC_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match="holds weights of stdc2_seg, and the recipe's network is stdc1_seg"):
        start(recipe_of(), "stdc2_seg_mmseg")
    state, _ = saved(tmp_path / "stdc1_seg_mmseg.pdparams", "stdc1_seg", head_bias=True)
    _, after = start(recipe_of(), "stdc1_seg_mmseg", finetune_classes=("by_name",))
    assert np.array_equal(after[CLASSIFIERS[0]][2], state[CLASSIFIERS[0]][0])
    before, after = start(recipe_of(model__head_bias=True), "stdc1_seg_mmseg", finetune_classes=("by_name",))
    for name in (CLASSIFIERS[0], "heads.main.classifier.bias"):
        assert np.array_equal(after[name], [state[name][7], before[name][1], state[name][0]]), name
    with pytest.raises(UserError, match="these weights need a network with --opts model.head_bias=true$"):
        start(recipe_of(19), "stdc1_seg_mmseg")
    saved(tmp_path / "stdc1_seg_paddleseg.pdparams", "stdc1_seg", head_bias=True, gate_bias=True)
    with pytest.raises(UserError, match="--opts model.gate_bias=true model.exclusive_pool=true$"):
        start(recipe_of(), "stdc1_seg_paddleseg")


@pytest.mark.parametrize("mean", [[0.5, 0.5, 0.5], [0.485, 0.456, 0.406]])
def test_images_that_were_normalised_otherwise_are_named(mean, cityscapes, lines):
    normalize = {"type": "Normalize", "mean": mean, "std": [0.229, 0.224, 0.225]}
    start(
        recipe_of(train_dataset__transforms=[normalize]),
        cityscapes[1],
        finetune_config="configs/stdc1_seg_camvid_960x720.yml",
    )
    said = [line for line in lines if "normalised by mean [0.485, 0.456, 0.406] and std [0.229, 0.224, 0.225]" in line]
    assert len(said) == (mean[0] == 0.5)


def test_a_class_count_that_differs_names_the_way(cityscapes):
    with pytest.raises(
        UserError, match="has 19 classes, the recipe's dataset 3.*train.py --finetune .*model.pdparams$"
    ):
        load_weights(build_model("stdc1_seg", 3), cityscapes[1])
    with pytest.raises(UserError, match="1 of another shape .* Was it trained for another network"):
        load_weights(
            build_model("stdc1_seg", 19),
            {**read_weights(cityscapes[1]), "backbone.stages.0.conv.weight": paddle.ones([1])},
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"finetune": "a", "load_from": "b"}, "--finetune a: not with --load_from b"),
        ({"finetune": "a", "resume_model": "output/iter_3"}, "--resume_model output/iter_3: .* leave out --finetune a"),
        ({"finetune_classes": ("by_name",)}, "are for --finetune, which is not given"),
    ],
)
def test_contradictions(options, message):
    with pytest.raises(UserError, match=message):
        RunOptions(**options)


def test_two_sources_are_a_wrong_argument():
    with pytest.raises(SystemExit) as error:
        train.flags().parse_args(["--finetune", "a", "--load_from", "b"])
    assert error.value.code == 2


def test_a_training_begins_with_them_and_resuming_wins(small_recipe, cityscapes, tmp_path, lines):
    recipe = small_recipe(iters=1, model__backbone__pretrained="none.pdparams")
    options = {"finetune": cityscapes[1], "resume_model": "auto", "save_dir": str(tmp_path), "validate": False}
    trainer = Trainer(recipe, RunOptions(**options))
    assert same(cityscapes[0], {name: one.numpy() for name, one in trainer.model.state_dict().items()}, cityscapes[0])
    trainer.fit()
    resumed = Trainer(small_recipe(iters=2), RunOptions(**options))
    written = read_weights(weight_file(str(tmp_path / "iter_1")))
    assert all((tensor == written[name]).all() for name, tensor in resumed.model.state_dict().items())
    assert any(f"iter_1 at iteration 1; --finetune {cityscapes[1]} is not used any more" in line for line in lines)
