"""benchmarks.train_step: both sides compute, and the figures that others read are written."""

import json

from compat import UserError

import numpy as np
import paddle
import pytest

from benchmarks import train_step


def test_both_sides_learn_from_the_same_batch():
    images, labels = train_step.random_batch("64x64")
    assert labels.shape == [2, 64, 64] and int((labels == 255).sum()) == 2 * 8 * 8
    for build in train_step.BUILD.values():
        side = build("stdc1_seg", labels.size)
        before = {name: value.numpy().copy() for name, value in side.model.named_parameters()}
        outputs = side.model(images)
        assert [output.shape for output in outputs] == [[2, 19, 64, 64]] * 3 + [[2, 1, 8, 8]]
        seconds = train_step.time_step(side, images, labels)
        assert tuple(seconds) == train_step.PARTS and all(value > 0 for value in seconds.values())
        changed = [not np.array_equal(before[name], value.numpy()) for name, value in side.model.named_parameters()]
        assert np.mean(changed) > 0.8  # PaddleSeg's heads at other strides are not trained


def test_both_sides_average_the_same_pixels():
    """Between two sets of logits the totals differ by the OHEMs alone, whatever PaddleSeg's random detail target is."""
    _, labels = train_step.random_batch("64x64")
    detail = paddle.zeros([2, 1, 8, 8])
    one, other = ([paddle.randn([2, 19, 64, 64]) * spread for _ in range(3)] + [detail] for spread in (1, 3))
    differences = []
    for build in train_step.BUILD.values():
        criterion = build("stdc1_seg", labels.size).criterion
        differences.append(float(criterion(other, labels)) - float(criterion(one, labels)))
    assert differences[0] == pytest.approx(differences[1], rel=1e-3) and differences[0] > 1


def test_figures(tmp_path, capsys):
    figures = tmp_path / "new" / "figures.json"
    train_step.main(["--networks", "stdc1_seg", "--sizes", "64x64", "--rounds", "1", "--json", str(figures)])
    written = json.loads(figures.read_text())
    (case,) = written["cases"]
    for key in ("ratio_step", "ratio_losses", "ratio_memory"):
        assert written[key] == case[key] > 0
    assert min(case["memory_mib"].values()) > 20  # the network's weights and momenta alone
    assert written["processor"] in capsys.readouterr().out


@pytest.mark.parametrize("size", ["256", "100x64", "0x64", "x", "32x32x32"])
def test_sizes_that_are_none(size):
    with pytest.raises(UserError, match="--sizes"):
        train_step.main(["--sizes", size])


LOG = f"""I1 api.cc:1] relu kernel: {{"input":[]}}
{train_step.BEGIN}
I1 api.cc:1] conv2d API kernel key: [CPU, NCHW, float32]
I1 api.cc:1] conv2d kernel: {{"input":[]}}
I1 backward_api.cc:1] relu_grad kernel: {{"input":[
I1 api.cc:1] conv2d kernel: {{"input":[]}}
{train_step.END}
I1 api.cc:1] relu kernel: {{"input":[]}}
"""


def test_launches_are_those_of_the_iteration(monkeypatch, tmp_path, capsys):
    assert train_step.parse_launches(LOG) == {"conv2d": 2, "relu_grad": 1}
    with pytest.raises(UserError, match="did not log"):
        train_step.parse_launches(LOG.partition(train_step.END)[0])
    counts = {"ours": {"conv2d": 4, "relu": 2}, "paddleseg": {"conv2d": 5, "relu": 3}}
    monkeypatch.setattr(train_step, "count_launches", lambda side, network: counts[side])
    file = tmp_path / "launches.json"
    train_step.main(["--launches", "--networks", "stdc1_seg", "--json", str(file)])
    figures = json.loads(file.read_text())
    assert figures["ratio_launches"] == 0.75 and figures["cases"][0]["launches"] == {"ours": 6, "paddleseg": 8}
    assert "ours 6, paddleseg 8, ratio 0.75" in capsys.readouterr().out
