"""benchmarks.deployed: both ways of one network, equal where nothing is scaled."""

import json

import paddle
import pytest

import engine.build
from benchmarks import deployed
from data import CITYSCAPES
from tests.helpers.small_network import SmallNetwork


def test_both_ways_are_measured(sample_root, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(engine.build, "build_model", lambda name, classes, **options: SmallNetwork(classes))
    paddle.save(SmallNetwork(len(CITYSCAPES.names)).state_dict(), str(tmp_path / "model.pdparams"))
    file = tmp_path / "deployed.json"
    flags = ["--config", "configs/stdc1_seg_sample.yml", "--dataset_root", str(sample_root), "--device", "cpu"]
    deployed.main([*flags, "--model_path", str(tmp_path / "model.pdparams"), "--json", str(file)])
    figures = json.loads(file.read_text())
    half, _, whole = figures["rows"]
    assert (half["scale"], whole["scale"], figures["images"]) == (0.5, 1.0, 3)
    assert whole["paddleseg"] == whole["deployed"] > 0 == whole["differing"]
    assert 0 < half["differing"] < 0.5 and half["deployed"] == pytest.approx(half["paddleseg"], abs=2)
    assert f"{half['paddleseg']:.2f}" in capsys.readouterr().out
