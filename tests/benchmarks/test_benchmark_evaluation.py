"""The benchmark of the evaluator finds equal areas, says so in its file, and notices unequal ones."""

import json

import numpy as np
import pytest

from benchmarks import evaluation
from engine.evaluation import predictor
from tests.helpers.small_network import SmallNetwork


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(evaluation, "SIZE", (128, 64))
    monkeypatch.setattr(evaluation, "SMALL_SIZE", (128, 64))
    monkeypatch.setattr(evaluation, "PROTOCOLS", {"mIoU50": evaluation.HALF})
    monkeypatch.setattr(evaluation, "build_model", lambda name, num_classes: SmallNetwork(num_classes))


def test_figures(small, tmp_path, capsys):
    written = tmp_path / "new" / "evaluation.json"
    assert evaluation.main(["--runs", "1", "--json", str(written)]) == 0
    figures = json.loads(written.read_text())
    assert figures["areas_equal"] is True and figures["areas"] == {"mIoU50": True}
    assert figures["ratio_accumulation"] > 0  # a key that others read
    assert figures["milliseconds"].keys() == {"accumulation", "without_network", "end_to_end"}
    assert "all equal: yes" in capsys.readouterr().out


def test_one_wrong_pixel_is_noticed(small, monkeypatch, tmp_path, sample_root):
    right = predictor.predict_classes

    def wrong(*arguments):
        classes = right(*arguments)
        classes[32, 64] = (classes[32, 64] + 1) % 11
        return np.ascontiguousarray(classes)

    monkeypatch.setattr(predictor, "predict_classes", wrong)
    written = tmp_path / "evaluation.json"
    assert evaluation.main(["--runs", "0", "--dataset_root", str(sample_root), "--json", str(written)]) == 1
    figures = json.loads(written.read_text())
    assert figures["areas_equal"] is False and figures["areas"] == {"mIoU50": False}
