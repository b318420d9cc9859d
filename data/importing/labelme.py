"""LabelMe: a JSON file of shapes beside each image."""

from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from compat import UserError

import numpy as np
from PIL import Image, ImageDraw

from data.classes import IGNORED, MAX_CLASSES, ClassSet, generic_classes
from data.importing.found import Item, SourceContent, check_photo, expected_format, points_of, read_json

BACKGROUND = "background"
BACKGROUND_NAMES = (BACKGROUND, "_background_")
IGNORED_NAMES = ("__ignore__", "ignore", "void")
DRAWN = ("polygon", "rectangle", "circle")
KEYS = ("shapes", "imagePath", "imageWidth", "imageHeight")  # without imageData, the whole image as text
RULES = [
    "what no shape covers is background, class 0",
    "where shapes overlap, the later one in the file counts",
]


def labelme_contents(folder: Path) -> Dict[Path, Dict[str, Any]]:
    """{file: what is needed of its content} of the folder's JSON files that hold shapes of an image."""
    contents = {path: _content(path) for path in sorted(folder.rglob("*.json"))}
    return {path: content for path, content in contents.items() if content is not None}


def labelme_found(folder: Path, contents: Mapping[Path, Mapping[str, Any]]) -> SourceContent:
    """Read what `labelme_contents` found.

    Raises:
        UserError: for an image that is missing or of another size, and for unknown shapes.
    """
    names = {name for path, content in contents.items() for name in _label_names(path, content)}
    names -= {*BACKGROUND_NAMES, *IGNORED_NAMES}
    if not names:
        raise UserError(f"{folder}: its {len(contents)} LabelMe files hold no shape")
    classes = with_background(sorted(names))
    ids = {name: index for index, name in enumerate(classes.names)}
    items = []
    for path, content in contents.items():
        image = path.parent / str(content["imagePath"]).replace("\\", "/")
        if not image.is_file():
            raise UserError(f"{path}: its image {content['imagePath']} is not there")
        size = check_photo(image)
        stated = (content.get("imageWidth"), content.get("imageHeight"))
        if None not in stated and stated != size:
            raise UserError(f"{path}: made for {stated[0]}x{stated[1]}, but {image.name} has {size[0]}x{size[1]}")
        with expected_format("LabelMe", path):
            for shape in content["shapes"]:
                _check_shape(path, shape)
            _draw(size, content["shapes"], ids)
        name = path.relative_to(folder).with_suffix("").as_posix()
        items.append(Item(name, image, partial(_draw, size, content["shapes"], ids)))
    others = sorted(set(folder.rglob("*.json")) - set(contents))
    left_out = [f"{len(others)} JSON files hold no shapes and are left out, such as {others[0]}"] if others else []
    return SourceContent("LabelMe", items, classes, [*RULES, *left_out])


def _label_names(path: Path, content: Mapping[str, Any]) -> List[str]:
    with expected_format("LabelMe", path):
        names = [shape["label"] for shape in content["shapes"]]
        if not all(isinstance(name, str) for name in names):
            raise TypeError("a label that is not text")
    return names


def with_background(names: List[str]) -> ClassSet:
    """Classes of these names after a black background; raises UserError for more than MAX_CLASSES in all."""
    if len(names) >= MAX_CLASSES:
        raise UserError(f"{len(names)} classes and a background: a dataset has {MAX_CLASSES} at most; leave some out")
    classes = generic_classes(len(names) + 1)
    return ClassSet((BACKGROUND, *names), ((0, 0, 0), *classes.colors[1:]))


def _content(path: Path) -> Optional[Dict[str, Any]]:
    content = read_json(path)
    if not isinstance(content, dict) or not {"shapes", "imagePath"} <= set(content):
        return None
    return {key: content[key] for key in KEYS if key in content}


def _check_shape(path: Path, shape: Mapping[str, Any]) -> None:
    kind, points = shape.get("shape_type", "polygon"), shape.get("points", [])
    least = 3 if kind == "polygon" else 2
    if kind not in DRAWN:
        raise UserError(f"{path}: a shape of the type {kind!r} ({shape['label']}); known: {', '.join(DRAWN)}")
    if len(points) < least:
        raise UserError(f"{path}: a {kind} of {len(points)} points ({shape['label']}); it needs {least}")


def _draw(size: Tuple[int, int], shapes: List[Mapping[str, Any]], ids: Mapping[str, int]) -> np.ndarray:
    picture = Image.new("L", size, 0)
    draw = ImageDraw.Draw(picture)
    for shape in shapes:
        name = shape["label"]
        value = IGNORED if name in IGNORED_NAMES else ids.get(name, 0)
        points = points_of(shape["points"])
        kind = shape.get("shape_type", "polygon")
        if kind == "polygon":
            draw.polygon(points, fill=value, outline=value)
        elif kind == "rectangle":
            (x0, y0), (x1, y1) = points[:2]
            draw.rectangle((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), fill=value, outline=value)
        else:
            (x, y), (at_x, at_y) = points[:2]
            radius = float(np.hypot(at_x - x, at_y - y))
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=value, outline=value)
    return np.array(picture)
