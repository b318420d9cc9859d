"""Detects the format of a source and reads it."""

from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from compat import UserError

from data.importing.coco import coco_content, coco_found
from data.importing.found import SourceContent, image_files, item_name
from data.importing.labelme import labelme_contents, labelme_found
from data.importing.masks import Color, Pair, masks_found
from data.importing.supervisely import supervisely_files, supervisely_found
from data.layouts import listed_names

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "JPEGImages", "photos")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "SegmentationClass", "gt")
MASK_ENDINGS = ("_mask", "_label", "_labels", "_gt", "-mask")
LABEL_MAP = "labelmap.txt"  # CVAT's palette


def find_source(source: Path, palette_file: Optional[Path] = None) -> SourceContent:
    """Read a source: images and masks, JSON of LabelMe, Supervisely or COCO, or PaddleSeg's train.txt and val.txt.

    Args:
        source: the folder, or a COCO file.
        palette_file: lines `name r g b` of colour masks, or CVAT's labelmap.txt.

    Raises:
        UserError: for a source in none of these formats, and for anything ambiguous in it.
    """
    palette = read_palette(palette_file) if palette_file else None
    found = _read_source(source, palette)
    if palette_file and not found.colored:
        holds = f"{source} holds {found.kind}"
        raise UserError(f"{palette_file}: a palette names the colours of masks, and {holds}; leave --palette out")
    images: Dict[str, Path] = {}
    for item in found.items:
        other = images.setdefault(item.name, item.image)
        if other != item.image:
            raise UserError(f"{item.image} and {other}: two images have the same name, {item.name}; rename one of them")
    if len(found.classes.names) < 2:
        raise UserError(f"{source}: holds a single class, {found.classes.names[0]}, so there is nothing to learn")
    return found


def _read_source(source: Path, palette: Optional[Mapping[str, Color]]) -> SourceContent:
    if source.is_file() and source.suffix == ".json":
        content = coco_content(source)
        if content is None:
            raise UserError(f"{source}: not a COCO file; of LabelMe files, name their folder")
        return coco_found(source, content, _folders_near(source))
    if not source.is_dir():
        raise UserError(f"{source}: no such folder or COCO file")
    if palette is None and (source / LABEL_MAP).is_file():
        palette = read_palette(source / LABEL_MAP)
    if (source / "train.txt").is_file():
        return _listed(source, palette)
    images, masks = _child(source, IMAGE_FOLDERS), _child(source, MASK_FOLDERS)
    if images and masks and image_files(masks):
        return masks_found("masks", _pairs(images, masks), palette)
    coco = _coco_file(source)
    if coco:
        path, content = coco
        return coco_found(path, content, _folders_near(path))
    annotated = supervisely_files(source)
    if annotated:
        return supervisely_found(source, annotated)
    shapes = labelme_contents(source)
    if shapes:
        return labelme_found(source, shapes)
    raise UserError(
        f"{source}: neither images/ and masks/, nor files of LabelMe, Supervisely or COCO, nor train.txt are there"
    )


def _coco_file(source: Path) -> Optional[Tuple[Path, Dict[str, Any]]]:
    """The folder's COCO file and its content; raises UserError for a second one."""
    only = None
    for path in sorted(source.glob("*.json")) + sorted(source.glob("annotations/*.json")):
        content = coco_content(path)
        if content is not None and only:
            remedy = "merge them, or name the one to import as the source"
            raise UserError(f"{only[0]} and {path}: both are COCO files; {remedy}")
        if content is not None:
            only = path, content
    return only


def read_palette(path: Path) -> Dict[str, Color]:
    """{class: colour} of lines `name r g b` or CVAT's `name:r,g,b:parts:actions`; raises UserError for another line."""
    palette: Dict[str, Color] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the palette cannot be read ({error})") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        entry = _palette_entry(line)
        if entry is None:
            raise UserError(f"{path}, line {number}: {line.strip()!r} is not: name red green blue, each up to 255")
        name, color = entry
        if name in palette or color in palette.values():
            raise UserError(f"{path}, line {number}: {line.strip()!r} repeats a name or a colour")
        palette[name] = color
    if len(palette) < 2:
        raise UserError(f"{path}: a palette names at least two classes")
    return palette


def _palette_entry(line: str) -> Optional[Tuple[str, Color]]:
    """(name, colour) of a line; None if it holds anything else, such as a fourth number. Names may hold spaces."""
    name, colon, rest = line.strip().partition(":")
    words = (rest.partition(":")[0] if colon else name).replace(",", " ").split()
    if not colon:
        has_four = len(words) > 4 and words[-4].isdecimal()
        name, words = " ".join(words[:-3]), words[-4:] if has_four else words[-3:]
    if not name or len(words) != 3 or not all(word.isdecimal() and int(word) < 256 for word in words):
        return None
    return name.strip(), (int(words[0]), int(words[1]), int(words[2]))


def _child(source: Path, names) -> Optional[Path]:
    return next((source / name for name in names if (source / name).is_dir()), None)


def _folders_near(path: Path) -> List[Path]:
    """Where the images of a COCO file are: beside it, or beside its folder."""
    roots = (path.parent, path.parent.parent)
    children = [root / name for root in roots for name in (*IMAGE_FOLDERS, path.stem.replace("instances_", ""))]
    return [folder for folder in (*roots, *children) if folder.is_dir()]


def _pairs(images: Path, masks: Path) -> List[Pair]:
    """Images and masks of the same names; raises UserError for one without the other."""
    photos, labels = image_files(images), {}
    for name, path in image_files(masks).items():
        ending = next((one for one in MASK_ENDINGS if name.endswith(one) and name not in photos), "")
        name = name[: len(name) - len(ending)]
        if name in labels:
            raise UserError(f"{path}: is a mask of {name} as {labels[name].name} is; which of them is meant?")
        labels[name] = path
    files = {**labels, **photos}
    lone = [files[name] for name in files if name not in labels or name not in photos]
    if lone:
        raise UserError(f"{lone[0]}: has no partner of the same name in the other folder ({len(lone)} such files)")
    return [Pair(name, path, labels[name]) for name, path in photos.items()]


def _listed(source: Path, palette: Optional[Mapping[str, Color]]) -> SourceContent:
    pairs: List[Pair] = []
    splits: Dict[str, List[str]] = {}
    for mode in ("train", "val"):
        splits[mode] = []
        for image, mask in _listed_files(source / f"{mode}.txt", source):
            name = item_name(image.relative_to(source)) if image.is_relative_to(source) else image.stem
            splits[mode].append(name)
            pairs.append(Pair(name, image, mask))
        if not splits[mode]:
            raise UserError(f"{source / mode}.txt: lists no image")
    both = set(splits["train"]) & set(splits["val"])
    if both:
        raise UserError(f"{source / 'val.txt'}: {sorted(both)[0]} is in train.txt too ({len(both)} such images)")
    return masks_found("PaddleSeg's lists", pairs, palette, splits)


def _listed_files(file: Path, root: Path) -> List[Tuple[Path, Path]]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: the list cannot be read ({error})") from error
    files = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            names = listed_names(line, "," if "," in line else " ")
            if len(names) != 2:
                raise UserError(f"{file}, line {number}: {line.strip()!r} is not: image label")
            paths = [root / name for name in names]
            absent = next((path for path in paths if not path.is_file()), None)
            if absent:
                raise UserError(f"{file}, line {number}: no such file: {absent}")
            files.append((paths[0], paths[1]))
    return files
