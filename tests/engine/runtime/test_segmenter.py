"""Segmenter: its rounding, its two interpolations, fixed sizes and batches."""

import logging

from compat import UserError

import numpy as np
import pytest

from engine.runtime import Description, Network, Segmenter
from engine.runtime.network import first_largest
from engine.runtime.segmenter import restore, scaled_size


class Brightness(Network):
    """Classes are red values; what `run` returns is one array, used again and again."""

    def __init__(self, **description):
        super().__init__("openvino", "fp32", Description(256, **{"batch": None, **description}))
        self.seen = []
        self.output = {}

    def run(self, batch):
        self.seen.append(batch)
        output = self.output.setdefault(batch.shape, np.empty(batch.shape[:3], np.uint8))
        output[:] = batch[..., 0]
        return output


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "size, scale, expected",
    [
        ((720, 960), 0.5, (360, 480)),
        ((63, 127), 0.5, (32, 64)),  # halves are rounded up
        ((63, 127), 0.75, (47, 95)),
        ((5, 1), 0.1, (1, 1)),
        ((64, 128), 1.0, (64, 128)),
    ],
)
def test_sizes_are_rounded_as_in_paddleseg(size, scale, expected):
    assert scaled_size(size, scale) == expected


def test_half_is_the_mean_of_four_pixels():
    image = noise(20, 30)
    network = Brightness()
    Segmenter(network, 0.5)(image)
    sums = image.astype(int).reshape(10, 2, 15, 2, 3).sum(axis=(1, 3))
    np.testing.assert_array_equal(network.seen[0][0], (sums + 2) // 4)


@pytest.mark.parametrize("scale", [0.3, 0.75, 1.5])
def test_scaling_is_bilinear_between_pixel_centres(scale):
    """Against float64; a byte's rounding and OpenCV's fixed point allow one grey level."""
    image = noise(33, 47)
    height, width = scaled_size(image.shape[:2], scale)
    expected = image.astype(np.float64)
    for axis, (new, old) in enumerate(((height, 33), (width, 47))):
        position = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, old - 1)
        weight = (position - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        expected = expected.take(low, axis) * (1 - weight) + expected.take(high, axis) * weight
    seen = Segmenter(Brightness(), scale).batch(image)[0]
    assert np.abs(seen - expected).max() < 1


@pytest.mark.parametrize("small, size", [((24, 35), (32, 47)), ((32, 64), (63, 127)), ((40, 30), (20, 45))])
def test_class_maps_come_back_by_the_nearest_pixel_centre(small, size):
    """Half-way between two centres either is near enough; OpenCV's fixed point leaves a thousandth."""
    rows, columns = np.indices(small).astype(np.uint8)
    for axis, positions in enumerate((rows, columns)):
        centres = (np.arange(size[axis]) + 0.5) * small[axis] / size[axis]
        found = restore(positions, size).astype(float) + 0.5
        assert np.abs(found - np.expand_dims(centres, 1 - axis)).max() <= 0.501


def test_a_class_map_is_an_array_of_its_own():
    network = Brightness()
    first = Segmenter(network)(noise(8, 8, seed=1))
    kept = first.copy()
    Segmenter(network)(noise(8, 8, seed=2))
    np.testing.assert_array_equal(first, kept)


def test_a_fixed_batch_gets_the_image_as_often():
    image = noise(9, 7)
    network = Brightness(batch=3)
    np.testing.assert_array_equal(Segmenter(network)(image), image[..., 0])
    np.testing.assert_array_equal(network.seen[0], np.stack([image] * 3))


def test_a_fixed_size_counts_instead_of_the_scale_and_squeezes_with_one_warning(caplog, monkeypatch):
    monkeypatch.setattr(Segmenter, "_warned", set())
    monkeypatch.setattr(logging.getLogger("stdc_seg"), "propagate", True)
    network = Brightness(size=(16, 32))
    with caplog.at_level(logging.WARNING):
        same_shape = Segmenter(network, 0.75)(noise(33, 66))
        assert same_shape.shape == (33, 66) and not caplog.records
        for _ in range(2):
            assert Segmenter(network)(noise(20, 20)).shape == (20, 20)
    assert {batch.shape for batch in network.seen} == {(1, 16, 32, 3)}
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "the network is fixed to 32x16: images of 20x20 are squeezed into it"
    ]


class Scores(Network):
    """Two classes: the logits of a pixel are its red and its green value over 64."""

    def __init__(self, output_op, temperature=1.0):
        description = Description(2, output_op=output_op, batch=None, temperature=temperature)
        super().__init__("openvino", "fp32", description)

    def run(self, batch):
        logits = np.ascontiguousarray(batch[..., :2].transpose(0, 3, 1, 2).astype(np.float32) / 64)
        if self.description.output_op == "none":
            return logits
        exponentials = np.exp(logits / self.description.temperature)
        return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("output_op", ["none", "softmax"])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_confidence_is_the_largest_probability(output_op, temperature):
    image = noise(12, 10)
    found = Segmenter(Scores(output_op, temperature)).segment(image)
    red, green = (image[..., channel].astype(float) / 64 / temperature for channel in (0, 1))
    np.testing.assert_array_equal(found.classes, green > red)
    np.testing.assert_allclose(found.confidence, 1 / (1 + np.exp(-np.abs(green - red))), rtol=1e-6)
    assert found.confidence.dtype == np.float32


def test_what_is_not_sure_is_unknown():
    image = noise(30, 40)
    network = Scores("none")
    found = Segmenter(network, 0.75).segment(image)
    known = Segmenter(network, 0.75, unknown_below=0.8)(image)
    np.testing.assert_array_equal(known == 255, found.confidence < 0.8)
    np.testing.assert_array_equal(known[known != 255], found.classes[known != 255])
    assert 0.1 < np.mean(known == 255) < 0.9
    np.testing.assert_array_equal(Segmenter(network, 0.75)(image), found.classes)


def test_a_confidence_needs_its_network_and_a_range():
    with pytest.raises(UserError, match="--unknown_below 0.5: .* export it with --output_op softmax"):
        Segmenter(Brightness(), unknown_below=0.5)
    with pytest.raises(UserError, match="for their confidence export it with --output_op softmax"):
        Segmenter(Brightness()).segment(noise(4, 4))
    with pytest.raises(UserError, match="give a confidence from 0 to 1"):
        Segmenter(Scores("none"), unknown_below=50)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [1, 2, 3, 19, 254])
def test_the_first_of_the_largest_scores_is_argmax(dtype, classes):
    """Scores of few levels are often equal; zeros of either sign are too."""
    scores = np.random.default_rng(classes).integers(-2, 3, (2, classes, 7, 9)).astype(dtype) * dtype(-0.5)
    assert (np.signbit(scores) & (scores == 0)).any()
    found, largest = first_largest(scores)
    np.testing.assert_array_equal(found, scores.argmax(axis=1))
    np.testing.assert_array_equal(largest, scores.max(axis=1))
    assert found.dtype == np.uint8 and largest.dtype == dtype


def test_the_scale_is_that_of_the_description_by_default():
    network = Brightness(scale=0.5)
    assert Segmenter(network).batch(noise(20, 30)).shape == (1, 10, 15, 3)
    assert Segmenter(network, 1.0).batch(noise(20, 30)).shape == (1, 20, 30, 3)
