"""Images read a band of rows at a time, from the top, so that one that does not fit in memory can be predicted.

Files are read by libvips, which streams PNG, TIFF and baseline JPEG: only a band, and one row of a TIFF's tiles or one
compressed strip, are in memory. Files that cannot be streamed are decoded as a whole first: photos that EXIF rotates
by 90 or 180 degrees into a temporary file, interlaced PNGs and progressive JPEGs in memory.
"""

import contextlib
import warnings
from pathlib import Path
from typing import Iterator, Protocol, Tuple, Union

from compat import UserError

import numpy as np
from PIL import Image

from data.files import PILLOW_ERRORS, check_brightness

Size = Tuple[int, int]
FROM_THE_TOP = (1, 2)  # EXIF's orientations: as it is, and mirrored left to right
COLORS = ("b-w", "srgb", "rgb", "grey16", "rgb16", "multiband")  # as libvips names what the numbers mean
UNKNOWN_FORMAT = "is not a known file format"  # in libvips' message; it was built without BMP
CHUNK = 32  # rows that are decoded or resized at a time


class RowSource(Protocol):
    """An image that is read from the top; `size` is its (H, W)."""

    size: Size

    def read(self, count: int) -> np.ndarray:
        """The next rows, [count, W, 3] uint8 RGB; `count` is at most the number of rows left."""


class ArrayRows:
    """The rows of an image [H, W, 3] uint8."""

    def __init__(self, image: np.ndarray):
        self.image, self.size, self.row = image, image.shape[:2], 0

    def read(self, count: int) -> np.ndarray:
        self.row += count
        return self.image[self.row - count : self.row]


