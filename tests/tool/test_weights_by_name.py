"""A name of weights on the command line: it brings its recipe, and stands where a file can."""

import cv2
import numpy as np
import pytest
import safetensors.numpy
import yaml

from engine.command import add_recipe_flags, parser
from engine.weights import manifest, store
from models import build_model
from tool import average, demo, evaluate, export, predict

ENTRY = {"file": "s.safetensors", "licence": "MIT", "model": "stdc1_seg", "tensors": 211, "expect": "a test"}


def parse(*words):
    arguments = parser("test", "test")
    add_recipe_flags(arguments, weights=("model_path",))
    arguments.add_argument("--model_path")
    return arguments.parse_args(words)


def test_a_name_brings_its_recipe_and_what_is_overridden_in_it():
    found = parse("--model_path", "stdc2_seg_mmseg", "--opts", "batch_size=3")
    assert found.config.endswith("configs/stdc2_seg_cityscapes_mmseg.yml") and found.opts == ["batch_size=3"]
    found = parse("--model_path", "stdc1_seg_paddleseg", "--opts", "model.gate_bias=false")
    assert found.opts[0] == "model.gate_bias=true" and found.opts[-1] == "model.gate_bias=false"
    found = parse("--model_path", "stdc1_seg_paddleseg", "--config", "mine.yml")
    assert (found.config, found.opts) == ("mine.yml", [])


def test_what_is_here_brings_no_recipe(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stdc2_seg_mmseg").mkdir()
    with pytest.raises(SystemExit) as error:
        parse("--model_path", "stdc2_seg_mmseg")
    assert error.value.code == 2 and "required: --config for stdc2_seg_mmseg" in capsys.readouterr().err


@pytest.mark.parametrize("command", [predict, evaluate, export, average])
@pytest.mark.parametrize("name", ["output/best_model", "stdc1_imagenet_mmseg"])
def test_without_a_recipe_it_is_a_wrong_argument(command, name, capsys):
    flag = "--model_paths" if command is average else "--model_path"
    with pytest.raises(SystemExit) as error:
        command.main([flag, name, "--save_dir", "x"] if command is average else [flag, name])
    assert error.value.code == 2 and f"required: --config for {name}" in capsys.readouterr().err


def test_a_name_that_is_mistyped_is_named_with_the_nearest(capsys):
    """It was taken for a file, for which the recipe was missing."""
    with pytest.raises(SystemExit) as error:
        predict.main(["--model_path", "stdc1_seg_camvidd"])
    said = capsys.readouterr().err
    assert error.value.code == 2 and "stdc1_seg_camvidd: neither a file here" in said
    assert "did you mean stdc1_seg_camvid?" in said and "--config for" not in said


def test_predict_and_the_page_need_a_name_alone(tmp_path, monkeypatch):
    file = tmp_path / "manifest.yml"
    file.write_text(yaml.safe_dump([{"name": "sample_shipped", "config": "configs/stdc1_seg_sample.yml", **ENTRY}]))
    monkeypatch.setattr(manifest, "MANIFEST", file)
    monkeypatch.setattr(store, "PRETRAINED", tmp_path)
    state = {
        name: tensor.numpy().astype("float16") for name, tensor in build_model("stdc1_seg", 19).state_dict().items()
    }
    safetensors.numpy.save_file(state, str(tmp_path / "s.safetensors"))
    cv2.imwrite(str(tmp_path / "street.png"), np.random.default_rng(0).integers(0, 255, (64, 96, 3), "uint8"))
    words = ["--model_path", "sample_shipped", "--image_path", str(tmp_path / "street.png")]
    predict.main([*words, "--save_dir", str(tmp_path / "out"), "--results", "pseudo_color_prediction"])
    (picture,) = (tmp_path / "out" / "pseudo_color_prediction").iterdir()
    assert cv2.imread(str(picture), cv2.IMREAD_UNCHANGED).shape[:2] == (64, 96)
    (choice,) = demo.find_choices(demo._parser().parse_args(["--model_path", "sample_shipped"]))
    assert choice.model == "sample_shipped" and choice.load()(np.zeros((32, 32, 3), "uint8")).shape == (32, 32)
