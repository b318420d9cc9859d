"""PaddleSeg's losses, as it has them or repaired, against formulas in numpy."""

from compat import repair_paddleseg

import numpy as np
import paddle
import pytest
from paddleseg.models.losses import CrossEntropyLoss, DiceLoss, MixedLoss, OhemCrossEntropyLoss

repair_paddleseg()


def cross_entropies(logits, labels):
    shifted = logits - logits.max(1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return -np.take_along_axis(log_probability, np.where(labels == 255, 0, labels)[:, None], 1)[:, 0]


@pytest.fixture
def case():
    g = np.random.default_rng(1)
    labels = g.integers(0, 4, (2, 6, 7))
    labels[0, :2] = 255
    return g.normal(0, 2, (2, 4, 6, 7)).astype("float32"), labels


def test_paddleseg_cross_entropy_with_weights(case):
    logits, labels = case
    weights = np.array([1.0, 2.0, 3.0, 0.5])
    counted = labels != 255
    weight = weights[np.where(counted, labels, 0)]
    expected = (cross_entropies(logits, labels) * weight * counted).sum() / (weight * counted).sum()
    loss = CrossEntropyLoss(weight=weights.tolist())(paddle.to_tensor(logits), paddle.to_tensor(labels))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 3.0, 0.5]])
def test_paddleseg_cross_entropy_of_the_worst_pixels(case, weights):
    logits, labels = case
    weight = np.where(labels == 255, 0, np.array(weights or [1.0] * 4)[np.where(labels == 255, 0, labels)]).ravel()
    losses = cross_entropies(logits, labels).ravel() * weight
    worst = np.argsort(-losses)[: labels.size // 4]
    loss = CrossEntropyLoss(weights, top_k_percent_pixels=0.25)(paddle.to_tensor(logits), paddle.to_tensor(labels))
    assert float(loss) == pytest.approx(losses[worst].sum() / weight[worst].sum(), rel=1e-5)


def test_paddleseg_cross_entropy_over_all_pixels_and_with_a_factor_for_each(case):
    logits, labels = case
    counted = labels != 255
    losses = cross_entropies(logits, labels) * counted
    factors = np.random.default_rng(2).random(labels.shape).astype("float32")
    tensors = paddle.to_tensor(logits), paddle.to_tensor(labels)
    assert float(CrossEntropyLoss(avg_non_ignore=False)(*tensors)) == pytest.approx(losses.mean(), rel=1e-5)
    weighted = CrossEntropyLoss()(*tensors, paddle.to_tensor(factors))
    assert float(weighted) == pytest.approx((losses * factors).sum() / counted.sum(), rel=1e-5)


def paddlesegs_mean(losses, pixels):
    """The mean of the losses that are kept of a number of pixels; PaddleSeg adds 1e-5 to their share."""
    return losses.sum() / pixels / (len(losses) / pixels + 1e-5)


def test_paddleseg_ohem_keeps_the_hardest(case):
    logits, labels = case
    counted = labels.ravel() != 255
    losses = cross_entropies(logits, labels).ravel()
    # Far fewer than min_kept pixels lie below the threshold 0.001, so the min_kept hardest decide, less the last one:
    # PaddleSeg keeps what is strictly below it.
    hardest = np.sort(np.where(counted, losses, -np.inf))[::-1][:9]
    loss = OhemCrossEntropyLoss(thresh=0.001, min_kept=10)(paddle.to_tensor(logits), paddle.to_tensor(labels))
    assert float(loss) == pytest.approx(paddlesegs_mean(hardest, losses.size), rel=1e-4)


@pytest.mark.parametrize(("min_kept", "has_threshold"), [(3, True), (0, False), (1000, False)])
def test_paddleseg_ohem_has_a_threshold_if_it_keeps_a_number_of_pixels(case, min_kept, has_threshold):
    logits, labels = case
    losses = cross_entropies(logits, labels)[labels != 255]
    expected = losses[losses > -np.log(0.5)] if has_threshold else losses
    loss = OhemCrossEntropyLoss(0.5, min_kept)(paddle.to_tensor(logits), paddle.to_tensor(labels[:, None]))
    assert float(loss) == pytest.approx(paddlesegs_mean(expected, labels.size), rel=1e-4)


@pytest.mark.parametrize("first", [0, 1])
def test_paddleseg_mixed_loss_hands_every_loss_the_same_labels(case, first):
    logits, labels = paddle.to_tensor(case[0], stop_gradient=False), paddle.to_tensor(case[1])
    probability = np.exp(case[0]) / np.exp(case[0]).sum(1, keepdims=True)
    counted = (case[1] != 255)[:, None]
    target = (case[1][:, None] == np.arange(4)[:, None, None]) & counted
    overlap, sums = ((x * counted).sum((2, 3)) for x in (probability * target, probability + target))
    dice = (1 - (2 * overlap + 1) / (sums + 1)).mean()
    cross_entropy = (cross_entropies(*case) * counted[:, 0]).mean() / counted.mean()
    losses, expected = [CrossEntropyLoss(), DiceLoss()], [cross_entropy, dice]
    found = MixedLoss([losses[first], losses[1 - first]], [1, 2])(logits, labels)
    assert [float(loss) for loss in found] == pytest.approx([expected[first], 2 * expected[1 - first]], rel=1e-4)
    sum(found).backward()
    assert np.isfinite(logits.grad.numpy()).all() and (labels.numpy() == case[1]).all()
