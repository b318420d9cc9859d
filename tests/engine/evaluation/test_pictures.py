"""Pictures of labels, predictions, errors and details."""

import numpy as np
import paddle
import pytest

from data import build_dataset
from engine.evaluation.pictures import error_map, heat, sheet, view_sample, view_sheet
from engine.recipe import Protocol
from loss import detail_target
from tests.engine.evaluation.test_scorecard import WithDetail
from tests.helpers.tiny_training import TinyNetwork

DARK, RED, BLACK = [40, 40, 40], [230, 50, 50], [0, 0, 0]


def test_errors_are_red_and_what_is_ignored_is_black():
    label, prediction = np.uint8([[0, 1, 255, 255]]), np.uint8([[0, 2, 1, 255]])
    assert error_map(label, prediction).tolist() == [[DARK, RED, BLACK, BLACK]]


def test_heat_rises_from_dark_blue_to_yellow():
    low, high, beyond = heat(np.array([[0.0, 1.0, 1.5]]))[0].tolist()
    assert low[2] > max(low[:2]) - 20 and min(high[:2]) > 200 > high[2] and beyond == high


@pytest.mark.parametrize(
    "size, shown",
    [((200, 100), (640, 320)), ((2000, 3), (1280, 2)), ((3, 2000), (1, 320)), ((9000, 40), (1280, 6))],
    ids=["upright", "a strip", "a line", "a strip to shrink"],
)
def test_a_narrow_picture_is_padded_instead_of_drawn_as_wide_as_its_column(size, shown):
    """One of 3 x 2000 made a sheet of 1548 x 341361."""
    (height, width), grey = shown, np.full((*size, 3), 90, np.uint8)
    found = sheet([[grey, grey]], ["image", "label"])
    assert found.shape == (24 + height + 4, 2 * (320 + 4), 3)
    for left in (0, 324):
        cell = found[24:, left : left + 324]
        assert (cell[:height, :width] == 90).all() and (cell[height:] == 255).all() and (cell[:, width:] == 255).all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", [WithDetail, TinyNetwork])
def test_the_views_of_a_sample_are_what_network_and_losses_see(kind, training, sample_root):
    dataset = build_dataset("Cityscapes", str(sample_root), "val", [{"type": "Normalize"}])
    model = kind()
    model.training = training
    views = view_sample(model, dataset, 1, Protocol())
    assert model.training == training
    item = dataset[1]
    model.eval()
    image = paddle.to_tensor(item["img"][None])
    np.testing.assert_array_equal(views.image, dataset.read_image(1))
    np.testing.assert_array_equal(views.label, item["label"][0])
    np.testing.assert_array_equal(views.prediction, model(image)[0].numpy()[0].argmax(0))
    target = detail_target(paddle.to_tensor(item["label"].astype("int64"))).numpy()[0, 0]
    np.testing.assert_array_equal(views.detail_target, target)
    assert 0 < target.mean() < 1
    if kind is WithDetail:
        logit = paddle.nn.functional.interpolate(model.detail(image), [64, 128], mode="bilinear", align_corners=True)
        np.testing.assert_allclose(views.detail_prediction, 1 / (1 + np.exp(-logit.numpy()[0, 0])), rtol=1e-5)
    else:
        assert (views.detail_prediction == 0).all()
    palette = dataset.classes.palette()
    drawn = view_sheet([views, views], palette)
    assert drawn.shape == (24 + 2 * (160 + 4), 6 * (320 + 4), 3)  # 128 x 64 enlarged to columns 320 wide
    row, column = 24 + 80, 324 + 160  # the middle of the label
    np.testing.assert_array_equal(drawn[row, column], palette[views.label[32, 64]])
    np.testing.assert_array_equal(drawn[row, column + 324], palette[views.prediction[32, 64]])
