"""Crop first or crop last: our training samples against PaddleSeg's transforms, for the same draws and in the draws."""

import cv2
import numpy as np
import paddleseg.transforms
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from data.resize import Window, nearest_window, resize_window
from data.transforms import (
    Draws,
    RandomDistort,
    RandomHorizontalFlip,
    RandomPaddingCrop,
    ResizeStepScaling,
    TrainTransform,
)
from tests.helpers.colors import distort_colors
from tests.helpers.paddleseg_draws import COLOR_CHANGES, apply_theirs, watch_their_draws

# Steps of 1/8, as the recipes have them, and any other factor, as mmsegmentation's has.
SCALES = st.one_of(st.integers(1, 20).map(lambda eighths: eighths / 8), st.floats(0.1, 2.5))
SIDES = st.integers(1, 200)
EXAMPLES = settings(max_examples=100, deadline=None, derandomize=True)


def pictures(height, width, seed):
    """Noise of black and white, where each error of the grid is largest; noise; or a smooth picture. And a label."""
    rng = np.random.default_rng(seed)
    if seed % 3 == 0:
        image = 255 * rng.integers(0, 2, (height, width, 3), dtype=np.uint8)
    elif seed % 3 == 1:
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    else:
        image = cv2.resize(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8), (width, height))
    return image, rng.integers(0, 256, (height, width), dtype=np.uint8)


@st.composite
def windows(draw):
    """(height, width, window) of a source and a window of its resized image."""
    height, width, scale = draw(SIDES), draw(SIDES), draw(SCALES)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    left, top = draw(st.integers(0, size[0] - 1)), draw(st.integers(0, size[1] - 1))
    return (
        height,
        width,
        Window(size, left, top, draw(st.integers(1, size[0] - left)), draw(st.integers(1, size[1] - top))),
    )


@EXAMPLES
@given(windows(), st.integers(0, 99), st.booleans())
def test_a_window_is_resized_as_the_whole(case, seed, flip):
    height, width, window = case
    image, label = pictures(height, width, seed)
    at = np.s_[window.top : window.top + window.height, window.left : window.left + window.width]
    whole = cv2.resize(image, window.size)[at].astype(int)
    alone = resize_window(image, window)
    assert alone.shape == whole.shape and np.abs(alone - whole).max() <= 1
    labels = cv2.resize(label, window.size, interpolation=cv2.INTER_NEAREST)[at]
    assert (nearest_window(label, window, flip) == (labels[:, ::-1] if flip else labels)).all()


def test_a_window_reads_no_more_than_it_needs():
    read = []

    class Source(np.ndarray):
        def __getitem__(self, index):
            read.append([len(range(*part.indices(side))) for part, side in zip(index, self.shape)])
            return np.asarray(self)[index]

    source = np.zeros((1024, 2048, 3), np.uint8).view(Source)
    resize_window(source, Window((3072, 1536), 1500, 700, 1024, 512))  # scale 1.5
    resize_window(source, Window((1792, 896), 500, 100, 1024, 512))  # 7/8
    for (rows, columns), scale, beyond in zip(read, (3 / 2, 7 / 8), (8, 16)):
        assert rows <= 512 / scale + beyond and columns <= 1024 / scale + beyond
    assert len(read) == 2


@st.composite
def samples(draw):
    """(height, width, crop, draws without colours)."""
    height, width, scale = draw(SIDES), draw(SIDES), draw(SCALES)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    crop = (draw(st.integers(1, 96)), draw(st.integers(1, 96)))
    left, top = (draw(st.integers(0, max(0, side - cut))) for side, cut in zip(size, crop))
    return height, width, crop, Draws(size, left, top, draw(st.booleans()), ())


def held(array, how):
    """The array as a cache's read-only one, or as a view with gaps between rows and columns."""
    if how == "read-only":
        array = array.copy()
        array.flags.writeable = False
    elif how == "view":
        array = np.repeat(np.repeat(array, 2, 0), 2, 1)[::2, ::2]
    return array


@EXAMPLES
@example((1, 8, (1, 1), Draws((7, 1), 0, 0, False, ())), 0, "decoded")  # few pixels, whose number would stay
@given(samples(), st.integers(0, 99), st.sampled_from(("decoded", "read-only", "view")))
def test_scale_crop_padding_and_flip_equal_paddlesegs(case, seed, how):
    height, width, crop, draws = case
    image, label = pictures(height, width, seed)
    transform = TrainTransform(crop=RandomPaddingCrop(crop_size=crop))
    ours, our_label = transform.apply(held(image, how), held(label, how), draws)
    theirs, their_label = apply_theirs(image, label, draws, crop)
    assert ours.dtype == our_label.dtype == np.uint8
    assert ours.shape == theirs.shape and (our_label == their_label).all()
    # PaddleSeg interpolates in float and cuts the fraction off before it changes colours; we round.
    difference = ours - theirs
    assert difference.min() >= 0 and difference.max() <= 1
    unpadded = draws.size[0] >= crop[0] and draws.size[1] >= crop[1]
    if draws.size == (width, height) and unpadded:
        assert not difference.any()


AMOUNTS = st.floats(0.5, 1.5)


