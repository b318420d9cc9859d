"""What a source holds, whatever its form."""

import json
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from compat import UserError

import numpy as np
from PIL import Image, UnidentifiedImageError

from data.classes import ClassSet

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
EXIF_ORIENTATION = 0x0112
FARTHEST = 1e6  # pixels
# What data of another form than expected ends in; the last three are those of compressed bitmaps and huge numbers.
MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, zlib.error, OSError)


@contextmanager
def expected_format(kind: str, path: Path) -> Iterator[None]:
    """A file whose content has not the form that `kind` writes ends in a UserError."""
    try:
        yield
    except MALFORMED as error:
        raise UserError(f"{path}: not as {kind} writes it ({type(error).__name__}: {str(error)[:80]})") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises UserError for one that cannot be read, or is nested too deeply."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a readable JSON file ({error})") from error


def points_of(values: Sequence) -> List[Tuple[float, float]]:
    """[(x, y)] of pairs of numbers; raises ValueError for numbers far beyond any image, which would take forever."""
    points = [(float(x), float(y)) for x, y in values]
    if not all(abs(number) <= FARTHEST for point in points for number in point):  # NaN is not
        raise ValueError("a point that is in no image")
    return points


class Item(NamedTuple):
    """One image.

    name: its path in the source without suffix, with `/`; names of one folder or sequence sort together.
    label: returns its training ids, [H, W] uint8, 255 where a pixel does not count.
    """

    name: str
    image: Path
    label: Callable[[], np.ndarray]


class SourceContent(NamedTuple):
    """`notes` are the rules that were applied; `splits` the names of each split where the source has splits itself."""

    kind: str
    items: List[Item]
    classes: ClassSet
    notes: List[str]
    splits: Optional[Dict[str, List[str]]] = None


def image_files(folder: Path) -> Dict[str, Path]:
    """{path below the folder without suffix, with `/`: file}, sorted; raises UserError for two files of one name."""
    files: Dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in files:
                raise UserError(f"{path}: has the same name as {files[name].name}; which of them is meant?")
            files[name] = path
    return files


def open_picture(path: Path) -> Image.Image:
    """Open an image or mask, whose pixels are not read yet; raises UserError for what is none."""
    try:
        return Image.open(path)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or "unknown format"
        raise UserError(f"{path}: not a readable image ({reason})") from error


def check_photo(path: Path) -> tuple:
    """(width, height) of an image; raises UserError where it would be seen in other colours, or turned."""
    with open_picture(path) as image:
        if image.mode in ("CMYK", "LAB", "YCbCr"):
            raise UserError(f"{path}: its colours are {image.mode}; save it as RGB")
        if image.getexif().get(EXIF_ORIENTATION, 1) != 1:
            raise UserError(
                f"{path}: its EXIF data say that it is to be turned, and labels may follow that or not; save it upright"
            )
        return image.size