def has_more_pixels(path: Union[str, Path], count: int) -> bool:
    """Whether an image file has more than `count` pixels, by its header; `count` is below Pillow's own limit.

    Raises:
        UserError: for a file whose header neither Pillow nor libvips can read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # nothing is decoded here
            with Image.open(path) as image:
                return image.width * image.height > count
    except Image.DecompressionBombError:
        return True
    except PILLOW_ERRORS:  # such as TIFF files of floats, which libvips can read
        vips = _pyvips()
        with _vips_errors(path, vips):
            header = vips.Image.new_from_file(str(path), access="sequential")
            return header.width * header.height > count


class FileRows:
    """The rows of an image file as data.files.read_image returns them; those of PNG and TIFF are identical.

    EXIF's orientation is applied, transparency is left out, and of 16 bits the upper 8 are taken.

    Raises:
        UserError: without pyvips; for a file that is missing or damaged, also in `read`; for floats and
            CMYK; and for 16-bit numbers that would become nearly black.
    """

    def __init__(self, path: Union[str, Path]):
        self.path, self.row, self.vips = path, 0, _pyvips()
        with _vips_errors(path, self.vips):
            header = self._open("sequential")
            if header.interpretation not in COLORS or header.format not in ("uchar", "ushort"):
                kind = f"{header.interpretation}, {header.format} numbers"
                raise UserError(f"{path}: an image of {kind}; save it as RGB or grey, with 8 or 16 bits a channel")
            if header.format == "ushort":
                check_brightness(path, int(_colors(self._open("sequential")).max()))
            image = self._upright(header)
            self.region = self.vips.Region.new(image)
        self.size = (image.height, image.width)
        self.dtype = np.uint16 if image.format == "ushort" else np.uint8

    def read(self, count: int) -> np.ndarray:
        band = np.empty((count, self.size[1], 3), np.uint8)
        for start in range(0, count, CHUNK):
            part = band[start : start + CHUNK]
            # Evaluating a crop instead would end the stream: libvips closes the file after each evaluation.
            with _vips_errors(self.path, self.vips):
                pixels = self.region.fetch(0, self.row, self.size[1], len(part))
            values = np.frombuffer(pixels, self.dtype).reshape(*part.shape[:2], -1)
            part[:] = values >> 8 if self.dtype == np.uint16 else values
            self.row += len(part)
        return band

    def reduced(self, size: Size) -> np.ndarray:
        """The whole image at another size (h, w), [h, w, 3] uint8 RGB; reads the file once more."""
        with _vips_errors(self.path, self.vips):
            small = self.vips.Image.thumbnail(str(self.path), size[1], height=size[0], size="force")
            pixels = _colors(small).numpy()
        return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)

    def _open(self, access: str):
        options = {"access": access, "fail_on": "truncated"}
        image = self.vips.Image.new_from_file(str(self.path), **options)
        if image.get("vips-loader").startswith("tiff"):
            # libvips refuses strips of over 50 MB otherwise, and some programs write an image as one strip.
            image = self.vips.Image.new_from_file(str(self.path), unlimited=True, **options)
        return image

    def _upright(self, image):
        orientation = image.get("orientation") if image.get_typeof("orientation") else 1
        if orientation not in FROM_THE_TOP:
            image = self._open("random")
        return _colors(image.autorot() if orientation != 1 else image)


@contextlib.contextmanager
def _vips_errors(path: Union[str, Path], vips) -> Iterator[None]:
    """Inside, errors of libvips become a UserError of one line."""
    try:
        yield
    except vips.Error as error:
        reason = (str(error.detail).strip() or str(error)).splitlines()[0]
        if UNKNOWN_FORMAT in reason:
            raise UserError(
                f"{path}: not an image, or of a format that libvips cannot read in bands; save it as PNG or TIFF"
            ) from error
        raise UserError(f"{path}: not a complete image file; libvips cannot read it ({reason})") from error


def _colors(image):
    """A libvips image without transparency: three bands, or a grey one."""
    return image.extract_band(0, n=3) if image.bands >= 3 else image.extract_band(0)


def _pyvips():
    try:
        import pyvips
    except (ImportError, OSError) as error:
        raise UserError(
            f"large images are read by pyvips ({error}); install it with: pip install -r requirements-common.txt"
        ) from error
    pyvips.cache_set_max(0)  # it would keep bands for operations that are never repeated
    return pyvips


class ScaledRows:
    """The rows of a source at another size, identical to cv2.resize(image, ..., INTER_LINEAR_EXACT) of the whole.

    OpenCV's arithmetic (modules/imgproc/src/resize.cpp, resize_bitExact): weights of 8 bits, products exact, one
    rounding at the end.

    Args:
        source: of an image (H, W).
        size: (h, w) to resize to.
    """

    def __init__(self, source: RowSource, size: Size):
        self.source, self.size, self.row = source, size, 0
        self.upper, self.lower, self.weight = _taps(source.size[0], size[0])
        self.left, self.right, self.across = _taps(source.size[1], size[1])
        self.kept, self.end = np.empty((0, size[1], 3), np.uint16), 0  # resized along x; source rows up to `end`

    def read(self, count: int) -> np.ndarray:
        if self.size == tuple(self.source.size):
            return self.source.read(count)
        stop = self.row + count
        parts = [self._resize(start, min(start + CHUNK, stop)) for start in range(self.row, stop, CHUNK)]
        self.row = stop
        return np.concatenate(parts)

    def _resize(self, start: int, stop: int) -> np.ndarray:
        """Rows start to stop of the result."""
        first, end = self.upper[start], self.lower[stop - 1] + 1
        if end > self.end:
            self.kept = np.concatenate([self.kept, self._along_x(self.source.read(end - self.end))])
            self.end = end
        self.kept = self.kept[len(self.kept) - (self.end - first) :]
        weight = self.weight[start:stop, None, None].astype(np.uint32)
        upper, lower = self.kept[self.upper[start:stop] - first], self.kept[self.lower[start:stop] - first]
        return ((upper * (256 - weight) + lower * weight + (1 << 15)) >> 16).astype(np.uint8)

    def _along_x(self, rows: np.ndarray) -> np.ndarray:
        """Rows [n, W, 3] uint8 at the new width, [n, w, 3] uint16 in 256ths."""
        weight = self.across[:, None]
        return rows[:, self.left] * (256 - weight) + rows[:, self.right] * weight


def _taps(source: int, target: int) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `target` positions the two source positions between which it lies, and the second's 256ths."""
    step = 1 / (target / source)
    position = step * (np.arange(target) + 0.5) - 0.5
    low = np.floor(position).astype(np.int64)
    weight = np.rint((position - low) * 256).astype(np.uint16)
    inside = (low >= 0) & (low < source - 1)
    low = np.clip(low, 0, source - 1)
    return low, np.where(inside, low + 1, low), np.where(inside, weight, np.uint16(0))
