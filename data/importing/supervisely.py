"""Supervisely: folders `ann` of JSON files and `img` of images, below a meta.json with names and colours."""

import base64
import io
import json
import zlib
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple

from compat import UserError

import numpy as np
from PIL import Image, ImageDraw

from data.classes import ClassSet
from data.importing.found import Item, SourceContent, check_photo, expected_format, points_of, read_json
from data.importing.labelme import BACKGROUND_NAMES, with_background

DRAWN = ("polygon", "rectangle", "bitmap")
RULES = [
    "what no object covers is background, class 0",
    "where objects overlap, the later one in the file counts",
]


def supervisely_files(folder: Path) -> List[Path]:
    """The annotation files of the folder's datasets, each in an `ann` beside an `img`."""
    return [path for path in sorted(folder.rglob("ann/*.json")) if (path.parent.parent / "img").is_dir()]


def supervisely_found(folder: Path, files: List[Path]) -> SourceContent:
    """Read the files; raises UserError for an image that is missing or of another size, and for unknown objects."""
    contents = {path: _read(path) for path in files}
    with expected_format("Supervisely", folder):
        titles = {str(one["classTitle"]) for content in contents.values() for one in content["objects"]}
    titles -= set(BACKGROUND_NAMES)
    if not titles:
        raise UserError(f"{folder}: its {len(files)} Supervisely files hold no object")
    classes = _colored(with_background(sorted(titles)), folder / "meta.json")
    ids = {name: index for index, name in enumerate(classes.names)}
    items = []
    for path, content in contents.items():
        image = path.parent.parent / "img" / path.stem
        if not image.is_file():
            raise UserError(f"{path}: its image img/{path.stem} is not there")
        size = check_photo(image)
        with expected_format("Supervisely", path):
            _check(path, content, size)
        name = (path.parent.parent / path.stem).relative_to(folder).with_suffix("").as_posix()
        items.append(Item(name, image, partial(_draw, size, content["objects"], ids)))
    return SourceContent("Supervisely", items, classes, list(RULES))


def _check(path: Path, content: Mapping[str, Any], size: Tuple[int, int]) -> None:
    stated = (content["size"]["width"], content["size"]["height"])
    if stated != size:
        raise UserError(f"{path}: made for {stated[0]}x{stated[1]}, but the image has {size[0]}x{size[1]}")
    for one in content["objects"]:
        if one["geometryType"] not in DRAWN:
            raise UserError(f"{path}: an object of the type {one['geometryType']!r}; known: {', '.join(DRAWN)}")
        _draw(size, [one], {str(one["classTitle"]): 1})


def _read(path: Path) -> Dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("objects"), list):
        raise UserError(f"{path}: no annotation of Supervisely, which has a list of objects")
    return content


def _colored(classes: ClassSet, meta: Path) -> ClassSet:
    """The classes in the colours of meta.json, as far as it names them."""
    try:
        stated = json.loads(meta.read_text(encoding="utf-8-sig"))["classes"]
        colors = {one["title"]: tuple(bytes.fromhex(one["color"].lstrip("#"))) for one in stated}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return classes
    known = {name: color for name, color in colors.items() if len(color) == 3}
    pairs = zip(classes.names, classes.colors)
    return ClassSet(classes.names, tuple(known.get(name, color) for name, color in pairs))


def _draw(size: Tuple[int, int], objects: List[Mapping[str, Any]], ids: Mapping[str, int]) -> np.ndarray:
    label = np.zeros(size[::-1], np.uint8)
    for one in objects:
        label[_covered(one, size)] = ids.get(str(one["classTitle"]), 0)
    return label


def _covered(one: Mapping[str, Any], size: Tuple[int, int]) -> np.ndarray:
    """The pixels of an object, [H, W] bool."""
    picture = Image.new("1", size)
    draw = ImageDraw.Draw(picture)
    if one["geometryType"] == "bitmap":
        data = zlib.decompress(base64.b64decode(one["bitmap"]["data"], validate=True))
        with Image.open(io.BytesIO(data)) as bitmap:
            mask = bitmap.getchannel("A") if "A" in bitmap.getbands() else bitmap.convert("L")
        picture.paste(1, tuple(one["bitmap"]["origin"]), mask.point(lambda value: 255 if value else 0))
    else:
        exterior = points_of(one["points"]["exterior"])
        if one["geometryType"] == "rectangle":
            (x0, y0), (x1, y1) = exterior
            draw.rectangle((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), fill=1, outline=1)
        else:
            draw.polygon(exterior, fill=1, outline=1)
            for hole in one["points"].get("interior", ()):
                draw.polygon(points_of(hole), fill=0, outline=1)
    return np.asarray(picture)
