"""Every field of a recipe, taken from the models' schema, with wrong values: success or an error of two lines.

What is read is also built and used, on the sample and on small stand-ins for the network.
"""

import copy
from pathlib import Path

from compat import UserError
from compat.options import check

import numpy as np
import paddle
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from paddle import nn

from engine.build import dataset_of, network_of
from engine.evaluation.inference import predict_logits
from engine.recipe import Recipe
from engine.recipe.reading import _read_with_base
from engine.training.optimizer import build_optimizer, build_schedule
from loss import build_criterion

SCHEMA = Recipe.model_json_schema()
NEEDED = {
    "Dataset": {"num_classes": 19, "train_path": "list.txt", "val_path": "list.txt"}
}  # beside what all types need
CLASSES = 19


class Toy(nn.Layer):
    """A network with the parameters that patterns of a recipe may name."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2D(3, 2, 1)
        self.bn = nn.BatchNorm2D(2)
        self.heads = nn.Conv2D(2, 2, 1)

    def forward(self, image):
        return [self.heads(self.bn(self.backbone(image)))]


@pytest.fixture(scope="module")
def recipe(sample_root):
    """The sample's recipe as it is read, small, with every kind of value that a list or mapping may hold."""
    raw = _read_with_base(Path("configs/stdc1_seg_sample.yml"), (), [])
    files = [
        f"leftImg8bit/train/{path.parent.name}/{path.name}" for path in sample_root.glob("leftImg8bit/train/*/*.png")
    ]
    labels = [name.replace("leftImg8bit", "gtFine", 1).replace("_leftImg8bit", "_gtFine_labelIds") for name in files]
    (sample_root / "list.txt").write_text("".join(f"{image} {label}\n" for image, label in zip(files, labels)))
    for name in ("train_dataset", "val_dataset"):
        raw[name]["dataset_root"] = str(sample_root)
    raw["train_dataset"]["transforms"] = [{"type": "RandomPaddingCrop", "crop_size": [16, 8]}]
    raw["optimizer"].update(lr_mult={"heads": 10}, frozen=["bn"], no_weight_decay=["norm"])
    raw["test_config"]["full"]["scales"] = [0.5, 1.0]
    teacher = {"config": "configs/stdc2_seg_camvid.yml", "weights": "teacher.pdparams"}
    raw["distill"] = {"teacher": teacher, "terms": [{"type": "LogitDistillation"}]}
    return {**raw, "total_batch_size": 4}


def put(recipe, path, value):
    """A copy of the recipe in which the place `path` holds `value`."""
    if not path:
        return value
    first, *others = path
    inner = recipe.get(first) or {} if isinstance(recipe, dict) else recipe[first]
    changed = copy.copy(recipe)
    changed[first] = put(inner, others, value)
    return changed


def at(recipe, path):
    """What stands at the place, None for nothing."""
    for part in path:
        recipe = recipe.get(part) if isinstance(recipe, dict) else recipe[part]
        if recipe is None:
            break
    return recipe


def places(schema, recipe, path=()):
    """(recipe, path) of the places that the schema knows, each in a recipe with the type that has it."""
    schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if path:
        yield recipe, path
    for choice in schema.get("oneOf", ()):
        name = choice["$ref"].rpartition("/")[2]
        known, old = SCHEMA["$defs"][name]["properties"], at(recipe, path)
        own = {key: value for key, value in old.items() if key in known and key != "type"}
        yield from places(choice, put(recipe, path, {"type": name, **own, **NEEDED.get(name, {})}), path)
    for name, inner in schema.get("properties", {}).items():
        yield from places(inner, recipe, (*path, name))
    held, inner = at(recipe, path), schema.get("additionalProperties")
    if isinstance(held, dict) and isinstance(inner, dict):
        for name in dict.fromkeys((next(iter(held)), next(reversed(held)))):  # such as main and detail8
            yield from places(inner, recipe, (*path, name))
    for choice in schema.get("anyOf", ()):
        yield from list(places(choice, recipe, path))[1:]  # the place itself is there already
    if isinstance(schema.get("items"), dict) and held:
        # One item will do, as it takes every type in turn.
        held = [held] if isinstance(held, dict) else held
        if isinstance(held, list):
            yield from places(schema["items"], put(recipe, path, held), (*path, 0))


