"""Class-uniform crops and copy-paste: their distributions, and that a sample is a function of seed and number."""

import shutil
from pathlib import Path

from compat import UserError

import numpy as np
import pytest
from scipy import stats

from data import build_dataset, train_batches
from data.class_uniform import ClassUniform, ClassUniformOptions, place_window
from data.copy_paste import CopyPaste, CopyPasteOptions
from data.histogram import class_histogram, count_classes
from data.resize import Window, nearest_window

# Pixels of four classes in five images: class 2 is in one image alone, class 3 nowhere often enough.
HISTOGRAM = np.array([[900, 90, 0, 10], [800, 200, 0, 0], [990, 0, 10, 0], [500, 0, 500, 5], [1000, 0, 0, 0]])


def test_histogram_counts_each_label():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (4, 9, 11), dtype=np.uint8)
    labels[labels == 4] = 255
    histogram = class_histogram(lambda index: labels[index], [2, 0, 1], 4)
    expected = [[(labels[index] == one).sum() for one in range(4)] for index in (2, 0, 1)]
    assert histogram.dtype == np.int64 and histogram.tolist() == expected
    assert count_classes(np.full((3, 3), 255, np.uint8), 4).sum() == 0


def test_every_class_is_sought_as_often_and_in_each_of_its_images():
    chosen = ClassUniform(HISTOGRAM, ClassUniformOptions(prob=0.6, min_pixels=20))
    drawn = [chosen.draw(number, seed=7) for number in range(6000)]
    sought = [one for one in drawn if one is not None]
    assert stats.binomtest(len(sought), len(drawn), 0.6).pvalue > 1e-3
    counts = np.bincount([one.class_id for one in sought], minlength=4)
    assert counts[3] == 0 and stats.chisquare(counts[:3]).pvalue > 1e-3
    images = np.bincount([one.index for one in sought if one.class_id == 1], minlength=5)
    assert images[2:].sum() == 0 and stats.chisquare(images[:2]).pvalue > 1e-3
    assert {one.index for one in sought if one.class_id == 2} == {3}
    assert ClassUniform(HISTOGRAM, ClassUniformOptions(min_pixels=10)).holders[3].tolist() == [0]  # exactly as many
    assert [chosen.draw(number, seed=7) for number in range(50)] == drawn[:50]
    assert [chosen.draw(number, seed=8) for number in range(50)] != drawn[:50]


def test_too_many_pixels_asked_for_are_named():
    with pytest.raises(UserError, match="no image has 5000 pixels"):
        ClassUniform(HISTOGRAM, ClassUniformOptions(min_pixels=5000))


@pytest.mark.parametrize("size", [(40, 30), (60, 45), (25, 19)])
def test_a_placed_window_shows_the_class_anywhere(size):
    label = np.zeros((30, 40), np.uint8)
    label[10:13, 20:24] = 1
    width, height = 16, 12
    whole = nearest_window(label, Window(size, 0, 0, *size))
    rng = np.random.default_rng(0)
    places = [place_window(label, 1, Window(size, 0, 0, width, height), rng) for _ in range(400)]
    for left, top in places:
        assert 0 <= left <= size[0] - width and 0 <= top <= size[1] - height
        # One pixel beside it at most: the drawn pixel may vanish in a smaller image.
        shown = whole[max(0, top - 1) : top + height + 1, max(0, left - 1) : left + width + 1]
        assert (shown == 1).any()
    assert len({left for left, _ in places}) > 8 and len({top for _, top in places}) > 5


@pytest.mark.parametrize(
    ("pixel", "lefts", "tops"),
    [((2, 1), [0, 1], [0, 1, 2]), ((3, 4), [1, 2, 3, 4], [1, 2, 3]), ((5, 6), [3, 4], [3]), ((0, 0), [0], [0])],
)
def test_a_window_of_4_x_3_has_every_place_that_shows_the_pixel(pixel, lefts, tops):
    label = np.zeros((6, 8), np.uint8)
    label[pixel] = 1
    rng = np.random.default_rng(0)
    places = {place_window(label, 1, Window((8, 6), 0, 0, 4, 3), rng) for _ in range(200)}
    assert sorted(places) == [(left, top) for left in lefts for top in tops]


def test_a_window_stays_where_the_class_is_not():
    label = np.zeros((30, 40), np.uint8)
    assert place_window(label, 1, Window((40, 30), 3, 4, 10, 10), np.random.default_rng(0)) == (3, 4)


def batch():
    """Four samples: sample i is grey i; samples 0 and 1 hold class 2, sample 3 classes 2 and 3, at own places."""
    images = np.repeat(np.arange(4, dtype=np.uint8), 8 * 8 * 3).reshape(4, 8, 8, 3)
    labels = np.zeros((4, 8, 8), np.uint8)
    labels[0, :2], labels[1, 2:4], labels[3, 4:6], labels[3, 6:] = 2, 2, 2, 3
    return images, labels


COUNTS = np.array([[80, 0, 0, 5], [10, 0, 5, 0]])


