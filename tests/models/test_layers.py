"""Resizing: its gradient on the CPU, and where it must repeat on a GPU."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from models import build_model
from models.layers import resize, set_deterministic_resizing
from tests.helpers.fake_gpu import fake_gpu


@pytest.fixture
def deterministic():
    set_deterministic_resizing(True)
    yield
    set_deterministic_resizing(False)


@pytest.mark.parametrize(("mode", "align_corners"), [("bilinear", True), ("bilinear", False), ("nearest", False)])
def test_deterministic_resizing_is_resizing(mode, align_corners, deterministic):
    image = np.random.default_rng(0).normal(0, 1, (2, 3, 5, 7)).astype("float32")
    found = []
    for resized in (resize, F.interpolate):
        x = paddle.to_tensor(image, stop_gradient=False)
        with fake_gpu():
            y = resized(x, size=[11, 13], mode=mode, align_corners=align_corners)
        (y * paddle.arange(13, dtype="float32")).sum().backward()
        found.append((y.numpy(), x.grad.numpy()))
    for ours, theirs in zip(*found):
        assert np.abs(theirs).max() > 0.1 and np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()


@pytest.mark.parametrize("name", ["stdc1_seg", "bisestdc", "ddrnet23_slim"])
def test_no_network_asks_paddle_for_the_gradient_of_resizing(name, deterministic, monkeypatch):
    with_gradient = []
    interpolate = F.interpolate

    def watched(x, *arguments, **options):
        with_gradient.append(not x.stop_gradient)
        return interpolate(x, *arguments, **options)

    monkeypatch.setattr(F, "interpolate", watched)
    model = build_model(name, 19)
    with fake_gpu():
        model(paddle.zeros([2, 3, 64, 64]))
        assert with_gradient and not any(with_gradient)
        set_deterministic_resizing(False)
        model(paddle.zeros([2, 3, 64, 64]))
    assert any(with_gradient)