def try_out(recipe, part, used):
    """Read the recipe, build and use the part named unless `used` holds it; an error must be of two lines at most."""
    try:
        checked = check(Recipe, recipe, "recipe.yml")
        content = f"{part}: {getattr(checked, part)!r}"
        if part in USES and content not in used:
            used.add(content)
            USES[part](checked)
    except UserError as error:
        assert 1 <= len(str(error).splitlines()) <= 2 and len(str(error)) < 700, error


def use_dataset(name):
    def use(recipe):
        dataset = dataset_of(getattr(recipe, name))
        item = dataset[0]
        assert item["img"].ndim == 3 and item["label"].dtype == np.uint8

    return use


def use_losses(recipe):
    criterion = build_criterion(recipe.loss, ("main", "aux8", "aux16", "detail8"))
    logits = [paddle.randn([1, CLASSES, 4, 4]) for _ in range(3)]
    labels = paddle.to_tensor(np.arange(16, dtype="int64").reshape(1, 4, 4))
    criterion([*logits, paddle.randn([1, 1, 2, 2])], labels)


def use_optimizer(recipe):
    schedule = build_schedule(recipe.lr_scheduler, recipe.iters)
    build_optimizer(recipe.optimizer, schedule, (Toy(),)).step()
    for iteration in (1, recipe.iters - 1):
        schedule.step(iteration)
        assert np.isfinite(schedule.get_lr())


def use_protocols(recipe):
    for protocol in recipe.test_config.values():
        predict_logits(Toy(), paddle.randn([1, 3, 4, 6]), protocol)


def use_network(recipe):
    with paddle.LazyGuard():
        network_of(recipe, CLASSES)


USES = {
    "train_dataset": use_dataset("train_dataset"),
    "val_dataset": use_dataset("val_dataset"),
    "loss": use_losses,
    "optimizer": use_optimizer,
    "lr_scheduler": use_optimizer,
    "test_config": use_protocols,
    "model": use_network,
}

numbers = st.sampled_from([-1, 0, 1, 2, 3, 255, 300, 10**30, -0.5, 1e-9, 0.5, 1.5, float("nan"), float("inf")])
scalars = st.none() | st.booleans() | numbers | st.sampled_from(["", "abc", "(", ".", "heads", "5e-4", "auto"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "a", 1]), inner, max_size=2),
)


def test_every_type_and_field_is_walked(recipe):
    found = {".".join(map(str, path)) for _, path in places(SCHEMA, recipe)}
    types = {name: model for name, model in SCHEMA["$defs"].items() if "type" in model["properties"]}
    fields = {key for model in types.values() for key in model["properties"]}
    assert fields <= {path.rpartition(".")[2] for path in found}
    assert {"loss.main.0.class_weights", "optimizer.lr_mult.heads", "train_dataset.transforms.0.crop_size"} <= found
    for variant, path in places(SCHEMA, recipe):
        if path[0] != "val_dataset":  # which knows fewer transforms
            check(Recipe, variant, "recipe.yml")


def test_wrong_values_are_errors_of_two_lines(recipe):
    found, used = list(places(SCHEMA, recipe)), set()

    @settings(derandomize=True, deadline=None, max_examples=8, database=None)
    @given(value=values)
    @example(value=None)
    @example(value=[])
    @example(value={})
    @example(value="abc")
    @example(value="(")
    @example(value=-1)
    @example(value=300)
    @example(value=True)
    @example(value=[-1, 2])
    @example(value=["a", "b", "c"])
    @example(value=[["a"], {"b": None}])
    def walk(value):
        for variant, path in found:
            try_out(put(variant, path, value), path[0], used)

    walk()


def test_unknown_keys_are_named(recipe):
    for variant, path in [(recipe, ()), *places(SCHEMA, recipe)]:
        if isinstance(at(variant, path), dict) and path[-1:] not in (("loss",), ("test_config",), ("lr_mult",)):
            with pytest.raises(UserError, match="the key 'tpye' is not known"):
                check(Recipe, put(variant, (*path, "tpye"), 1), "recipe.yml")
