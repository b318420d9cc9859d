"""Windows: equal to one numpy image of sums, to the plain way where one window covers, and bounded in memory."""

import tracemalloc

from compat import UserError

import cv2
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from data.rows import ArrayRows
from engine.runtime import Description, Network, Segmenter, Windows, WindowSegmenter, windows
from engine.runtime.windows import nearest

K = 5


class Context(Network):
    """Scores depend on the window: 5 x 5 means of colours, by which every border shows, plus the pixel's position."""

    def __init__(self, output_op="none", **description):
        super().__init__("openvino", "fp32", Description(K, **{"output_op": output_op, "batch": None, **description}))
        self.seen = []

    def run(self, batch):
        self.seen.append(batch.shape)
        return np.stack([finish(logits_of(image), self.description.output_op) for image in batch])


def logits_of(image):
    """[K, h, w] float32 of a window [h, w, 3]."""
    mean = cv2.blur(image.astype(np.float32), (5, 5), borderType=cv2.BORDER_CONSTANT) / 64
    place = np.indices(image.shape[:2]).sum(0) % 3
    return np.stack([mean[..., 0], mean[..., 1], mean[..., 2], 0.1 * place + 1, mean.sum(-1) - 4]).astype(np.float32)


def finish(logits, output_op):
    if output_op == "none":
        return logits
    if output_op == "argmax":
        return logits.argmax(0).astype(np.uint8)
    exponentials = np.exp(logits - logits.max(0))
    return exponentials / exponentials.sum(0)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def whole_image(image, size, stride, scores=logits_of):
    """Blended scores [K, H, W] float64 by one array of sums; the ramp is spelt out pixel by pixel."""
    height, width = image.shape[:2]
    total, weights = np.zeros((K, height, width)), np.zeros((height, width))

    def starts(length, window, step):
        found = [0]
        while found[-1] + window < length:
            found.append(min(found[-1] + step, length - window))
        return found

    def ramp(window, longest, step):
        return np.array([min(i + 1, window - i, longest - step + 1) for i in range(window)], float)

    h, w = min(size[0], height), min(size[1], width)
    weight = ramp(h, size[0], stride[0])[:, None] * ramp(w, size[1], stride[1])
    for top in starts(height, h, stride[0]):
        for left in starts(width, w, stride[1]):
            at = (slice(top, top + h), slice(left, left + w))
            total[(slice(None), *at)] += weight * scores(image[at])
            weights[at] += weight
    return total / weights


def probabilities(scores, temperature=1.0):
    exponentials = np.exp((scores - scores.max(0)) / temperature)
    return exponentials / exponentials.sum(0)


GRIDS = [
    ((40, 70), Windows((16, 24), (12, 16))),
    ((40, 70), Windows((16, 24), (16, 24))),  # no overlap
    ((33, 49), Windows((16, 24), (16, 24))),  # one pixel remains on either axis
    ((17, 25), Windows((16, 24), (8, 8))),  # three windows share a pixel
    ((41, 67), Windows((16, 24), (3, 5))),  # many do
    ((12, 70), Windows((16, 24), (12, 20))),  # lower than the window
    ((40, 9), Windows((16, 24), (12, 20))),  # narrower
    ((40, 1), Windows((16, 24), (12, 20))),
]


