"""RandomRotation, RandomAffine, RandomBlur and RandomNoise against PaddleSeg's transforms of these names."""

import random
from unittest import mock

from compat import UserError

import cv2
import numpy as np
import paddleseg.transforms as theirs
import pytest
from scipy import stats

from data.effects import RandomBlur, RandomNoise
from data.transforms import RandomPaddingCrop, ResizeStepScaling, TrainTransform, build_transform
from data.warping import Affine, RandomAffine, RandomRotation


def picture(height, width, seed=0):
    """A smooth image, and labels in cells of 8 pixels."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (width, height))
    cells = rng.integers(0, 19, (height // 8 + 1, width // 8 + 1), dtype=np.uint8)
    return image, np.kron(cells, np.ones((8, 8), np.uint8))[:height, :width]


def by_paddleseg(transform, image, label):
    data = transform({"img": image.astype("float32"), "label": label, "gt_fields": ["label"], "trans_info": []})
    return data["img"], data["label"]


def turned_by_paddleseg(image, label, degrees, **options):
    with mock.patch.object(np.random, "uniform", lambda low, high: degrees):
        return by_paddleseg(theirs.RandomRotation(**options), image, label)


def assert_same(found, expected, tolerance=1.0, labels=0.0):
    assert found[0].dtype == found[1].dtype == np.uint8
    assert found[0].shape == expected[0].shape and found[1].shape == expected[1].shape
    assert np.abs(found[0] - expected[0]).max() <= tolerance
    assert (found[1] != expected[1]).mean() <= labels


@pytest.mark.parametrize("degrees", [-44.0, -15.0, 0.0, 3.7, 90.0])
@pytest.mark.parametrize("size", [(48, 64), (63, 41)])
def test_a_whole_rotation_is_paddlesegs(size, degrees):
    image, label = picture(*size)
    ours = TrainTransform(rotation=RandomRotation(max_rotation=90, im_padding_value=60.0, label_padding_value=3))
    draws = ours.draw(size, np.random.default_rng(0))._replace(rotation=degrees, left=0, top=0)
    expected = turned_by_paddleseg(image, label, degrees, im_padding_value=60.0, label_padding_value=3)
    assert_same(ours.apply(image, label, draws), expected)


@pytest.mark.parametrize("seed", range(6))
def test_a_rotated_crop_is_the_window_of_the_whole(seed):
    image, label = picture(60, 80, seed)
    rng = np.random.default_rng(seed)
    crop, scaling = RandomPaddingCrop(crop_size=(50, 40)), ResizeStepScaling(min_scale_factor=0.5, max_scale_factor=2.0)
    ours = TrainTransform(scaling, crop, rotation=RandomRotation(max_rotation=45))
    draws = ours.draw((60, 80), rng)
    resized = cv2.resize(image, draws.size), cv2.resize(label, draws.size, interpolation=cv2.INTER_NEAREST)
    whole = turned_by_paddleseg(*resized, draws.rotation)
    window = np.s_[draws.top : draws.top + 40, draws.left : draws.left + 50]
    found_image, found_label = ours.apply(image, label, draws)
    shown = tuple(slice(0, side) for side in whole[1][window].shape)
    inside = cv2.erode((whole[1][window] != 255).astype(np.uint8), np.ones((5, 5)), borderValue=1).astype(bool)
    difference = np.abs(found_image[shown] - whole[0][window]).max(-1)
    assert difference[inside].max() <= 3  # beside the padding 1/32 of a pixel is a step of many grey levels
    assert (found_label[shown] != whole[1][window]).mean() < 0.02
    flipped_image, flipped_label = ours.apply(image, label, draws._replace(flip=True))
    if shown == (slice(0, 40), slice(0, 50)):
        np.testing.assert_array_equal(flipped_image, found_image[:, ::-1])
        np.testing.assert_array_equal(flipped_label, found_label[:, ::-1])


@pytest.mark.parametrize(
    ("offset", "degrees", "scale"), [((0, 0), 0, 1.0), ((5.5, -3.0), 12.0, 0.8), ((0, 9), -15, 1.25)]
)
def test_affine_is_paddlesegs(offset, degrees, scale):
    image, label = picture(48, 70)
    options = {"size": (60, 50), "translation_offset": 10, "max_rotation": 15}
    shares = [offset[0] / 20 + 0.5, offset[1] / 20 + 0.5, degrees / 30 + 0.5, (scale - 0.75) / 0.5]
    with mock.patch.object(random, "random", mock.Mock(side_effect=shares)):
        expected = by_paddleseg(theirs.RandomAffine(**options), image, label)
    ours = TrainTransform(affine=RandomAffine(**options))
    draws = ours.draw((48, 70), np.random.default_rng(0))
    assert draws.size == (60, 50) and (draws.left, draws.top) == (0, 0)
    assert_same(ours.apply(image, label, draws._replace(affine=Affine(offset, degrees, scale))), expected)


@pytest.mark.parametrize("kind", ["gaussian", "median", "blur"])
@pytest.mark.parametrize("width", [3, 9])
def test_blur_is_paddlesegs(kind, width):
    image, label = picture(30, 40)
    ours = TrainTransform(blur=RandomBlur(prob=1.0, blur_type=kind))
    draws = ours.draw((30, 40), np.random.default_rng(0))
    draws = draws._replace(blur=draws.blur._replace(width=width))
    with mock.patch.object(np.random, "randint", mock.Mock(side_effect=[0, width])):
        expected = by_paddleseg(theirs.RandomBlur(prob=1.0, blur_type=kind), image, label)
    assert_same(ours.apply(image, label, draws), expected, tolerance=0)


def test_blur_draws_as_paddleseg_does():
    rng = np.random.default_rng(0)
    drawn = [RandomBlur(prob=0.4, blur_type="random").draw(rng) for _ in range(6000)]
    blurs = [one for one in drawn if one]
    assert stats.binomtest(len(blurs), 6000, 0.5).pvalue > 1e-3  # 1 / int(1 / 0.4)
    widths = np.bincount([one.width for one in blurs], minlength=10)[[3, 5, 7, 9]]
    assert stats.chisquare(widths, len(blurs) * np.array([1, 2, 2, 2]) / 7).pvalue > 1e-3
    kinds = [sum(one.kind == kind for one in blurs) for kind in ("gaussian", "median", "blur")]
    assert stats.chisquare(kinds, len(blurs) * np.array([0.3, 0.3, 0.4])).pvalue > 1e-3
    assert all(RandomBlur(prob=0).draw(rng) is None for _ in range(20))


def test_noise_has_the_drawn_deviation_and_repeats():
    image, label = np.full((100, 120, 3), 128, np.uint8), np.zeros((100, 120), np.uint8)
    ours = TrainTransform(noise=RandomNoise(prob=1.0, max_sigma=10))
    draws = ours.draw((100, 120), np.random.default_rng(3))
    noisy, _ = ours.apply(image, label, draws)
    values = noisy.astype(float) - 128
    assert abs(values.mean()) < 0.2 and values.std() == pytest.approx(np.hypot(draws.noise.sigma, 12**-0.5), rel=0.03)
    assert stats.kstest(values.ravel() + np.random.default_rng(0).uniform(-0.5, 0.5, values.size), "norm",
                        (0, values.std())).pvalue > 1e-4  # fmt: skip
    np.testing.assert_array_equal(noisy, ours.apply(image, label, draws)[0])
    sigmas = [one.sigma for one in (RandomNoise().draw(np.random.default_rng(n)) for n in range(2000)) if one]
    assert stats.binomtest(len(sigmas), 2000, 0.5).pvalue > 1e-3
    assert stats.kstest(sigmas, "uniform", (0, 10)).pvalue > 1e-3
    assert set(np.unique(ours.apply(np.full_like(image, 255), label, draws)[0])) <= set(range(200, 256))  # clipped


def test_angles_and_offsets_are_uniform():
    rng = np.random.default_rng(1)
    angles = [RandomRotation(max_rotation=20).draw(rng) for _ in range(1000)]
    assert stats.kstest(angles, "uniform", (-20, 40)).pvalue > 1e-3
    drawn = [RandomAffine(translation_offset=4).draw(rng) for _ in range(1000)]
    for values, low, span in (
        ([one.offset[0] for one in drawn], -4, 8),
        ([one.offset[1] for one in drawn], -4, 8),
        ([one.degrees for one in drawn], -15, 30),
        ([one.scale for one in drawn], 0.75, 0.5),
    ):
        assert stats.kstest(values, "uniform", (low, span)).pvalue > 1e-3


def test_a_sought_class_is_shown_turned_as_well():
    image, label = np.zeros((60, 80, 3), np.uint8), np.zeros((60, 80), np.uint8)
    label[4:9, 70:76] = 1
    crop = RandomPaddingCrop(crop_size=(20, 20))
    # The affine map may move the class out of the image, the rotation may not.
    turnings = ({"rotation": RandomRotation(max_rotation=60)}, {"affine": RandomAffine(size=(90, 60))})
    for turning, least in zip(turnings, (1.0, 0.8)):
        ours = TrainTransform(crop=crop, **turning)
        shown = [(ours(image, label, np.random.default_rng(n), class_id=1)[1] == 1).any() for n in range(60)]
        assert np.mean(shown) >= least
        assert np.mean([(ours(image, label, np.random.default_rng(n))[1] == 1).any() for n in range(60)]) < 0.5


def test_recipes_name_them_as_paddleseg_does():
    kinds = ("RandomRotation", "RandomBlur", "RandomAffine", "RandomNoise")
    transform = build_transform([{"type": kind} for kind in kinds], "train")
    for kind, step in zip(kinds, (transform.rotation, transform.blur, transform.affine, transform.noise)):
        peer = getattr(theirs, kind)()
        options = {name: value for name, value in step.model_dump().items() if name != "type"}
        assert options == pytest.approx(vars(peer)) if kind == "RandomNoise" else set(options) == set(vars(peer))
        for name, value in vars(peer).items():
            assert getattr(step, name) == value, (kind, name)
    with pytest.raises(UserError, match="max_rotation"):
        build_transform([{"type": "RandomRotation", "max_rotation": -3}], "train")
