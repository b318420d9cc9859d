"""The count of empty detail targets says of a mix what PaddleSeg's own loss does with it."""

import json

import numpy as np
import paddle
import pytest
from paddleseg.models.losses import DetailAggregateLoss

from benchmarks import random_detail_target


@pytest.mark.parametrize(
    ("mix", "empty"),
    [([0.6, 0.3, 0.1], False), ([-0.5, -0.2, 0.05], True), ([0.06, -1.0, 0.05], False), ([-1.0, -1.0, 0.3], False)],
)
def test_paddlesegs_loss_agrees(mix, empty):
    """Without a target, a confident "no edge" costs nothing but the Dice term of an empty map."""
    assert (random_detail_target.count(np.array([mix], np.float32))["empty"] == 1) is empty
    loss = DetailAggregateLoss()
    loss.fuse_kernel.set_value(np.array(mix, np.float32).reshape(1, 3, 1, 1))
    labels = paddle.to_tensor(np.random.default_rng(0).integers(0, 19, (1, 32, 32)))
    assert (float(loss(paddle.full([1, 1, 32, 32], -20.0), labels)) < 1e-3) is empty


def test_the_command(tmp_path, capsys):
    figures = tmp_path / "figures.json"
    random_detail_target.main(["--draws", "500", "--json", str(figures)])
    written = json.loads(figures.read_text())
    assert 0.125 < written["empty"] < 0.2 < written["other_than_papers"] <= 1  # all three below 0: an eighth
    assert "500 starts" in capsys.readouterr().out
