"""Scores of confusion matrices: hand-computed tables, rules for absent classes, refused input, groups, intervals."""

from compat import UserError

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from engine.evaluation import metrics
from engine.evaluation.evaluator import ImageResult, Scores

# label 0: 3 right, 1 taken for 1; label 1: 2 right, 2 taken for 0; class 2 never occurs; class 3 is only predicted.
CONFUSION = np.array([[3, 1, 0, 0], [2, 2, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]])


def scores_of(confusion, absent="zero"):
    return Scores(np.asarray(confusion, np.int64), 1, np.zeros((0, 3, len(confusion)), np.int64), absent)


def test_hand_computed_table():
    scores = scores_of(CONFUSION)
    assert scores.areas.tolist() == [[3, 2, 0, 0], [5, 3, 0, 1], [4, 5, 0, 0]]
    assert scores.class_iou.tolist() == [3 / 6, 2 / 6, 0, 0]
    assert scores.class_precision.tolist() == [3 / 5, 2 / 3, 0, 0]
    assert scores.class_recall.tolist() == [3 / 4, 2 / 5, 0, 0]
    assert scores.class_dice.tolist() == [6 / 9, 4 / 8, 0, 0]
    assert scores.accuracy == 5 / 9
    expected = (5 * 4 + 3 * 5) / 81
    assert scores.kappa == pytest.approx((5 / 9 - expected) / (1 - expected))
    assert scores.miou == pytest.approx((3 / 6 + 2 / 6) / 4) and scores.group_miou([0, 3]) == 1 / 4


@pytest.mark.parametrize(("absent", "value", "miou"), [("zero", 0, 5 / 24), ("one", 1, 11 / 24), ("nan", None, 5 / 18)])
def test_rules_for_an_absent_class(absent, value, miou):
    scores = scores_of(CONFUSION, absent)
    for values in (scores.class_iou, scores.class_dice, scores.class_precision, scores.class_recall):
        assert values[3] == 0  # it was predicted, so it is not absent
        assert np.isnan(values[2]) if value is None else values[2] == value
    assert scores.miou == pytest.approx(miou)
    with pytest.raises(UserError, match="rule for absent classes 'nil'"):
        metrics.class_iou(metrics.areas(CONFUSION), "nil")


def test_nothing_counted_is_not_a_number_and_no_warning():
    scores = scores_of(np.zeros((2, 2)), "nan")
    with np.errstate(all="raise", invalid="raise"):
        assert np.isnan([scores.miou, scores.accuracy, scores.kappa]).all()
    assert scores.miou_interval() is None


def test_against_sklearn_on_random_pixels():
    rng = np.random.default_rng(0)
    label, prediction = rng.integers(0, 5, (2, 30, 40), dtype=np.uint8)
    label[rng.random(label.shape) < 0.1] = 255
    prediction[label == 255] = 200  # whatever is predicted there
    confusion = metrics.confusion_matrix(label, prediction, 5)
    y, p = label[label != 255], prediction[label != 255]
    scores = scores_of(confusion)
    assert (confusion == sklearn_metrics.confusion_matrix(y, p)).all() and confusion.dtype == np.int64
    assert scores.class_iou == pytest.approx(sklearn_metrics.jaccard_score(y, p, average=None))
    assert scores.class_dice == pytest.approx(sklearn_metrics.f1_score(y, p, average=None))
    assert scores.class_precision == pytest.approx(sklearn_metrics.precision_score(y, p, average=None))
    assert scores.class_recall == pytest.approx(sklearn_metrics.recall_score(y, p, average=None))
    assert scores.kappa == pytest.approx(sklearn_metrics.cohen_kappa_score(y, p))
    assert scores.accuracy == pytest.approx(sklearn_metrics.accuracy_score(y, p))


def test_what_a_confusion_matrix_refuses():
    label = np.zeros((2, 3), np.uint8)
    with pytest.raises(UserError, match="prediction's size is 2x3, the label's 3x2"):
        metrics.confusion_matrix(label, label.T, 2)
    with pytest.raises(UserError, match="label value 7 is neither one of the 2 classes nor the ignored value 255"):
        metrics.confusion_matrix(label + np.uint8(7), label, 2)
    with pytest.raises(UserError, match="predicts class 2, the dataset has the classes 0 to 1"):
        metrics.confusion_matrix(label, label + np.uint8(2), 2)
    most = metrics.confusion_matrix(np.full((1, 4), 253, np.uint8), np.full((1, 4), 253, np.uint8), 254)
    assert most[253, 253] == 4 == most.sum()
    ignored = metrics.confusion_matrix(np.full((1, 4), 255, np.uint8), np.full((1, 4), 255, np.uint8), 254)
    assert ignored.sum() == 0


def test_groups_of_classes():
    confusion = np.arange(16).reshape(4, 4)
    merged = metrics.merge_classes(confusion, [(0, 2), (1, 3)])
    assert merged.tolist() == [[0 + 2 + 8 + 10, 1 + 3 + 9 + 11], [4 + 6 + 12 + 14, 5 + 7 + 13 + 15]]


def test_bootstrap_interval_agrees_with_resampling_the_images():
    rng = np.random.default_rng(3)
    images = 80
    confusions = rng.integers(0, 50, (images, 3, 3)) + np.eye(3, dtype=int) * rng.integers(0, 300, (images, 1, 1))
    scores = Scores.zero(3, bootstrap=2000)
    for index, confusion in enumerate(confusions):
        scores = scores.with_image(ImageResult(index, None, None, confusion), seed=1)
    assert (scores.confusion == confusions.sum(0)).all() and scores.images == images
    low, high = scores.miou_interval(0.9)
    drawn = confusions[rng.integers(0, images, (2000, images))].sum(1)
    resampled = metrics.mean_score(metrics.class_iou(metrics.areas(drawn)))
    assert low < scores.miou < high
    spread = resampled.max() - resampled.min()
    assert np.abs(np.quantile(resampled, [0.05, 0.95]) - (low, high)).max() < 0.05 * spread
    again = Scores.zero(3, bootstrap=2000)
    for index in reversed(range(images)):
        again = again.with_image(ImageResult(index, None, None, confusions[index]), seed=1)
    assert again.miou_interval(0.9) == (low, high)


@pytest.mark.parametrize("absent", metrics.ABSENT)
def test_a_replicate_without_pixels_is_no_result_of_the_network(absent):
    """Of three images, a draw in 20 holds none: it counted as mIoU 0, and perfect predictions had 0 to 1."""
    scores = Scores.zero(2, absent, bootstrap=200)
    for index in range(3):
        scores = scores.with_image(ImageResult(index, None, None, np.diag([5, 7])))
    assert not scores.replicates.any(axis=(1, 2)).all()
    assert scores.miou_interval() == (1.0, 1.0)
    assert Scores.zero(2, absent, bootstrap=200).miou_interval() is None
