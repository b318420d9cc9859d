"""Masks of colours or of numbers: which classes they hold, and how their values become training ids."""

from collections import Counter
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from compat import UserError

import numpy as np

from data.classes import CAMVID, CITYSCAPES, IGNORED, MAX_CLASSES, ClassSet, generic_classes
from data.files import ONE_CHANNEL, stored_values
from data.importing.found import Item, SourceContent, check_photo, open_picture

Color = Tuple[int, int, int]
NEAREST_COLORS = 8  # colours that differ by no more in any channel are probably one colour that was blurred
DENSE = 64  # up to here, numbers with gaps stay as they are
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


class Pair(NamedTuple):
    """An image, its mask, and the name of both."""

    name: str
    image: Path
    mask: Path


def masks_found(
    kind: str,
    pairs: Sequence[Pair],
    palette: Optional[Mapping[str, Color]] = None,
    splits: Optional[Dict[str, List[str]]] = None,
) -> SourceContent:
    """Read pairs of images and masks.

    Args:
        kind: of source, for messages.
        pairs: the files.
        palette: {class: colour} of colour masks, not used for numbers; by default the colours found, with class names
            if they are those of Cityscapes or CamVid.
        splits: {split: names of its pairs}, if the source has splits.

    Raises:
        UserError: for masks of several kinds, 16 bits or transparency, for colours that cannot be told apart or that
            the palette lacks, for too many classes, and for sizes that do not fit.
    """
    kinds = {}
    counts: Counter = Counter()
    where: Dict = {}
    for pair in pairs:
        width, height = check_photo(pair.image)
        values, colored = _read(pair.mask)
        if values.shape != (height, width):
            size = f"{values.shape[1]}x{values.shape[0]}"
            raise UserError(f"{pair.mask}: size {size}, but its image {pair.image.name} has {width}x{height}")
        kinds.setdefault(colored, pair.mask)
        found, numbers = np.unique(values, return_counts=True)
        if len(found) > MAX_CLASSES + 1:
            raise UserError(
                f"{pair.mask}: {len(found)} different colours; a mask needs one flat colour a class, without smoothed "
                "borders or JPEG's compression"
            )
        for value, number in zip(found.tolist(), numbers.tolist()):
            counts[value] += number
            where.setdefault(value, pair.mask)
    if len(kinds) > 1:
        raise UserError(f"{kinds[True]} holds colours and {kinds[False]} numbers; import them one after the other")
    if True in kinds:
        classes, ids, notes = _colored_classes(counts, where, palette)
    else:
        classes, ids, notes = _numbered_classes(counts)
    if len(classes.names) > MAX_CLASSES:
        raise UserError(f"the masks hold {len(classes.names)} classes; a dataset has {MAX_CLASSES} at most")
    items = [Item(pair.name, pair.image, partial(_label, pair.mask, ids)) for pair in pairs]
    colored = True in kinds
    return SourceContent(f"{kind}, {'colours' if colored else 'numbers'}", items, classes, notes, splits, colored)


def _read(path: Path) -> Tuple[np.ndarray, bool]:
    """([H, W] of numbers, or of colours as 0xRRGGBB; whether they are colours)."""
    with open_picture(path) as image:
        try:
            pixels = stored_values(image) if image.mode in ONE_CHANNEL else np.asarray(image)
        except (OSError, ValueError, SyntaxError) as error:
            raise UserError(f"{path}: not a complete image file ({error})") from error
        mode = image.mode
    if mode in ONE_CHANNEL:
        return pixels, False
    if mode == "RGBA" and (pixels[..., 3] != 255).any():
        raise UserError(f"{path}: a mask with transparent pixels, whose class is not said; save it without alpha")
    if mode in ("RGB", "RGBA"):
        red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
        return red << 16 | green << 8 | blue, True
    raise UserError(f"{path}: a mask of the mode {mode}; save class numbers with 8 bits, or colours as RGB")


def _label(path: Path, ids: Mapping[int, int]) -> np.ndarray:
    values = _read(path)[0]
    found, positions = np.unique(values, return_inverse=True)
    return np.array([ids[value] for value in found.tolist()], np.uint8)[positions].reshape(values.shape)


def _as_color(value: int) -> Color:
    return value >> 16, value >> 8 & 255, value & 255


def _colored_classes(counts: Counter, where: Mapping, palette: Optional[Mapping[str, Color]]):
    colors = [_as_color(value) for value in sorted(counts)]
    if palette is None:
        palette, notes = _guessed_palette(colors)
        _refuse_near(colors, counts, where)
    else:
        notes = []
    known = {color: index for index, color in enumerate(palette.values())}
    ids = {}
    for value in counts:
        color = _as_color(value)
        if color not in known and color != BLACK:
            raise UserError(f"{where[value]}: the colour {color} ({counts[value]} pixels) is none of the palette's")
        ids[value] = known.get(color, IGNORED)
    if BLACK not in known and any(_as_color(value) == BLACK for value in counts):
        notes.append("black is none of the palette's colours and means: ignored")
    return ClassSet(tuple(palette), tuple(palette.values())), ids, notes


def _guessed_palette(colors: Sequence[Color]) -> Tuple[Dict[str, Color], List[str]]:
    for title, classes in (("Cityscapes", CITYSCAPES), ("CamVid", CAMVID)):
        if len(colors) > 3 and set(colors) <= {*classes.colors, BLACK}:
            return dict(zip(classes.names, classes.colors)), [f"the colours are those of {title}"]
    if set(colors) == {BLACK, WHITE}:
        return {"background": BLACK, "foreground": WHITE}, ["black means background, white foreground"]
    names = {"background" if color == BLACK else "color_{:02x}{:02x}{:02x}".format(*color): color for color in colors}
    return names, ["classes are named by their colours; --palette names them"]


def _refuse_near(colors: Sequence[Color], counts: Mapping, where: Mapping) -> None:
    for one, other in combinations(colors, 2):
        if max(abs(a - b) for a, b in zip(one, other)) <= NEAREST_COLORS:
            rare = min((one, other), key=lambda color: counts[color[0] << 16 | color[1] << 8 | color[2]])
            file = where[rare[0] << 16 | rare[1] << 8 | rare[2]]
            raise UserError(
                f"{file}: the colours {one} and {other} are nearly the same; are they one class? Make them equal, or "
                "name all colours with --palette"
            )


def _numbered_classes(counts: Counter):
    values = sorted(counts)
    if set(values) <= {0, 255} and 255 in values:
        classes = ClassSet(("background", "foreground"), (BLACK, (220, 20, 60)))
        return classes, {0: 0, 255: 1}, ["masks of 0 and 255: 255 means foreground, class 1"]
    numbers = [value for value in values if value != IGNORED]
    notes = ["255 means: ignored"] if IGNORED in values else []
    if numbers[-1] < DENSE:
        ids = {value: value for value in numbers}
    else:
        ids = {value: index for index, value in enumerate(numbers)}
        notes.append("numbers with gaps become classes: " + ", ".join(f"{a} -> {b}" for a, b in ids.items()))
    num_classes = max(ids.values()) + 1
    if num_classes < 2:
        raise UserError("the masks hold no number but 0, so there is nothing to learn")
    return generic_classes(num_classes), {**ids, IGNORED: IGNORED}, notes
