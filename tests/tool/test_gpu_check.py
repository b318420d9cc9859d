"""Every part of tool.gpu_check on the CPU, and that it says what is wrong."""

import json
from pathlib import Path

from compat import UserError

import numpy as np
import paddle
import pytest

import tool.gpu.agreement
import tool.gpu.survival
import tool.gpu_check
from engine.recipe import load_recipe
from tests.helpers.fake_gpu import fake_gpu
from tool.gpu import trials
from tool.gpu.agreement import BATCH_STATISTICS, BOUNDS, Bounds, Computed, agreement, build, compute, errors_of
from tool.gpu.environment import environment
from tool.gpu.findings import Finding, Part, all_passed, as_dict, findings_of, page
from tool.gpu.survival import relative_difference, survival

NETWORK = "ddrnet23_slim"
SIZE = (64, 64)


def check(folder, *parts, status=0):
    """Run the command on the CPU; returns its JSON."""
    flags = ["--device", "cpu", "--tiny", "--networks", NETWORK, "--save_dir", str(folder), "--parts", *parts]
    assert tool.gpu_check.main(flags) == status
    return json.loads((folder / "gpu_check.json").read_text())


def test_every_part_but_training_on_the_cpu(tmp_path, capsys):
    found = check(tmp_path, "environment", "agreement", "evaluation", "input", "engines")
    assert list(found) == ["environment", "agreement", "evaluation", "input", "engines"]
    said = capsys.readouterr().out
    assert (tmp_path / "gpu_check.txt").read_text().strip() in said
    assert "evaluation (seg50) of 128x64: images a second" in said and f"{NETWORK} by paddle fp32" in said
    passed = {one["what"]: one["passed"] for part in found.values() for one in part["findings"]}
    assert passed[f"{NETWORK} in fp32"] and passed[f"{NETWORK} in {BATCH_STATISTICS}"]
    assert passed[f"{NETWORK} by paddle fp32"] and None in passed.values()


def test_the_memory_of_a_training_is_that_of_its_own_process(tmp_path):
    """All precisions ran in one process, whose counter never falls, so that fp16 had the peak of fp32."""
    ballast = paddle.zeros([2**28])
    rate, memory = check(tmp_path, "training")["training"]["findings"]
    assert rate["what"] == "training in fp32, batch 2 of 64x64: images a second" and float(rate["value"]) > 0
    assert 0 < float(memory["value"].split()[0]) < 1 <= trials.peak_memory() / 2**30 and ballast.shape == [2**28]


def test_a_killed_run_goes_on_to_the_same_weights(monkeypatch):
    monkeypatch.setattr(tool.gpu.survival, "ITERATIONS", 4)
    findings = survival("cpu")
    assert [one.passed for one in findings] == [True] * 3
    assert findings[-1].value == "0.0e+00 of 0"


@pytest.mark.parametrize("network", [NETWORK, "stdc1_seg", "bisestdc"])
def test_the_branches_of_a_gpu_agree_with_those_of_the_cpu(network):
    """What agreement compares on a GPU, with Paddle's kernels of the CPU in both."""
    on_cpu = build(network)
    expected = compute(*on_cpu, "fp32", SIZE)
    with fake_gpu():
        found = compute(*on_cpu, "fp32", SIZE)
    errors = errors_of(found, expected)
    assert all(error <= bound for error, bound in zip(errors, BOUNDS["fp32"])) and errors.gradients > 0


def test_a_network_that_computes_something_else_is_wrong(monkeypatch):
    calls = []

    def wrong(_model, _criterion, setting, _size):
        calls.append(setting)
        values = np.full(3, 1.0 if len(calls) <= 2 else 1.01)
        return Computed(values, {"loss": 2.0}, values)

    monkeypatch.setattr(tool.gpu.agreement, "compute", wrong)
    monkeypatch.setattr(tool.gpu.agreement, "build", lambda *_: (None, None))
    fp32, statistics = agreement([NETWORK], SIZE, "cpu")
    assert not fp32.passed and "outputs 1.0e-02 of 1e-04" in fp32.value and not statistics.passed


def test_what_is_not_finite_is_an_infinite_error():
    good = Computed(np.ones(2), {"loss": 1.0}, np.ones(2))
    bad = Computed(np.array([1, np.nan]), {"loss": 1.5}, np.ones(2))
    assert errors_of(bad, good) == Bounds(float("inf"), 0.5, 0.0)