@EXAMPLES
@given(st.sampled_from(("brightness", "contrast", "saturation")), AMOUNTS, st.integers(0, 99))
def test_each_colour_change_equals_paddlesegs(name, amount, seed):
    image, label = pictures(40, 60, seed)
    draws = Draws((60, 40), 0, 0, False, ((name, amount),))
    theirs, _ = apply_theirs(image, label, draws, (60, 40))
    assert np.abs(distort_colors(image, draws.colors) - theirs).max() <= 1


@EXAMPLES
@given(st.floats(-18, 18), st.integers(0, 99))
def test_hue_equals_paddlesegs_within_two_of_its_steps(turn, seed):
    # Both hold the hue in 256 steps, which they round differently; a step moves a channel by 6/256 of the chroma.
    image, label = pictures(40, 60, seed)
    draws = Draws((60, 40), 0, 0, False, (("hue", turn),))
    theirs, _ = apply_theirs(image, label, draws, (60, 40))
    chroma = image.max(2).astype(int) - image.min(2)
    difference = np.abs(distort_colors(image, draws.colors) - theirs).max(2)
    assert (difference <= 2 + 2 * 6 / 256 * chroma).all()


@st.composite
def color_draws(draw, hue):
    names = draw(st.permutations(COLOR_CHANGES if hue else COLOR_CHANGES[:3]))
    amount = {"hue": st.floats(-18, 18)}
    return tuple((name, draw(amount.get(name, AMOUNTS))) for name in names[: draw(st.integers(1, len(names)))])


def worst_difference(colors, start):
    """Levels by which two images may differ after `colors`, when they differ by `start` before and each change adds 1.

    Contrast and saturation also move about a grey that differs as much as the images do.
    """
    levels = start
    for name, amount in colors:
        gain = amount if name == "brightness" else amount + abs(1 - amount)
        levels = gain * levels + 1
    return levels


@EXAMPLES
@given(samples(), color_draws(hue=False), st.integers(0, 99))
def test_whole_samples_equal_paddlesegs(case, colors, seed):
    height, width, crop, draws = case
    draws = draws._replace(colors=colors)
    image, label = pictures(height, width, seed)
    ours, our_label = TrainTransform(crop=RandomPaddingCrop(crop_size=crop)).apply(image, label, draws)
    theirs, their_label = apply_theirs(image, label, draws, crop)
    assert (our_label == their_label).all()
    assert np.abs(ours - theirs).max() <= worst_difference(colors, start=1)


@EXAMPLES
@given(samples(), color_draws(hue=True), st.integers(0, 33).map(lambda k: 3 * k + 2))
def test_whole_samples_with_hue_equal_paddlesegs_on_average(case, colors, seed):
    height, width, crop, draws = case
    draws = draws._replace(colors=colors)
    image, label = pictures(height, width, seed)
    ours, _ = TrainTransform(crop=RandomPaddingCrop(crop_size=crop)).apply(image, label, draws)
    theirs, _ = apply_theirs(image, label, draws, crop)
    assert np.abs(ours - theirs).mean() <= 2.5


@pytest.mark.parametrize("kind", [ResizeStepScaling, RandomPaddingCrop, RandomHorizontalFlip, RandomDistort])
def test_what_a_recipe_leaves_out_is_paddlesegs(kind):
    theirs = vars(getattr(paddleseg.transforms, kind.__name__)())
    ours = {name: value for name, value in kind().model_dump().items() if name not in ("type", "small", "random_order")}
    assert ours == {name: theirs[name] for name in ours}


STEPS = {"min_scale_factor": 0.5, "max_scale_factor": 1.5, "scale_step_size": 0.125}
COUNT = 3000


@pytest.fixture(scope="module", params=[STEPS, {**STEPS, "scale_step_size": 0}], ids=["steps", "any scale"])
def both_draws(request):
    """(PaddleSeg's, ours) for images of 48 x 40 and a crop of 40 x 24 (w, h)."""
    transform = TrainTransform(
        ResizeStepScaling(**request.param),
        RandomPaddingCrop(crop_size=(40, 24)),
        RandomHorizontalFlip(),
        RandomDistort(),
    )
    rng = np.random.default_rng(0)
    ours = [transform.draw((40, 48), rng) for _ in range(COUNT)]
    return watch_their_draws((40, 48), (40, 24), request.param, COUNT), ours


def same_frequencies(theirs, ours):
    values = sorted(set(theirs) | set(ours))
    counts = np.array([[drawn.count(value) for value in values] for drawn in (theirs, ours)])
    common = counts[:, counts.sum(0) >= 20]
    return stats.chi2_contingency(common).pvalue > 1e-3


def test_draws_have_paddlesegs_distribution(both_draws):
    of = {
        "size": lambda d: d.size,
        "offset and flip": lambda d: (d.flip, d.left // 8, d.top // 8),
        "offset of the largest": lambda d: (d.left // 4, d.top // 8) if d.size[0] >= 66 else (),
        "order of colours": lambda d: tuple(name for name, _ in d.colors),
    }
    for what, value in of.items():
        theirs, ours = ([value(d) for d in drawn] for drawn in both_draws)
        assert same_frequencies(theirs, ours), what
    for name in COLOR_CHANGES:
        theirs, ours = ([dict(d.colors)[name] for d in drawn if name in dict(d.colors)] for drawn in both_draws)
        assert stats.ks_2samp(theirs, ours).pvalue > 1e-3, name
