"""The paired test of two networks, against scipy's permutation test and bootstrap, and against counts by hand."""

from compat import UserError

import numpy as np
import pytest
import scipy.stats

from engine.evaluation.comparison import compare
from engine.evaluation.metrics import areas, class_iou, mean_score


def confusions(images, classes, seed, right=0.7):
    g = np.random.default_rng(seed)
    shares = np.full((classes, classes), (1 - right) / (classes - 1))
    np.fill_diagonal(shares, right)
    pixels = g.integers(50, 400, (images, classes))
    return np.stack([[g.multinomial(n, share) for n, share in zip(row, shares)] for row in pixels])


def scipy_statistic(first, second, column):
    """`column` 0 is the mean IoU, 1 + k that of class k; images are named by their number, the second's from n on."""
    both = np.concatenate([areas(first), areas(second)])

    def score(numbers, axis):
        iou = class_iou(both[numbers].sum(axis - 2 if axis < 0 else axis), "zero")
        return mean_score(iou) if column == 0 else iou[..., column - 1]

    return lambda x, y, axis: score(x, axis) - score(y, axis)


@pytest.mark.parametrize("column", [0, 1, 3])
def test_exact_p_values_are_scipys(column):
    first, second = confusions(8, 3, seed=0), confusions(8, 3, seed=1, right=0.66)
    theirs = scipy.stats.permutation_test(
        (np.arange(8), np.arange(8, 16)),
        scipy_statistic(first, second, column),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
        axis=-1,
    )
    ours = compare(first, second, resamples=256)
    assert ours.difference[column] == pytest.approx(theirs.statistic, abs=1e-12)
    assert ours.p_value[column] == pytest.approx(theirs.pvalue, abs=1e-12)
    assert 0.002 < ours.p_value[column] < 1


def test_random_p_values_and_intervals_come_near_scipys():
    first, second = confusions(40, 4, seed=2), confusions(40, 4, seed=3, right=0.69)
    statistic = scipy_statistic(first, second, 0)
    samples = (np.arange(40), np.arange(40, 80))
    options = {"n_resamples": 9999, "vectorized": True, "axis": -1, "random_state": 0}
    theirs = scipy.stats.permutation_test(samples, statistic, permutation_type="samples", batch=1000, **options)
    ours = compare(first, second)
    assert 0.01 < ours.p_value[0] < 0.9 and ours.p_value[0] == pytest.approx(theirs.pvalue, abs=0.02)
    interval = scipy.stats.bootstrap(samples, statistic, paired=True, method="percentile", batch=1000, **options)
    low, high = interval.confidence_interval
    assert (ours.low[0], ours.high[0]) == pytest.approx((low, high), abs=0.03 * (high - low))
    assert (compare(first, second).p_value == ours.p_value).all()
    assert (compare(first, second, seed=1).p_value != ours.p_value).any()


def test_counted_by_hand():
    """Three images where the first is better each time: of the 8 swaps only none and all reach the difference."""
    better, worse = np.array([[9, 1], [0, 10]]), np.array([[5, 5], [0, 10]])
    result = compare(np.stack([better] * 3), np.stack([worse] * 3))
    assert result.first == pytest.approx([(9 / 10 + 10 / 11) / 2, 9 / 10, 10 / 11])
    assert result.second == pytest.approx([(5 / 10 + 10 / 15) / 2, 5 / 10, 10 / 15])
    assert result.p_value.tolist() == [0.25, 0.25, 0.25]
    assert result.low == pytest.approx(result.difference) and result.high == pytest.approx(result.difference)


def test_equal_networks_and_absent_classes():
    same = confusions(30, 3, seed=4)
    same[:, 2, :] = same[:, :, 2] = 0
    result = compare(same, same, absent="nan")
    assert result.difference[:3].tolist() == [0, 0, 0] and result.p_value[:3].tolist() == [1, 1, 1]
    assert np.isnan([result.first[3], result.p_value[3], result.low[3]]).all()
    assert result.first[0] == pytest.approx(result.first[1:3].mean())
    assert compare(same, same).first[0] == pytest.approx(result.first[1:3].sum() / 3)


def test_the_null_hypothesis_is_kept():
    """Of pairs that differ by chance alone, one in ten has a p-value below 0.1."""
    rates = [
        compare(confusions(25, 3, seed), confusions(25, 3, 1000 + seed), resamples=199).p_value[0] < 0.1
        for seed in range(150)
    ]
    assert 0.04 < np.mean(rates) < 0.17


def test_other_images_are_refused():
    with pytest.raises(UserError, match="3 and 4 images"):
        compare(confusions(3, 2, 0), confusions(4, 2, 0))
