"""What the losses compute on a device that is not the CPU, whose branches are forced here; and what they keep."""

import functools

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

from engine.training.gradients import add_gradients
from loss import DiceLoss, LovaszSoftmaxLoss, OhemCrossEntropyLoss, build_criterion
from loss import cross_entropy as cross_entropy_file
from loss.cross_entropy import CrossEntropyLoss, pixel_cross_entropy
from loss.resizing import upsample
from loss.selection import nth_largest
from models import build_model


@pytest.fixture
def device(monkeypatch):
    """Every place says that it is not the CPU's."""
    monkeypatch.setattr(paddle.base.core.Place, "is_cpu_place", lambda place: False)


def random_case(seed, images=3, classes=5, size=(16, 24)):
    """Logits [N, K, h/8, w/8] and labels [N, h, w], a tenth of them ignored."""
    g = np.random.default_rng(seed)
    labels = g.integers(0, classes, (images, *size))
    labels[g.random(labels.shape) < 0.1] = 255
    logits = g.normal(0, 3, (images, classes, size[0] // 8, size[1] // 8)).astype("float32")
    return paddle.to_tensor(logits, stop_gradient=False), paddle.to_tensor(labels)


def gradient_of(loss, logits):
    logits.clear_gradient()
    loss.backward()
    return logits.grad.numpy()


# --- the n-th largest, and what is chosen -----------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-38, 1e-6, 1.0, 1e30])
def test_nth_largest_is_that_of_a_sort(scale):
    g = np.random.default_rng(0)
    values = (g.exponential(1, 3000) * scale).astype("float32")
    values[g.random(3000) < 0.3] = 0
    values[g.random(3000) < 0.2] = np.float32(scale)
    ordered = np.sort(values)[::-1]
    for n in (1, 2, 17, 600, 1500, 2500, 3000):
        assert nth_largest(paddle.to_tensor(values), n).numpy().tobytes() == ordered[n - 1 : n].tobytes()


def test_nth_largest_knows_infinity_and_negative_zero():
    values = paddle.to_tensor(np.array([np.inf, -0.0, 1.0, 3.4028235e38], "float32"))
    assert [float(nth_largest(values, n)) for n in (1, 2, 3, 4)] == [np.inf, np.float32(3.4028235e38), 1.0, 0.0]


@pytest.mark.parametrize("n_min", [1, 5, 40, 300, 640, 1000])
def test_ohem_equals_topk_to_the_bit_where_losses_are_equal(device, n_min):
    # Multiples of 1/8 add up exactly in any order, so that it does not matter which of equal pixels topk takes.
    losses = paddle.to_tensor((np.random.default_rng(n_min).integers(0, 9, 1000) / 8).astype("float32"))
    chosen, count = OhemCrossEntropyLoss(0.2, n_min)._choose(losses)
    assert int(chosen.sum()) == int(count) == n_min
    expected = paddle.topk(losses, n_min)[0].sum()
    assert (losses * chosen).sum().numpy().tobytes() == expected.numpy().tobytes()


def test_ohem_takes_the_first_of_equal_losses(device):
    losses = paddle.to_tensor([0.5, 2.0, 0.5, 0.25, 0.5, 1.0])
    chosen, count = OhemCrossEntropyLoss(0.01, 4)._choose(losses)
    assert chosen.tolist() == [1, 1, 1, 0, 0, 1] and float(count) == 4


@pytest.mark.parametrize(("thresh", "n_min"), [(0.9, 20), (0.01, 20), (0.01, 0.5), (0.01, 10**6)])
def test_ohem_on_a_device_equals_the_cpus(thresh, n_min, monkeypatch):
    logits, labels = random_case(2)
    loss = OhemCrossEntropyLoss(thresh, n_min, class_weights=[1, 2, 0.5, 1, 3])
    expected = loss(logits, labels)
    gradient = gradient_of(expected, logits)
    monkeypatch.setattr(paddle.base.core.Place, "is_cpu_place", lambda place: False)
    result = loss(logits, labels)
    assert float(result) == pytest.approx(float(expected), rel=1e-6)
    np.testing.assert_allclose(gradient_of(result, logits), gradient, atol=1e-7)


# --- cross-entropy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resize", [upsample, functools.partial(F.interpolate, mode="bilinear")])
@pytest.mark.parametrize("images_at_a_time", [1, 2, 9])
def test_recomputed_cross_entropy_equals_the_kept_one_to_the_bit(device, monkeypatch, resize, images_at_a_time):
    logits, labels = random_case(1)
    upstream = paddle.to_tensor(np.random.default_rng(0).normal(0, 1, labels.shape).astype("float32"))
    kept = F.cross_entropy(resize(logits, labels.shape[1:]), labels, ignore_index=255, reduction="none", axis=1)
    kept = kept.reshape(labels.shape)
    gradient = gradient_of((kept * upstream).sum(), logits)
    monkeypatch.setattr(cross_entropy_file, "CHUNK_BYTES", images_at_a_time * 4 * 5 * 16 * 24)
    result = pixel_cross_entropy(logits, labels, 255, resize)
    assert result.numpy().tobytes() == kept.numpy().tobytes()
    assert gradient_of((result * upstream).sum(), logits).tobytes() == gradient.tobytes()


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5, 0.25, 3.0]])
@pytest.mark.parametrize("ignored", ["some", "none", "all"])
def test_cross_entropy_loss_is_paddles_own(weights, ignored):
    logits, labels = random_case(5)
    logits = upsample(logits, labels.shape[1:]).detach()
    if ignored == "none":
        labels = labels % 5
    if ignored == "all":
        labels = paddle.full_like(labels, 255)
    theirs = nn.CrossEntropyLoss(weights and paddle.to_tensor(weights), ignore_index=255, axis=1)(logits, labels)
    assert float(CrossEntropyLoss(255, weights)(logits, labels)) == pytest.approx(float(theirs), rel=2e-6)