@pytest.mark.parametrize("size, grid", GRIDS)
@pytest.mark.parametrize("in_memory", [True, False], ids=["in memory", "on disk"])
def test_blended_windows_equal_one_array_of_sums(size, grid, in_memory, monkeypatch):
    if not in_memory:
        monkeypatch.setattr(windows, "WAITING_IN_MEMORY", 0)
    image = noise(*size)
    expected = whole_image(image, grid.size, grid.stride)
    found = WindowSegmenter(Segmenter(Context(temperature=2.0)), grid).segment(image)
    first, second = np.sort(expected, axis=0)[-1:-3:-1]
    clear = first - second > 1e-5  # float32 sums in another order
    assert clear.mean() > 0.99
    assert_array_equal(found.classes[clear], expected.argmax(0)[clear])
    np.testing.assert_allclose(found.confidence, probabilities(expected, 2.0).max(0), rtol=1e-5)


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.3])
def test_windows_cover_the_scaled_image(scale):
    """The image is scaled as a Segmenter does, and the class map comes back as its does."""
    image = noise(61, 87)
    seen = Segmenter(Context(), scale).batch(image)[0]
    grid = Windows((16, 24), (12, 16))
    classes = whole_image(seen, grid.size, grid.stride).argmax(0).astype(np.uint8)
    expected = cv2.resize(classes, (87, 61), interpolation=cv2.INTER_NEAREST_EXACT)
    assert np.mean(WindowSegmenter(Segmenter(Context(), scale), grid)(image) == expected) > 0.999


@pytest.mark.parametrize("output_op", ["none", "softmax", "argmax"])
@pytest.mark.parametrize("size", [(30, 50), (30, 31), (7, 50), (1, 1)])
def test_an_image_in_one_window_is_as_without(output_op, size):
    image = noise(*size)
    plain = Segmenter(Context(output_op))
    windowed = WindowSegmenter(plain, Windows((30, 50), (20, 30)))
    assert_array_equal(windowed(image), plain(image))
    if output_op != "argmax":
        for found, expected in zip(windowed.segment(image), plain.segment(image)):
            assert_array_equal(found, expected)


def test_probabilities_are_blended_as_their_logits():
    image, grid = noise(40, 70), Windows((16, 24), (12, 16))
    by_logits, by_probabilities = (
        WindowSegmenter(Segmenter(Context(op)), grid).segment(image) for op in ("none", "softmax")
    )
    assert np.mean(by_logits.classes == by_probabilities.classes) > 0.999
    np.testing.assert_allclose(by_logits.confidence, by_probabilities.confidence, rtol=1e-4)


def test_class_maps_vote():
    image, grid = noise(40, 70), Windows((16, 24), (12, 16))
    votes = whole_image(
        image, grid.size, grid.stride, lambda window: logits_of(window).argmax(0) == np.arange(K)[:, None, None]
    )
    found = WindowSegmenter(Segmenter(Context("argmax")), grid)(image)
    first, second = np.sort(votes, axis=0)[-1:-3:-1]
    clear = first - second > 1e-5
    assert clear.mean() > 0.5 and np.any(votes.max(0) < 1)
    assert_array_equal(found[clear], votes.argmax(0)[clear])


class Constant(Context):
    """The second class leads by 2, wherever the window lies."""

    def run(self, batch):
        logits = np.zeros((len(batch), K, *batch.shape[1:3]), np.float32)
        logits[:, 1] = 2
        return logits


def test_a_constant_network_gives_a_constant_map():
    found = WindowSegmenter(Segmenter(Constant()), Windows((16, 24), (11, 13))).segment(noise(101, 77))
    assert (found.classes == 1).all()
    np.testing.assert_allclose(found.confidence, np.exp(2) / (np.exp(2) + K - 1), rtol=1e-6)


def test_a_fixed_size_and_batch_see_whole_windows_alone():
    network = Context(size=(16, 24), batch=2)
    image = noise(40, 20)
    found = WindowSegmenter(Segmenter(network), Windows((16, 24), (12, 16)))(image)
    assert set(network.seen) == {(2, 16, 24, 3)}
    padded = np.pad(image, ((0, 0), (0, 4), (0, 0)), mode="edge")
    expected = whole_image(padded, (16, 24), (12, 16)).argmax(0)[:, :20]
    assert found.shape == (40, 20) and np.mean(found == expected) > 0.99


