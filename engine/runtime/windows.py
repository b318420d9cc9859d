"""Class maps of images of any size from overlapping windows, with logits of no more than a window in memory.

Windows lie as in PaddleSeg: `stride` apart, the last of a row and of a column moved back to end with the image. Where
windows overlap their logits are averaged, weighted by the distance to the window's border: along each axis the weight
rises linearly over the overlap, w(i) = min(i + 1, length - i, overlap + 1), and a pixel's weight is the product of
both. (PaddleSeg averages with equal weights, which leaves seams.) Of a network that gives probabilities the logarithms
are averaged, which differ from logits by a constant of the pixel, so that the result is that of logits; one that gives
class maps has one vote of that weight for each window.

Rows of windows are computed from the top, and in each the windows from the left. After a window, two parts of its
weighted sum are unfinished: the columns that it shares with the next window, which wait beside it, and the rows that it
shares with the windows below. Those wait as one block a column of windows, in memory up to 256 MiB together, otherwise
in a temporary file. The columns before the next window and the rows before the next row of windows are decided at once.
So there is in memory, for K classes and windows of (h, w) in an image W wide: a few arrays [K, h, w], one band
[h, W, 3] of the image, the blocks, and the decided band. The image's height does not count, and K and W not together.
"""

import contextlib
import os
import tempfile
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from compat import UserError

import cv2
import numpy as np

from data.rows import ArrayRows, RowSource, ScaledRows
from engine.runtime.network import Network, confidence_of, first_largest
from engine.runtime.segmenter import Segmentation, Segmenter, Size, scaled_size

WAITING_IN_MEMORY = 2**28  # bytes
TINY = np.finfo(np.float32).tiny


class Windows(NamedTuple):
    """Both in pixels of the image as the network sees it, after scaling."""

    size: Size  # (h, w)
    stride: Size  # (h, w), at most the size


class Band(NamedTuple):
    """Rows of a class map."""

    top: int
    classes: np.ndarray  # [rows, W] uint8
    confidence: Optional[np.ndarray]  # [rows, W] float32 in (0, 1]


