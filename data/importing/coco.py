"""COCO: one JSON file of images, categories and annotations; pycocotools draws its polygons."""

from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from compat import UserError

import numpy as np

from data.importing.found import Item, SourceContent, check_photo, expected_format, item_name, points_of, read_json
from data.importing.labelme import BACKGROUND_NAMES, with_background

KEYS = {"images", "annotations", "categories"}
RULES = [
    "what no annotation covers is background, class 0",
    "where annotations overlap, the one of the smaller area counts",
]


def coco_content(path: Path) -> Optional[Dict[str, Any]]:
    """The content of a COCO file, or None for another JSON file; raises UserError for one that cannot be read."""
    content = read_json(path)
    return content if isinstance(content, dict) and set(content) >= KEYS else None


def coco_found(path: Path, content: Mapping[str, Any], folders: List[Path]) -> SourceContent:
    """Read a COCO file.

    Args:
        path: of the file.
        content: of the file, see `coco_content`.
        folders: where its images may be.

    Raises:
        UserError: for an image that is missing or of another size, an unlisted category, an object without an outline,
            and without pycocotools.
    """
    try:
        import pycocotools.mask  # noqa: F401  to fail here rather than at the first polygon
    except ImportError as error:
        raise UserError("COCO files are read by pycocotools: pip install pycocotools==2.0.10") from error
    with expected_format("COCO", path):
        return _found(path, content, folders)


def _found(path: Path, content: Mapping[str, Any], folders: List[Path]) -> SourceContent:
    categories = {category["id"]: str(category["name"]) for category in content["categories"]}
    listed = dict.fromkeys(categories[key] for key in sorted(categories))
    names = [name for name in listed if name not in BACKGROUND_NAMES]
    ids = {key: 0 if name in BACKGROUND_NAMES else 1 + names.index(name) for key, name in categories.items()}
    counts = Counter(image["id"] for image in content["images"])
    for number, count in counts.items():
        if count > 1:
            raise UserError(f"{path}: {count} images have the id {number}; its annotations could be of any")
    files = Counter(image["file_name"] for image in content["images"])
    repeated = next((file for file, count in files.items() if count > 1), None)
    if repeated is not None:
        raise UserError(f"{path}: lists the image {repeated} {files[repeated]} times; merge their annotations")
    annotations = defaultdict(list)
    unknown = []  # objects without an outline
    for annotation in content["annotations"]:
        if annotation.get("category_id") not in ids:
            raise UserError(f"{path}: annotation {annotation.get('id')} has no listed category")
        if annotation["image_id"] not in counts:
            raise UserError(f"{path}: annotation {annotation.get('id')} is of no listed image")
        if annotation.get("segmentation"):
            annotations[annotation["image_id"]].append(annotation)
        elif ids[annotation["category_id"]]:
            unknown.append(annotation)
    if unknown:
        _refuse(path, unknown, categories)
    items = []
    for image in content["images"]:
        file = next((one / image["file_name"] for one in folders if (one / image["file_name"]).is_file()), None)
        if file is None:
            raise UserError(f"{path}: its image {image['file_name']} is in none of {', '.join(map(str, folders))}")
        size = check_photo(file)
        if size != (image["width"], image["height"]):
            raise UserError(f"{path}: {file.name} has {size[0]}x{size[1]}, not {image['width']}x{image['height']}")
        label = partial(_draw, size, annotations[image["id"]], ids)
        label()
        items.append(Item(item_name(Path(image["file_name"])), file, label))
    if not items:
        raise UserError(f"{path}: lists no image")
    return SourceContent("COCO", items, with_background(names), list(RULES))


def _refuse(path: Path, unknown: List[Mapping[str, Any]], categories: Mapping[Any, str]) -> None:
    """Raise UserError for objects without an outline."""
    first, count = unknown[0], len(unknown)
    holds = "a box and no outline" if first.get("bbox") else "no outline"
    more = "1 such annotation" if count == 1 else f"{count} such annotations"
    name = f"{path}: annotation {first.get('id')} ({categories[first['category_id']]})"
    raise UserError(
        f"{name} has {holds}, so that its pixels are unknown ({more}); give it a polygon or a mask, or delete it"
    )


def _draw(size: Tuple[int, int], annotations: List[Mapping[str, Any]], ids: Mapping[Any, int]) -> np.ndarray:
    masks = [(_covered(one["segmentation"], size), ids[one["category_id"]]) for one in annotations]
    label = np.zeros(size[::-1], np.uint8)
    for covered, index in sorted(masks, key=lambda one: -int(one[0].sum())):
        label[covered] = index
    return label


def _covered(shape: Any, size: Tuple[int, int]) -> np.ndarray:
    """The pixels of polygons or of a run-length encoding, [H, W] bool."""
    width, height = size
    if isinstance(shape, list):
        from pycocotools import mask

        polygons = [[number for point in points_of(zip(one[::2], one[1::2])) for number in point] for one in shape]
        if not polygons or any(len(one) < 6 or len(one) != len(given) for one, given in zip(polygons, shape)):
            raise ValueError("a polygon of fewer than three points")
        return mask.decode(mask.merge(mask.frPyObjects(polygons, height, width))).astype(bool)
    counts = shape["counts"] if isinstance(shape["counts"], list) else _unpacked(shape["counts"])
    if list(shape["size"]) != [height, width] or not all(isinstance(one, int) and one >= 0 for one in counts):
        raise ValueError(f"a mask of the size {shape['size']}")
    if sum(counts) != width * height:
        raise ValueError("runs that do not add up to the image")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width, order="F")


def _unpacked(text: str) -> List[int]:
    """The run lengths of COCO's compressed form: 5 bits a character.

    From the fourth on, they are differences to the last but one. pycocotools decodes them too, but trusts them to
    fit the image.
    """
    counts: List[int] = []
    number, shift = 0, 0
    for character in text.encode("ascii"):
        bits = character - 48
        number |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            number -= 1 << shift
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number, shift = 0, 0
    return counts
