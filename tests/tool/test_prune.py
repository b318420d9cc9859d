"""tool.prune, and a pruned network through training, exact resume, evaluation, export, int8 and evaluation again."""

import shutil
from pathlib import Path

from compat import UserError

import numpy as np
import paddle
import pytest
import yaml

from engine.conversion.weight_files import read_weight_file
from engine.recipe import load_recipe
from engine.runtime import load_network
from engine.training.trainer import RunOptions, Trainer
from models import build_model
from models.weights import read_weights
from tool import convert, evaluate, export, prune

pytest.importorskip("onnxruntime")
pytest.importorskip("paddle2onnx")
pytest.importorskip("nncf")


@pytest.fixture(scope="module")
def base(sample_root, tmp_path_factory):
    """A recipe of STDC1-Seg that trains within seconds, and weights for it."""
    folder = tmp_path_factory.mktemp("base")
    recipe = {
        "_base_": str(Path("configs/stdc1_seg_sample.yml").resolve()),
        "batch_size": 2,
        "iters": 2,
        "save_interval": 1,
        "train_dataset": {"dataset_root": str(sample_root)},
        "val_dataset": {"dataset_root": str(sample_root)},
        "test_config": {"_inherited_": False, "val": {"scales": 0.5}},
    }
    (folder / "base.yml").write_text(yaml.safe_dump(recipe))
    paddle.seed(0)
    paddle.save(build_model("stdc1_seg", 19).state_dict(), str(folder / "whole.pdparams"))
    return folder


@pytest.fixture(scope="module")
def pruned(base, tmp_path_factory):
    """What tool.prune wrote."""
    folder = tmp_path_factory.mktemp("pruned") / "half"
    prune.main(arguments(base, folder, "--rounds", "2"))
    return folder


def arguments(base, folder, *more):
    crop = "train_dataset.transforms.RandomPaddingCrop.crop_size=[64, 64]"
    return [
        *("--config", str(base / "base.yml"), "--model_path", str(base / "whole.pdparams"), "--save_dir", str(folder)),
        *("--target", "0.5", "--batches", "1", "--rounds", "1", "--opts", crop, *more),
    ]


def test_the_recipe_has_the_widths_and_the_teacher(base, pruned):
    recipe = load_recipe(pruned / "recipe.yml")
    assert recipe.model.widths and all(width % 16 == 0 for width in recipe.model.widths.values())
    assert recipe.model.pretrained == str(pruned / "model.pdparams")
    assert recipe.distill.teacher.config == str(base / "base.yml")
    assert recipe.distill.teacher.weights == str(base / "whole.pdparams")
    weights = read_weights(pruned / "model.pdparams")
    assert sum(tensor.size for tensor in weights.values()) < 0.7 * sum(
        tensor.size for tensor in read_weights(base / "whole.pdparams").values()
    )
    assert {tuple(weights[f"{name}.conv.weight"].shape)[0] for name in recipe.model.widths if "convs" in name} <= set(
        recipe.model.widths.values()
    )


def test_a_pruned_network_trains_and_resumes_to_the_bit(pruned, tmp_path):
    crop = {"train_dataset.transforms.RandomPaddingCrop.crop_size": [64, 64]}
    recipe = load_recipe(pruned / "recipe.yml", crop)
    whole = Trainer(recipe, RunOptions(save_dir=str(tmp_path), seed=5, validate=False))
    whole.fit()
    expected = {name: tensor.numpy().copy() for name, tensor in whole.model.state_dict().items()}
    shutil.rmtree(tmp_path / "iter_2")
    resumed = Trainer(recipe, RunOptions(save_dir=str(tmp_path), seed=5, validate=False, resume_model="auto"))
    resumed.fit()
    start = read_weights(pruned / "model.pdparams")
    for name, tensor in resumed.model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), expected[name], err_msg=name)
    assert any((expected[name] != tensor.numpy()).any() for name, tensor in start.items())


def test_a_pruned_network_is_evaluated_exported_and_quantised(pruned, tmp_path, capsys):
    common = ["--config", str(pruned / "recipe.yml"), "--opts", "distill=null"]
    evaluate.main([*common, "--model_path", str(pruned), "--bootstrap", "0"])
    capsys.readouterr()
    shape = ["--input_shape", "1", "3", "32", "64"]
    int8 = ["--int8", "--max_drop", "100", "--calibration_images", "2"]
    export.main(
        [*common, "--model_path", str(pruned), "--save_dir", str(tmp_path), "--engines", "onnxruntime", *shape, *int8]
    )
    assert "onnxruntime  agrees with eager" in capsys.readouterr().out
    for precision in ("fp32", "int8"):
        network = load_network(tmp_path, "onnxruntime", precision, threads=1)
        assert network.run(np.zeros([1, 32, 64, 3], "uint8")).shape == (1, 32, 64)
    evaluate.main([*common, "--model_path", str(tmp_path), "--engine", "onnxruntime", "--precision", "int8"])
    assert "drop against float32" in capsys.readouterr().out