def test_unknown_pixels():
    image, grid = noise(40, 70), Windows((16, 24), (12, 16))
    found = WindowSegmenter(Segmenter(Context()), grid).segment(image)
    limit = float(np.median(found.confidence))
    unknown = WindowSegmenter(Segmenter(Context(), unknown_below=limit), grid)(image)
    assert_array_equal(unknown, np.where(found.confidence < np.float32(limit), 255, found.classes))


@pytest.mark.parametrize(
    "network, grid, message",
    [
        (
            Context(size=(16, 24)),
            Windows((16, 32), (8, 8)),
            "windows of 32x16: .* exported for 24x16; use --window 24x16",
        ),
        (Context(), Windows((16, 32), (17, 32)), "would leave pixels out"),
        (Context(), Windows((16, 32), (0, 32)), "would leave pixels out"),
    ],
)
def test_what_is_refused(network, grid, message):
    with pytest.raises(UserError, match=message):
        WindowSegmenter(Segmenter(network), grid)


def test_class_maps_alone_have_no_confidence():
    segmenter = WindowSegmenter(Segmenter(Context("argmax")), Windows((16, 24), (12, 16)))
    with pytest.raises(UserError, match="--output_op softmax"):
        segmenter.segment(noise(40, 70))


def test_a_full_disk_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(windows, "WAITING_IN_MEMORY", 0)
    monkeypatch.setattr(windows.tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(UserError, match="gone: a temporary file cannot be written .* TMPDIR"):
        WindowSegmenter(Segmenter(Context()), Windows((16, 24), (12, 16)))(noise(40, 70))


class Rows:
    """An image of any height, of which only what is read exists."""

    def __init__(self, size):
        self.size = size

    def read(self, count):
        return np.full((count, self.size[1], 3), 100, np.uint8)


def peak(height, width):
    """Bytes that a prediction allocates at most."""
    segmenter = WindowSegmenter(Segmenter(Constant()), Windows((32, 48), (24, 40)))
    tracemalloc.start()
    try:
        rows = sum(len(band.classes) for band in segmenter.bands(Rows((height, width)), confidence=True))
        assert rows == height
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_depend_on_the_height():
    """But for a few index numbers a row; the image would add 600 bytes a row, its class map 200, logits 4000."""
    assert peak(640, 200) - peak(160, 200) < 480 * 64


def test_what_waits_on_disk_does_not_grow_with_the_width(monkeypatch):
    """For each column: the band's 32 rows of bytes, thrice while it moves on, and 5 x 24 decided bytes, twice."""
    monkeypatch.setattr(windows, "WAITING_IN_MEMORY", 0)
    grown = peak(160, 1600) - peak(160, 400)
    assert grown < 1200 * (3 * 32 * 3 + 2 * 24 * 5) * 1.1
    monkeypatch.setattr(windows, "WAITING_IN_MEMORY", 2**40)
    assert peak(160, 1600) - peak(160, 400) > grown + 0.9 * 1200 * 8 * K * 4  # 8 rows of K sums


def test_nearest_positions_are_opencvs():
    rng = np.random.default_rng(1)
    for source, target in [(17, 1268), (1, 5), *rng.integers(1, 300, (200, 2)).tolist()]:
        positions = np.arange(source, dtype=np.int32)[:, None]
        expected = cv2.resize(positions, (1, target), interpolation=cv2.INTER_NEAREST_EXACT)[:, 0]
        assert_array_equal(nearest(source, target), expected)
    # where OpenCV's 32 bits overflow
    assert nearest(70000, 140000)[[0, 1, 2, -1]].tolist() == [0, 0, 1, 69999]


def test_rows_follow_each_other():
    segmenter = WindowSegmenter(Segmenter(Context(), 0.4), Windows((16, 24), (12, 16)))
    tops = 0
    for band in segmenter.bands(ArrayRows(noise(211, 90))):
        assert band.top == tops and band.classes.shape[1] == 90 and band.confidence is None
        tops += len(band.classes)
    assert tops == 211