def test_a_part_that_fails_is_reported_and_the_others_go_on(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("ResourceExhaustedError: Out of memory error on GPU 0")

    monkeypatch.setattr(tool.gpu_check, "training_alone", fail)
    found = check(tmp_path, "training", "environment", status=1)
    (finding,) = found["training"]["findings"]
    assert finding["what"] == "failed: RuntimeError" and "Out of memory" in finding["value"]
    assert found["environment"]["findings"]


def test_a_gpu_that_cannot_be_used_has_a_report_too(tmp_path, capsys):
    status = tool.gpu_check.main(["--device", "gpu:77", "--save_dir", str(tmp_path)])
    assert status == 1 and "error: --device gpu:77" in capsys.readouterr().out
    assert list(json.loads((tmp_path / "gpu_check.json").read_text())) == ["environment"]


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_measured(tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/page: cannot write there"):
        tool.gpu_check.main(
            ["--device", "cpu", "--parts", "environment", "--save_dir", str(tmp_path / "file" / "page")]
        )
    assert not capsys.readouterr().out


def test_an_unknown_part_is_named():
    with pytest.raises(UserError, match="--parts 'enviroment' is not known; did you mean environment"):
        tool.gpu_check.main(["--parts", "enviroment"])


def test_findings_are_shown_and_counted():
    def absent():
        raise UserError("no TensorRT")

    parts = [
        Part("one", [Finding("a", "1", True), *findings_of(absent)], 1.25),
        Part("two", [Finding("b", "2", False)], 0),
    ]
    assert "WRONG  b" in page(parts) and "not possible  no TensorRT" in page(parts)
    assert not all_passed(parts) and all_passed(parts[:1])
    assert as_dict(parts)["one"]["findings"][0] == {"what": "a", "value": "1", "passed": True}


def test_the_memory_of_a_step_grows_with_its_batch():
    recipe = load_recipe("configs/ddrnet23_slim_camvid.yml", {"batch_size": 1, "model.backbone.pretrained": None})
    found = trials.training(recipe, (64, 32), "fp32", 1)
    assert [one.what.rpartition(": ")[2] for one in found] == ["images a second", "peak memory"]
    assert float(found[0].value) > 0 and trials.peak_memory() > 1e6


def test_a_training_whose_process_dies_is_an_error(monkeypatch):
    monkeypatch.setattr(trials.sys, "executable", "false")
    with pytest.raises(RuntimeError, match="training in bf16: status 1"):
        trials.training_alone("recipe.yml", {}, (64, 32), "bf16", 1)


def test_the_input_is_that_of_the_recipe(monkeypatch):
    """Whatever --config was, the transforms of the default recipe were timed."""
    shapes = []
    original = trials.Feed.batches

    def batches(feed, *arguments):
        for number, images, labels in original(feed, *arguments):
            shapes.append(tuple(images.shape))
            yield number, images, labels

    monkeypatch.setattr(trials.Feed, "batches", batches)
    crop = "train_dataset.transforms.RandomPaddingCrop.crop_size"
    recipe = load_recipe("configs/stdc1_seg_camvid.yml", {"batch_size": 2, crop: [96, 64]})
    (found,) = trials.input_pipeline(recipe, (128, 64), 1)
    assert shapes == [(2, 64, 96, 3)] and float(found.value) > 0


def test_weights_differ_by_their_norm():
    one, other = ({"w": paddle.full([4], value)} for value in (1.5, 1.0))
    assert relative_difference(one, other) == pytest.approx(0.5) and relative_difference(one, one) == 0


def test_the_environment_names_the_machine():
    found = {one.what: one.value for one in environment()}
    assert found["device"] == paddle.get_device() and "paddleseg" in found["packages"] and found["processor"]


def test_a_recipe_without_a_crop_is_named(tmp_path):
    recipe = tmp_path / "recipe.yml"
    recipe.write_text(f"_base_: {Path(tool.gpu_check.CONFIG).resolve()}\ntrain_dataset: {{transforms: []}}\n")
    with pytest.raises(UserError, match="has no RandomPaddingCrop"):
        tool.gpu_check.main(["--config", str(recipe), "--save_dir", str(tmp_path), "--device", "cpu"])
