"""Flags that contradict each other, or have no effect without another one, are refused before any work."""

from types import SimpleNamespace

from compat import UserError

import pytest

import tool.evaluate
import tool.export
import tool.predict
from engine.recipe import Protocol, load_recipe
from engine.runtime import Description, Network
from tool.evaluation.flags import chosen_protocols

SAMPLE = "configs/stdc1_seg_sample.yml"
COMMON = ["--config", SAMPLE, "--model_path", "none.pdparams"]


class StandIn(Network):
    """An exported network that must not be run."""

    def run(self, batch):
        pytest.fail("run")


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        (tool.evaluate, "--scales 1 --protocols full"),
        (tool.predict, "--camera 0 --image_path street.png"),
        (tool.predict, "--cityscapes_submission maps.zip --pseudo_labels 0.9"),
    ],
)
def test_flags_that_exclude_each_other_are_wrong_arguments(command, flags, capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main([*COMMON, *flags.split()])
    assert "not allowed with argument" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [
        "--cityscapes_submission maps.zip --unknown_below 0.9",
        "--cityscapes_submission maps.zip --max_frames 3",
        "--pseudo_labels 0.0 --classes road",
        "--pseudo_labels 0.5 --unknown_below 0.9",
    ],
)
def test_predict_refuses_flags_of_pictures_for_other_results(flags):
    """Unknown pixels in a submission are wrong labels, which prepare_data check-submission refuses."""
    with pytest.raises(UserError, match="is not for --(cityscapes_submission|pseudo_labels)"):
        tool.predict.main([*COMMON, *flags.split()])


@pytest.mark.parametrize(
    ("flags", "needed"),
    [
        ("--flip_horizontal", "--scales"),
        ("--flip_vertical --protocols full", "--scales"),
        ("--is_slide --crop_size 8 8 --stride 8 8", "--scales"),
        ("--compare_config other.yml", "--compare"),
        ("--precision int8", "--engine"),
    ],
)
def test_evaluate_refuses_flags_that_it_would_ignore(flags, needed):
    with pytest.raises(UserError, match=f"has no effect without {needed}"):
        tool.evaluate.main([*COMMON, *flags.split()])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--engine eager --align_corners", "--align_corners: --engine resizes as every deployed network does"),
        ("--engine eager --detail", "--detail: --engine scores deployed class maps, which hold no details"),
    ],
)
def test_what_does_not_apply_to_deployed_class_maps_is_refused(flags, message):
    """The first was printed without effect; the second blamed the network."""
    with pytest.raises(UserError, match=message):
        tool.evaluate.main([*COMMON, *flags.split()])


def test_an_engine_of_exports_is_not_for_two_checkpoints():
    """It was ignored, and so was --precision."""
    compare = ["--config", SAMPLE, "--compare", "a.pdparams", "b.pdparams"]
    with pytest.raises(UserError, match="--engine openvino: neither a.pdparams nor b.pdparams is an exported network"):
        tool.evaluate.main([*compare, "--engine", "openvino", "--precision", "int8"])


def test_a_report_that_cannot_be_written_names_its_flag(tmp_path):
    (tmp_path / "afile").touch()
    with pytest.raises(UserError, match="afile: cannot write there .*; choose another --report"):
        tool.evaluate.main([*COMMON, "--report", str(tmp_path / "afile")])


def test_one_file_cannot_hold_two_kinds_of_figures(tmp_path, monkeypatch):
    """The CSV replaced the JSON."""
    monkeypatch.chdir(tmp_path)
    files = ["--json", "figures", "--csv", str(tmp_path / "figures")]
    with pytest.raises(UserError, match="both would write figures; name two files"):
        tool.evaluate.main([*COMMON, *files])


def test_the_size_of_windows_needs_a_protocol_with_windows():
    def protocols(*flags):
        return chosen_protocols(tool.evaluate._parser().parse_args([*COMMON, *flags]), recipe)

    recipe = load_recipe(SAMPLE)
    with pytest.raises(UserError, match="--crop_size: no protocol has a sliding window"):
        protocols("--crop_size", "64", "32")
    flags = ["--protocols", "sliding_window", "--crop_size", "64", "32", "--stride", "32", "32"]
    assert protocols(*flags)["sliding_window"].crop_size == (64, 32)


@pytest.mark.parametrize(
    ("output_op", "protocol", "message"),
    [
        ("argmax", Protocol(), "weights returns no logits; export it with --output_op none"),
        ("softmax", Protocol(), "weights returns no logits"),
        ("none", Protocol(scales=(0.5, 1.0)), "one scale and no flip"),
    ],
)
def test_what_has_no_temperature_is_refused_before_the_evaluation(output_op, protocol, message, monkeypatch):
    """It was refused after it, and the figures for --json were lost."""
    network = StandIn("onnxruntime", "fp32", Description(19, output_op=output_op))
    subject = SimpleNamespace(model=network, protocols={"full": protocol}, path="weights")
    monkeypatch.setattr(tool.evaluate, "open_subject", lambda *_: subject)
    monkeypatch.setattr(tool.evaluate, "evaluate_subject", lambda *_: pytest.fail("evaluated first"))
    with pytest.raises(UserError, match=message):
        tool.evaluate.main([*COMMON, "--engine", "onnxruntime", "--calibrate"])


def test_int8_needs_an_engine_that_has_it():
    with pytest.raises(UserError, match="--int8: is for openvino and onnxruntime, not for --engines paddle mnn"):
        tool.export.main([*COMMON, "--int8", "--engines", "paddle", "mnn"])
