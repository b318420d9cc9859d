"""Boundary scores against their definitions, pixel by pixel, and against the published way of computing them."""

import cv2
import numpy as np
import pytest

from engine.evaluation.boundary import BoundaryScores

K = 4


def regions(seed, height=40, width=56, cell=8):
    """A map of K classes in ragged regions."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, K, (height // cell, width // cell), dtype=np.uint8)
    rows, columns = np.indices((height, width)) // cell
    ragged = rng.random((height, width)) < 0.02
    return np.where(ragged, rng.integers(0, K, (height, width)), coarse[rows, columns]).astype(np.uint8)


def with_holes(label, seed):
    holes = regions(seed, *label.shape) == 0
    return np.where(holes, 255, label).astype(np.uint8)


def neighbourhood(pixels, row, column, reach):
    return pixels[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]


@pytest.mark.parametrize("width", [1, 2, 5])
def test_boundary_iou_is_the_published_one(width):
    label, prediction = regions(1), regions(2)
    prediction = np.where(regions(3) < 3, label, prediction).astype(np.uint8)
    scores = BoundaryScores.zero(width, K).with_image(label, prediction)

    def band(mask):  # mask minus its erosion by 3x3, `width` times, zeros beyond the border
        padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        return mask & (cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1] == 0)

    for index in range(K):
        of_label, of_prediction = band(label == index), band(prediction == index)
        expected = (of_label & of_prediction).sum() / (of_label | of_prediction).sum()
        assert 0 < expected < 1 and scores.class_boundary_iou[index] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("width", [1, 3])
def test_every_count_follows_its_definition_beside_ignored_pixels(width):
    label = with_holes(regions(4), 5)
    prediction = np.where(regions(6) < 2, regions(4), regions(7)).astype(np.uint8)
    counted = label != 255
    seen = np.where(counted, prediction, 255)
    scores = BoundaryScores.zero(width, K).with_image(label, prediction)
    bands, contours, trimap = np.zeros((3, K), int), np.zeros((4, K), int), np.zeros((K, K), int)
    height, columns = label.shape

    def differs(pixels, row, column, reach):
        near = neighbourhood(pixels, row, column, reach)
        return bool((near[near != 255] != pixels[row, column]).any())

    edge = [np.zeros(label.shape, bool) for _ in "lp"]
    for row, column in np.argwhere(counted):
        to_border = min(row, column, height - 1 - row, columns - 1 - column)
        own, said = label[row, column], prediction[row, column]
        in_label = to_border < width or differs(label, row, column, width)
        in_prediction = to_border < width or differs(seen, row, column, width)
        bands[0, own] += in_label and in_prediction and own == said
        bands[1, said] += in_prediction
        bands[2, own] += in_label
        trimap[own, said] += differs(label, row, column, width)
        edge[0][row, column], edge[1][row, column] = differs(label, row, column, 1), differs(seen, row, column, 1)
    points = [[np.argwhere(e & (pixels == k)) for k in range(K)] for e, pixels in zip(edge, (label, seen))]
    for k in range(K):
        distance = np.linalg.norm(points[0][k][:, None] - points[1][k][None], axis=-1)
        contours[:, k] = (
            len(points[1][k]), (distance.min(0) <= width).sum(), len(points[0][k]), (distance.min(1) <= width).sum(),
        )  # fmt: skip
    assert bands.min() > 0 and contours.min() > 0 and trimap.diagonal().min() > 0
    assert (scores.bands == bands).all()
    assert (scores.trimap == trimap).all()
    assert (scores.contours == contours).all()
    precision, recall = contours[1] / contours[0], contours[3] / contours[2]
    assert scores.class_boundary_f == pytest.approx(2 * precision * recall / (precision + recall))


def test_perfect_absent_and_sums():
    label = with_holes(regions(8), 9)
    label[label == 3] = 0
    scores = BoundaryScores.zero(2, K).with_image(label, np.where(label == 255, 3, label).astype(np.uint8))
    for values in (scores.class_boundary_iou, scores.class_boundary_f, scores.class_trimap_iou):
        assert values.tolist() == [1, 1, 1, 0]
    assert (scores.boundary_iou, scores.boundary_f, scores.trimap_miou) == (0.75, 0.75, 0.75)
    other = BoundaryScores.zero(2, K, "nan").with_image(label, np.zeros_like(label))
    assert np.isnan(other.class_boundary_f).tolist() == [False, False, False, True]
    both, doubled = scores + other, scores.summed(lambda array: 2 * array)
    assert (both.trimap == scores.trimap + other.trimap).all() and (both.bands == scores.bands + other.bands).all()
    assert (both.contours == scores.contours + other.contours).all()
    assert doubled.bands.sum() == 2 * scores.bands.sum() and doubled.trimap_miou == scores.trimap_miou
