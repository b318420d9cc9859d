"""COCO: one JSON file of images, categories and annotations; pycocotools draws its polygons and decodes its RLE."""

import json
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from compat import UserError

import numpy as np

from data.importing.found import Found, Item, check_photo
from data.importing.labelme import with_background

KEYS = {"images", "annotations", "categories"}
RULES = [
    "what no annotation covers is background, class 0",
    "where annotations overlap, the one of the smaller area counts",
]


def coco_content(path: Path) -> Optional[Dict[str, Any]]:
    """The content of a COCO file, or None for another JSON file; raises UserError for one that cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path}: not a readable JSON file ({error})") from error
    return content if isinstance(content, dict) and set(content) >= KEYS else None


def coco_found(path: Path, content: Mapping[str, Any], folders: List[Path]) -> Found:
    """What a COCO file holds.

    Args:
        folders: where its images may be.

    Raises:
        UserError: for an image that is missing or of another size, a category that is not listed, or no pycocotools.
    """
    try:
        import pycocotools.mask  # noqa: F401  said now rather than at the first label
    except ImportError as error:
        raise UserError("COCO files are read by pycocotools: pip install pycocotools==2.0.10") from error
    categories = {category["id"]: str(category["name"]) for category in content["categories"]}
    names = list(dict.fromkeys(categories[key] for key in sorted(categories)))
    ids = {key: 1 + names.index(name) for key, name in categories.items()}
    annotations = defaultdict(list)
    for annotation in content["annotations"]:
        if annotation.get("category_id") not in ids:
            raise UserError(f"{path}: annotation {annotation.get('id')} has no listed category")
        if annotation.get("segmentation"):
            annotations[annotation["image_id"]].append(annotation)
    items = []
    for image in content["images"]:
        file = next((one / image["file_name"] for one in folders if (one / image["file_name"]).is_file()), None)
        if file is None:
            raise UserError(f"{path}: its image {image['file_name']} is in none of {', '.join(map(str, folders))}")
        size = check_photo(file)
        if size != (image["width"], image["height"]):
            raise UserError(f"{path}: {file.name} has {size[0]}x{size[1]}, not {image['width']}x{image['height']}")
        label = partial(_draw, size, annotations[image["id"]], ids)
        items.append(Item(Path(image["file_name"]).with_suffix("").as_posix(), file, label))
    return Found("COCO", items, with_background(names), list(RULES))


def _draw(size: Tuple[int, int], annotations: List[Mapping[str, Any]], ids: Mapping[Any, int]) -> np.ndarray:
    from pycocotools import mask

    width, height = size
    masks = []
    for annotation in annotations:
        shape = annotation["segmentation"]
        if isinstance(shape, list):
            shape = mask.merge(mask.frPyObjects(shape, height, width))
        elif isinstance(shape["counts"], list):
            shape = mask.frPyObjects(shape, height, width)
        masks.append((mask.decode(shape).astype(bool), ids[annotation["category_id"]]))
    label = np.zeros((height, width), np.uint8)
    for covered, index in sorted(masks, key=lambda one: -int(one[0].sum())):
        label[covered] = index
    return label