class WindowSegmenter:
    """Has the interface of a Segmenter; computes large images window by window.

    The image is scaled, and its class map brought back, as a Segmenter does; an image that one window covers gets the
    Segmenter's class map. Networks of any size see smaller windows where the image is smaller; those of a fixed size
    see it with its last row and column repeated.

    Args:
        segmenter: of a network of any engine; its scale counts, also where the network is fixed to a size.
        windows: where a network is fixed to a size, that size.

    Raises:
        UserError: for other windows than a fixed size, and for a stride that leaves pixels out.
    """

    def __init__(self, segmenter: Segmenter, windows: Windows):
        fixed = segmenter.network.size
        if fixed is not None and fixed != windows.size:
            raise UserError(
                f"windows of {_text(windows.size)}: this network was exported for {_text(fixed)}; use --window "
                f"{_text(fixed)}"
            )
        if any(not 1 <= step <= side for step, side in zip(windows.stride, windows.size)):
            raise UserError(
                f"windows of {_text(windows.size)} every {_text(windows.stride)}: would leave pixels out; the overlap "
                "must be less than each side"
            )
        self.plain, self.windows = segmenter, windows

    @property
    def network(self) -> Network:
        return self.plain.network

    @property
    def unknown_below(self) -> float:
        return self.plain.unknown_below

    def seen_size(self, size: Size) -> Size:
        """(h, w) of an image of (H, W) after scaling, which the windows cover."""
        return scaled_size(size, self.plain.scale)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Class map [H, W] uint8 of an image [H, W, 3] uint8 RGB; 255 where the confidence is below the limit."""
        if self._fits(image.shape[:2]):
            return self.plain(image)
        bands = self.bands(ArrayRows(image), confidence=self.unknown_below > 0)
        return np.concatenate([self.known(band) for band in bands])

    def segment(self, image: np.ndarray) -> Segmentation:
        """The class of every pixel of an image [H, W, 3] uint8 RGB, also of unknown ones, and its confidence.

        Raises:
            UserError: for a network that gives no confidence.
        """
        if self._fits(image.shape[:2]):
            return self.plain.segment(image)
        bands = list(self.bands(ArrayRows(image), confidence=True))
        return Segmentation(*(np.concatenate([band[part] for band in bands]) for part in (1, 2)))

    def known(self, band: Band) -> np.ndarray:
        """The band's class map, 255 where the confidence is below the limit."""
        if not self.unknown_below:
            return band.classes
        return Segmentation(band.classes, band.confidence).known(self.unknown_below)

    def bands(self, source: RowSource, confidence: bool = False) -> Iterator[Band]:
        """The class map of an image in bands that follow each other from the top.

        Args:
            source: of the image's rows, at their first.
            confidence: whether to compute it.

        Raises:
            UserError: for a confidence that the network does not give, and where the source or the disk fails.
        """
        if confidence and not self.network.gives_confidence:
            raise UserError("this network returns class maps alone; for confidence export it with --output_op softmax")
        seen = self.seen_size(source.size)
        rows, columns = (nearest(small, side) for small, side in zip(seen, source.size))
        for band in self._seen_bands(ScaledRows(source, seen), confidence):
            first, end = np.searchsorted(rows, (band.top, band.top + len(band.classes)))
            # A band of a reduced image has rows in the image; one of an enlarged image may have none.
            if end > first:
                at = np.ix_(rows[first:end] - band.top, columns)
                yield Band(int(first), *(None if one is None else one[at] for one in band[1:]))

    def _seen_bands(self, source: RowSource, confidence: bool) -> Iterator[Band]:
        """The bands of the image as the network sees it; see the head of the file."""
        height, width = source.size
        (tops, along_y), (lefts, along_x) = (
            place(*one) for one in zip(source.size, self.windows.size, self.windows.stride)
        )
        shape = along_y.shape[1], along_x.shape[1]
        lower = max((top + shape[0] - below for top, below in zip(tops, tops[1:])), default=0)
        with WaitingBlocks(4 * self.network.num_classes * lower * width) as waiting:
            pixels = source.read(shape[0])
            for row, (top, below) in enumerate(zip(tops, [*tops[1:], height])):
                band = Band(top, *_empty((below - top, width), confidence))
                weighted = self._weighted(pixels, lefts, along_y[row], along_x)
                for left, block in weighted:
                    if row:
                        above = waiting.take(left)
                        block[:, : above.shape[1]] += above
                    decided = block[:, : below - top]
                    classes, score = first_largest(decided[None])
                    at = slice(left, left + block.shape[2])
                    band.classes[:, at] = classes[0]
                    if confidence:
                        band.confidence[:, at] = confidence_of(decided[None], score, self._temperature)[0]
                    if below < height:
                        waiting.put(left, block[:, below - top :])
                yield band
                if below < height:
                    pixels = np.concatenate([pixels[below - top :], source.read(below - top)])

    def _weighted(
        self, pixels: np.ndarray, lefts: Sequence[int], along_y: np.ndarray, along_x: np.ndarray
    ) -> Iterator[Tuple[int, np.ndarray]]:
        """(left, block) of a row of windows: sums [K, h, n] of weighted scores, finished along x."""
        ends = [*lefts[1:], pixels.shape[1]]
        beside = None
        for left, end, across in zip(lefts, ends, along_x):
            window = pixels[:, left : left + len(across)]
            scores = self._scores(window) * (along_y[:, None] * across)
            if beside is not None:
                scores[:, :, : beside.shape[2]] += beside
            beside = scores[:, :, end - left :].copy()
            yield left, scores[:, :, : end - left]

    def _scores(self, pixels: np.ndarray) -> np.ndarray:
        """What is averaged, [K, h, w] float32, of a window [h, w, 3]; see the head of the file."""
        height, width = pixels.shape[:2]
        fixed = self.network.size or (height, width)
        if fixed != (height, width):
            edges = (0, fixed[0] - height, 0, fixed[1] - width)
            pixels = cv2.copyMakeBorder(pixels, *edges, cv2.BORDER_REPLICATE)
        batch = np.repeat(pixels[None], self.network.description.batch or 1, axis=0)
        output = self.network.run(self.network.prepare(batch))[0][..., :height, :width]
        if self.network.gives_logits:
            return output
        if self.network.gives_confidence:
            return np.log(np.maximum(output, TINY))
        return (output == np.arange(self.network.num_classes)[:, None, None]).astype(np.float32)

    @property
    def _temperature(self) -> float:
        """Of what is averaged: logarithms of probabilities have theirs in them."""
        return self.network.description.temperature if self.network.gives_logits else 1.0

    def _fits(self, size: Size) -> bool:
        """Whether a Segmenter sees the whole image as one window would."""
        seen = self.seen_size(size)
        if self.network.size is not None:
            return seen == self.network.size
        return all(side <= window for side, window in zip(seen, self.windows.size))