def test_pruned_weights_are_converted(pruned, tmp_path):
    """To half precision; the original projects have no network of these widths."""
    written = tmp_path / "weights.safetensors"
    flags = [str(pruned / "model.pdparams"), str(written), "--model", "stdc1_seg", "--target"]
    with pytest.raises(UserError, match="of another shape"):
        convert.main([*flags, "official"])
    convert.main([*flags, "half"])
    weights = read_weights(pruned / "model.pdparams")
    halves, _ = read_weight_file(written)
    assert {name: list(tensor.shape) for name, tensor in halves.items()} == {
        name: list(tensor.shape) for name, tensor in weights.items()
    }


def test_a_pruned_network_is_pruned_further(base, pruned, tmp_path):
    again = arguments(base, tmp_path / "again")
    again[1], again[3] = str(pruned / "recipe.yml"), str(pruned)
    prune.main([*again, "--criterion", "bn_scale"])
    first, second = (load_recipe(folder / "recipe.yml").model.widths for folder in (pruned, tmp_path / "again"))
    assert first.keys() <= second.keys()
    assert all(second[name] <= first[name] for name in first)
    assert sum(second[name] for name in first) < sum(first.values())


def test_a_latency_in_place_of_a_share(base, tmp_path, monkeypatch):
    """In place of a clock, the number of parameters."""
    monkeypatch.setattr("tool.pruning.latency.STEPS", 1)
    sizes = []

    def size(model, *_):
        sizes.append(sum(int(tensor.size) for tensor in model.state_dict().values()))
        return sizes[-1] / 1e6

    monkeypatch.setattr(prune, "measure", size)
    flags = [*arguments(base, tmp_path / "fast"), "--criterion", "bn_scale", "--latency", "7.5"]
    position = flags.index("--target")
    prune.main([*flags[:position], *flags[position + 2 :]])
    assert sizes[0] / 1e6 > 8 and sizes[-1] / 1e6 <= 7.5
    weights = read_weights(tmp_path / "fast" / "model.pdparams")
    assert sum(int(tensor.size) for tensor in weights.values()) == sizes[-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["--target", "0.01", "--criterion", "bn_scale"],
            "--target 0.01: with widths in multiples of 16 and .*, 0.07 remain; choose a higher --target",
        ),
        (["--opts", "model.head_channels=64"], "--opts model.head_channels=64: .* put the key there"),
    ],
)
def test_what_cannot_be_is_named(base, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        prune.main([*arguments(base, tmp_path / "new"), *changes])


def test_a_folder_with_anything_else_is_not_replaced(base, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is replaced as a whole, but holds notes.txt"):
        prune.main(arguments(base, tmp_path))
    with pytest.raises(UserError, match="base.yml|whole.pdparams"):
        prune.main(arguments(base, base))


def test_a_folder_with_the_recipe_or_its_teacher_is_not_replaced(base, pruned, tmp_path):
    """The recipe would be replaced by one that builds on itself, and the network before it would be lost."""
    (tmp_path / "pruned").mkdir()
    for file in ("recipe.yml", "model.pdparams"):
        shutil.copy(pruned / file, tmp_path / "pruned")
    recipe, weights = (tmp_path / "pruned" / file for file in ("recipe.yml", "model.pdparams"))
    recipe.write_text(recipe.read_text().replace("_base_: ", f"_base_: {pruned}/"))
    before = {file.name: file.read_bytes() for file in recipe.parent.iterdir()}
    again = arguments(base, recipe.parent)
    again[1] = str(recipe)
    with pytest.raises(UserError, match="holds .*recipe.yml, which is read; name a new folder"):
        prune.main(again)
    child = tmp_path / "child.yml"
    teacher = {"config": str(recipe), "weights": str(weights)}
    child.write_text(yaml.safe_dump({"_base_": str(pruned / "recipe.yml"), "distill": {"teacher": teacher}}))
    again[1] = str(child)
    with pytest.raises(UserError, match="holds .*recipe.yml, which is read; name a new folder"):
        prune.main(again)
    assert {file.name: file.read_bytes() for file in recipe.parent.iterdir()} == before
