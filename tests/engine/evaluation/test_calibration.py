"""Expected calibration error against a hand-computed table; the temperature against the one that data are drawn at."""

from types import SimpleNamespace

from compat import UserError

import numpy as np
import pytest

from data.classes import IGNORED
from engine.evaluation.calibration import calibrate, fit_temperature, sample_pixels, scores
from engine.runtime import Description, Network, Segmenter


def drawn(pixels, temperature, classes=5, seed=0):
    """Logits, and labels that are drawn with the probabilities softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 4, (pixels, classes)).astype(np.float32)
    gumbel = rng.gumbel(size=logits.shape)
    return logits, (logits / temperature + gumbel).argmax(axis=1).astype(np.uint8)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_labels_were_drawn_at_is_found(temperature):
    logits, labels = drawn(60000, temperature)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.03)
    error, likelihood = scores(logits / found, labels)
    assert error < 0.01
    # The least: a little more or less is worse.
    assert all(scores(logits / (found * factor), labels)[1] > likelihood for factor in (0.97, 1.03))


def test_the_error_against_a_hand_computed_table():
    # Confidences of two classes: 0.9 (right, wrong), 0.7 (right, right) and 0.52 (wrong).
    confidence = np.array([0.9, 0.9, 0.7, 0.7, 0.52])
    logits = np.stack([np.log(confidence / (1 - confidence)), np.zeros(5)], axis=1)
    labels = np.array([0, 1, 0, 0, 1], np.uint8)
    error, likelihood = scores(logits, labels)
    assert error == pytest.approx((2 * abs(0.5 - 0.9) + 2 * abs(1 - 0.7) + abs(0 - 0.52)) / 5)
    assert likelihood == pytest.approx(-np.log([0.9, 0.1, 0.7, 0.7, 0.48]).mean())


class Table(Network):
    """Returns the same logits [1, K, h, w] for every image."""

    def __init__(self, logits):
        super().__init__("eager", "fp32", Description(logits.shape[1], output_op="none", size=logits.shape[2:]))
        self.table = logits

    def run(self, batch):
        return self.table


def test_pixels_have_the_logits_that_their_class_is_taken_from():
    logits = np.random.default_rng(0).normal(size=(1, 4, 6, 9)).astype(np.float32)
    segmenter = Segmenter(Table(logits))
    image = np.zeros((9, 14, 3), np.uint8)
    classes = segmenter(image)
    classes[:2] = IGNORED
    found, labels = sample_pixels(segmenter, image, classes, IGNORED, seed=0)
    assert found.shape == (7 * 14, 4)
    np.testing.assert_array_equal(found.argmax(axis=1), labels)


class Images:
    """A dataset of labels alone."""

    ignore_index = IGNORED

    def __init__(self, labels):
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def read(self, index):
        return np.zeros((*self.labels[index].shape, 3), np.uint8), self.labels[index]


def test_calibration_fits_one_half_and_measures_the_other():
    logits, first = drawn(4000, 2.0)
    second = drawn(4000, 2.0, seed=0)[1]
    network = Table(np.ascontiguousarray(logits.T.reshape(1, 5, 40, 100)))
    found = calibrate(network, Images([first.reshape(40, 100), second.reshape(40, 100)]), 1.0)
    assert found.temperature == pytest.approx(2.0, rel=0.1) and found.images == 2
    assert found.error_after < 0.03 < 0.1 < found.error_before and found.likelihood_after < found.likelihood_before
    assert f"temperature {found.temperature:.3f}: expected calibration error" in str(found)
    # The first half decides, the second is only measured.
    other = calibrate(network, Images([first.reshape(40, 100), np.zeros((40, 100), np.uint8)]), 1.0)
    assert other.temperature == found.temperature and other.error_after != found.error_after


def test_what_cannot_be_calibrated():
    network = SimpleNamespace()
    with pytest.raises(UserError, match="needs two images or more, .*; the dataset has 1"):
        calibrate(network, Images([np.zeros((2, 2), np.uint8)]), 1.0)
    ignored = np.full((4, 4), IGNORED, np.uint8)
    with pytest.raises(UserError, match="half of the images have no labelled pixel"):
        calibrate(Table(np.zeros((1, 2, 4, 4), np.float32)), Images([ignored, ignored]), 1.0)