class WaitingBlocks:
    """Blocks of sums [K, h, w] float32 by the column where they begin, each taken once before it is put again.

    Args:
        total: bytes of all blocks together; beyond WAITING_IN_MEMORY they wait in a temporary file.
    """

    def __init__(self, total: int):
        self.blocks: Dict[int, np.ndarray] = {}
        self.places: Dict[int, Tuple[int, Tuple[int, ...]]] = {}
        self.total, self.file, self.opened = total, None, contextlib.ExitStack()

    def __enter__(self) -> "WaitingBlocks":
        if self.total > WAITING_IN_MEMORY:
            with _disk_errors():
                self.file = self.opened.enter_context(tempfile.TemporaryFile(prefix="windows_"))
        return self

    def __exit__(self, *error) -> None:
        self.opened.close()

    def put(self, left: int, block: np.ndarray) -> None:
        """Raises UserError where the temporary file cannot be written."""
        if self.file is None:
            self.blocks[left] = block.copy()
            return
        # The first row of windows writes the blocks side by side; the last one's may be larger, and go to the end.
        start, shape = self.places.get(left, (0, (0,)))
        with _disk_errors():
            if np.prod(shape) < block.size:
                start = self.file.seek(0, os.SEEK_END)
            self.places[left] = (start, block.shape)
            self.file.seek(start)
            self.file.write(np.ascontiguousarray(block).data)

    def take(self, left: int) -> np.ndarray:
        if self.file is None:
            return self.blocks.pop(left)
        start, shape = self.places[left]
        self.file.seek(start)
        return np.frombuffer(self.file.read(4 * int(np.prod(shape))), np.float32).reshape(shape)


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{tempfile.gettempdir()}: a temporary file cannot be written ({error.strerror or error}); name a folder "
            "with room in the variable TMPDIR"
        ) from error


def place(length: int, window: int, stride: int) -> Tuple[List[int], np.ndarray]:
    """Windows along an axis: where they begin, and their weights [n, window] float32, of which each pixel's sum is 1.

    The window is at most as long as the axis.
    """
    window_length = min(window, length)
    starts = [*range(0, length - window_length, stride), length - window_length]
    index = np.arange(window_length)
    ramp = np.minimum(np.minimum(index + 1, window_length - index), window - stride + 1).astype(np.float64)
    total = np.zeros(length)
    for start in starts:
        total[start : start + window_length] += ramp
    return starts, np.stack([ramp / total[start : start + window_length] for start in starts]).astype(np.float32)


def nearest(source: int, target: int) -> np.ndarray:
    """[target] int64: the source position of each, as INTER_NEAREST_EXACT takes it, which fails beyond 32767."""
    step = ((source << 16) + target // 2) // target
    return np.minimum((np.arange(target, dtype=np.int64) * step + step // 2 - source % 2) >> 16, source - 1)


def _empty(shape: Size, confidence: bool) -> Tuple[np.ndarray, Optional[np.ndarray]]:
    return np.empty(shape, np.uint8), np.empty(shape, np.float32) if confidence else None


def _text(size: Size) -> str:
    return f"{size[1]}x{size[0]}"
