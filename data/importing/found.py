"""What all readers of segmentation data share: their result, and checks of files, points and images."""

import json
import os
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from compat import UserError

import numpy as np
from PIL import Image

from data.classes import ClassSet
from data.files import PILLOW_ERRORS

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
EXIF_ORIENTATION = 0x0112
FARTHEST = 1e6  # pixels; points beyond are refused
# What reading content of another format raises; the last three come from compressed bitmaps and huge numbers.
MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, zlib.error, OSError)


@contextmanager
def expected_format(kind: str, path: Path) -> Iterator[None]:
    """Inside, an exception from content that is not in the format of `kind` becomes a UserError."""
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
    """[(x, y)] of pairs of numbers; raises ValueError for points far from any image, which take forever to draw."""
    points = [(float(x), float(y)) for x, y in values]
    if not all(abs(number) <= FARTHEST for point in points for number in point):  # NaN is not
        raise ValueError("a point that is in no image")
    return points


class Item(NamedTuple):
    """One image and its label.

    name: its path in the source without suffix, with `/`; names of one folder or sequence sort together.
    label: function that returns the training ids, [H, W] uint8, 255 where ignored.
    """

    name: str
    image: Path
    label: Callable[[], np.ndarray]


class SourceContent(NamedTuple):
    """The content of a source.

    kind: its format, for messages.
    notes: the rules by which it was read, a line each.
    splits: {split: names of its items} if the source has splits, else None.
    colored: whether the classes are those of the masks' colours, which a palette names.
    """

    kind: str
    items: List[Item]
    classes: ClassSet
    notes: List[str]
    splits: Optional[Dict[str, List[str]]] = None
    colored: bool = False


def item_name(path: Path) -> str:
    """The name of an image that the source lists as `path`: with `/`, without suffix, drive and leading `..`.

    A dataset writes to `images/` and `labels/` below this name: one that leads out of them would overwrite other files.
    """
    path = Path(os.path.normpath(path))
    return Path(*(part for part in path.parts if part not in (os.pardir, path.anchor))).with_suffix("").as_posix()


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
    """Open an image or mask without reading its pixels; raises UserError for any other file."""
    try:
        return Image.open(path)
    except (OSError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or "unknown format"
        raise UserError(f"{path}: not a readable image ({reason})") from error


def check_photo(path: Path) -> Tuple[int, int]:
    """(width, height) of an image; raises UserError for colours other than RGB or grey, and for a rotated image."""
    with open_picture(path) as image:
        try:
            orientation = image.getexif().get(EXIF_ORIENTATION, 1)  # of a PNG, this reads the pixels too
        except PILLOW_ERRORS as error:
            raise UserError(f"{path}: not a complete image file ({error})") from error
        if image.mode in ("CMYK", "LAB", "YCbCr"):
            raise UserError(f"{path}: its colours are {image.mode}; save it as RGB")
        if orientation != 1:
            raise UserError(f"{path}: its EXIF data rotate it, and labels may follow that or not; save it upright")
        return image.size