def test_pasted_pixels_are_a_rare_class_of_another_sample():
    images, labels = batch()
    paste = CopyPaste(COUNTS, CopyPasteOptions(prob=1.0, max_frequency=0.05))  # each has exactly that
    pasted = 0
    for start in range(0, 400, 4):
        new_images, new_labels = paste(images, labels, range(start, start + 4), seed=3)
        for position in range(4):
            changed = (new_images[position, ..., 0] != position) | (new_labels[position] != labels[position])
            if not changed.any():
                continue
            donor = int(new_images[position][changed][0, 0])
            (class_id,) = np.unique(new_labels[position][changed])
            assert donor != position and class_id in (2, 3)
            np.testing.assert_array_equal(changed, labels[donor] == class_id)
            assert (new_images[position][changed] == donor).all()
            pasted += 1
    # A donor of the three others is as likely, and sample 2 has nothing to give.
    assert stats.binomtest(pasted, 400, 0.75).pvalue > 1e-3
    np.testing.assert_array_equal(images, batch()[0])  # what is given stays


def test_copy_paste_is_a_function_of_seed_and_numbers():
    paste = CopyPaste(COUNTS, CopyPasteOptions(prob=0.5, max_frequency=0.06))
    first, again, other = (paste(*batch(), numbers, 3)[0] for numbers in (range(4), range(4), range(4, 8)))
    np.testing.assert_array_equal(first, again)
    results = [paste(*batch(), range(start, start + 4), 3)[0] for start in range(0, 40, 4)]
    assert any((one != first).any() for one in results) and other.shape == first.shape
    changed = sum((paste(*batch(), [n, 1, 2, 3], 3)[0][0] != 0).any() for n in range(10, 1000))
    assert stats.binomtest(int(changed), 990, 0.5 * 2 / 3).pvalue > 1e-3


def test_nothing_rare_changes_nothing():
    images, labels = batch()
    for prob, most in ((1.0, 0.01), (0.0, 0.06)):
        paste = CopyPaste(COUNTS, CopyPasteOptions(prob=prob, max_frequency=most))
        new_images, new_labels = paste(images, labels, range(4), 0)
        np.testing.assert_array_equal(new_images, images)
        np.testing.assert_array_equal(new_labels, labels)
    one = CopyPaste(COUNTS, CopyPasteOptions(prob=1.0, max_frequency=0.06))(images[:1], labels[:1], [0], 0)
    np.testing.assert_array_equal(one[0], images[:1])


@pytest.fixture
def sampled(sample_root):
    """A training set of small crops with both; its rarest class is sought."""

    def build(**options):
        transforms = [{"type": "RandomPaddingCrop", "crop_size": [32, 32]}, {"type": "RandomHorizontalFlip"}]
        return build_dataset("Cityscapes", str(sample_root), "train", transforms, **options)

    return build


BALANCED = {"class_uniform": {"prob": 1.0, "min_pixels": 20}, "copy_paste": {"prob": 1.0, "max_frequency": 0.05}}


def read_batches(dataset, start, stop, **options):
    return [[part.numpy() for part in batch] for batch in train_batches(dataset, 3, 5, start, stop, **options)]


def test_batches_repeat_from_any_number_and_with_processes(sampled):
    whole = read_batches(sampled(**BALANCED), 0, 4)
    late = read_batches(sampled(**BALANCED), 2, 4, threads=1)
    by_processes = read_batches(sampled(**BALANCED), 2, 4, num_workers=2)
    for expected, *others in zip(whole[2:], late, by_processes):
        for other in others:
            for one, same in zip(expected, other):
                np.testing.assert_array_equal(one, same)
    plain = read_batches(sampled(), 0, 4)
    assert any((one[0] != other[0]).any() for one, other in zip(whole, plain))


def test_crops_show_the_class_that_is_sought(sampled):
    dataset = sampled(class_uniform=BALANCED["class_uniform"])
    plain = sampled()
    held = {"by class": [], "plain": []}
    for number in range(120):
        sought = dataset.class_uniform.draw(number, seed=5)
        for name, chosen, class_id in (("by class", dataset, sought.class_id), ("plain", plain, None)):
            _, label = chosen.train_item(sought.index, np.random.default_rng(number), class_id)
            held[name].append((label == sought.class_id).any())
    assert np.mean(held["by class"]) == 1.0 and np.mean(held["plain"]) < 0.8


def test_a_label_that_cannot_be_read_is_not_sought(sampled, sample_root, tmp_path):
    root = tmp_path / "sample"
    shutil.copytree(sample_root, root)
    bad = Path(sampled().file_list[2][1])
    (root / bad.relative_to(sample_root)).write_bytes(b"no image")
    dataset = build_dataset("Cityscapes", str(root), "train", [], "never", class_uniform={"prob": 1.0})
    assert not dataset.histogram[2].any() and dataset.histogram[[0, 1, 3, 4, 5]].any(1).all()
    assert 2 not in {dataset.class_uniform.draw(number, 0).index for number in range(200)}


@pytest.mark.parametrize("option", ["class_uniform", "copy_paste"])
def test_sampling_is_for_training(sample_root, option):
    with pytest.raises(UserError, match="are for mode train, not val"):
        build_dataset("Cityscapes", str(sample_root), "val", **{option: {"prob": 0.5}})