# --- losses over probabilities ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [DiceLoss(), LovaszSoftmaxLoss()], ids=["dice", "lovasz"])
def test_dice_and_lovasz_on_a_device_equal_the_cpus(loss, monkeypatch):
    logits, labels = random_case(4, size=(64, 96))
    labels = labels[:, ::8, ::8]
    expected = loss(logits, labels)
    gradient = gradient_of(expected, logits)
    monkeypatch.setattr(paddle.base.core.Place, "is_cpu_place", lambda place: False)
    result = loss(logits, labels)
    assert float(result) == pytest.approx(float(expected), abs=1e-5)  # the CPU sorts by 65535ths
    np.testing.assert_allclose(gradient_of(result, logits), gradient, atol=1e-5)


# --- what is kept -----------------------------------------------------------------------------------------------------


def kept_bytes(call):
    """(bytes of Paddle's allocator that the result of `call` keeps, the result)."""
    before = paddle.base.core.host_memory_stat_current_value("Allocated", 0)
    result = call()
    return paddle.base.core.host_memory_stat_current_value("Allocated", 0) - before, result


@pytest.mark.parametrize("kind", ["OhemCrossEntropyLoss", "CrossEntropyLoss", "FocalLoss", "BorderCrossEntropyLoss"])
def test_a_loss_keeps_nothing_of_the_logits_size(device, kind):
    logits, labels = random_case(3, images=2, classes=19, size=(64, 64))
    small = F.interpolate(logits.detach(), [8, 8])
    small.stop_gradient = False
    criterion = build_criterion({"main": {"type": kind}}, ["main"])
    kept, (loss, _) = kept_bytes(lambda: criterion([small], labels))
    # Some maps of one value a pixel; logits of full size would be 19 times one of these.
    assert kept <= 7.5 * 4 * labels.size and float(loss) > 0


def test_outputs_do_not_outlive_their_loss(device):
    """Between the losses and the backward pass no full-size logits exist, nor a copy of what is float32 already."""
    model = build_model("stdc1_seg", 19)
    criterion = build_criterion(
        {
            **{name: {"type": "OhemCrossEntropyLoss"} for name in ("main", "aux8", "aux16")},
            "detail8": {"type": "DetailAggregateLoss"},
        },
        model.output_names,
        model.resized,
    )
    images, labels = paddle.randn([1, 3, 128, 128]), paddle.randint(0, 19, [1, 128, 128])
    held = {}

    def measured(outputs, labels):
        held["outputs"] = [tuple(output.shape) for output in outputs]
        held["bytes"], result = kept_bytes(lambda: criterion(outputs, labels))
        return result

    add_gradients(model, measured, images, labels)
    assert held["outputs"] == [(1, 19, 16, 16)] * 2 + [(1, 19, 8, 8), (1, 1, 16, 16)] and not model.at_stride
    # Of each pixel 3 x (loss and choice), and of the detail loss logit, probability, target; logits would be 57.
    assert held["bytes"] < 9.5 * 4 * labels.size
