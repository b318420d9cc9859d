"""How datasets are laid out on disk: folders and list files -> pairs of image and label files."""

from pathlib import Path
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from compat import UserError
from compat.options import Label

import numpy as np
from pydantic import Field
from typing_extensions import Annotated

from data.classes import (
    CAMVID,
    CITYSCAPES,
    IGNORED,
    ClassSet,
    cityscapes_label_id_table,
    generic_classes,
    train_id_table,
)

MODES = ("train", "val", "test")
IMAGE_SUFFIX = "_leftImg8bit.png"
LABEL_KINDS = ("labelTrainIds", "labelIds")  # in the order in which they are preferred
CITYSCAPES_ENDINGS = (IMAGE_SUFFIX, *(f"_{kind}.png" for kind in LABEL_KINDS))


class Sample(NamedTuple):
    """Files of one image: its label (None in a test set), and the [256] table from label values to training ids."""

    image: Path
    label: Optional[Path]
    table: np.ndarray


class SplitFiles(NamedTuple):
    """The files of one split: the complete pairs, and a line for each image or label without its partner."""

    samples: List[Sample]
    problems: List[str]


class Layout(NamedTuple):
    """A type of dataset.

    find: (root, mode, **options) -> the files of a split.
    classes: (root, **options) -> the classes; the root need not be there.
    options: the names of the options that both take.
    """

    find: Callable[..., SplitFiles]
    classes: Callable[..., ClassSet]
    options: Tuple[str, ...]


def find_cityscapes(root: Path, mode: str) -> SplitFiles:
    """Cityscapes in its official folders; labelTrainIds are preferred to labelIds."""
    images = {
        f"{path.parent.name}/{path.name[: -len(IMAGE_SUFFIX)]}": path
        for path in sorted((root / "leftImg8bit" / mode).glob(f"*/*{IMAGE_SUFFIX}"))
    }
    labels: Dict[str, Path] = {}
    for kind in reversed(LABEL_KINDS):
        suffix = f"_gtFine_{kind}.png"
        for path in sorted((root / "gtFine" / mode).glob(f"*/*{suffix}")):
            labels[f"{path.parent.name}/{path.name[: -len(suffix)]}"] = path
    if mode == "test":  # the official test labels are dummies
        return SplitFiles([cityscapes_sample(image, None) for image in images.values()], [])
    problems = [
        f"{path}: has no label; expected {root / 'gtFine' / mode / name}_gtFine_labelIds.png or labelTrainIds.png"
        for name, path in images.items()
        if name not in labels
    ]
    problems += [
        f"{path}: has no image; expected {root / 'leftImg8bit' / mode / name}{IMAGE_SUFFIX}"
        for name, path in labels.items()
        if name not in images
    ]
    return SplitFiles([cityscapes_sample(images[name], labels[name]) for name in images if name in labels], problems)


def cityscapes_sample(image: Path, label: Optional[Path]) -> Sample:
    """A pair whose label holds labelIds or labelTrainIds, as its name says."""
    raw = label is not None and label.name.endswith("_labelIds.png")
    return Sample(image, label, cityscapes_label_id_table() if raw else train_id_table(len(CITYSCAPES.names)))


def find_camvid(root: Path, mode: str) -> SplitFiles:
    """CamVid as the SegNet tutorial lays it out: train/, trainannot/, ...; 11 is void."""
    void = len(CAMVID.names)
    table = train_id_table(void, ignored=void)
    table[IGNORED] = IGNORED
    images = {path.name: path for path in sorted((root / mode).glob("*.png"))}
    labels = {path.name: path for path in sorted((root / f"{mode}annot").glob("*.png"))}
    problems = []
    if mode != "test":
        problems = [
            f"{path}: has no label; expected {root / (mode + 'annot') / name}"
            for name, path in images.items()
            if name not in labels
        ]
    problems += [
        f"{path}: has no image; expected {root / mode / name}" for name, path in labels.items() if name not in images
    ]
    samples = [
        Sample(path, labels.get(name), table) for name, path in images.items() if name in labels or mode == "test"
    ]
    return SplitFiles(samples, problems)


def find_listed(
    root: Path,
    mode: str,
    num_classes: int,
    train_path: Optional[str] = None,
    val_path: Optional[str] = None,
    test_path: Optional[str] = None,
    separator: Annotated[str, Field(min_length=1)] = " ",
    ignore_index: Label = IGNORED,
    classes: Optional[Dict[str, Tuple[Label, Label, Label]]] = None,
) -> SplitFiles:
    """Any dataset by list files with one `image<separator>label` a line, as PaddleSeg's `Dataset` reads them.

    A byte-order mark is skipped. In a dataset of 19 classes, labels named *_labelIds.png are read as Cityscapes'
    labelIds.

    Args:
        root: folder to which the names in the lists are relative.
        mode: `train`, `val` or `test`; in a list for test, labels may be missing.
        num_classes: number of classes K, see data.dataset_classes; the label values are 0 to K - 1 and `ignore_index`.
        train_path, val_path, test_path: the list files, relative to the working directory or to `root`.
        separator: between the two names; spaces match any run of spaces and tabs.
        ignore_index: value of ignored pixels in the label files.
        classes: {name: (red, green, blue)} in the order of their ids; see `listed_classes`.

    Raises:
        UserError: for a list that is not given or cannot be read, or a line of another form.
    """
    chosen = {"train": train_path, "val": val_path, "test": test_path}[mode]
    if chosen is None:
        raise UserError(f"dataset type Dataset: mode {mode} needs {mode}_path, its list file")
    list_file = _list_file(root, chosen)
    try:
        lines = list_file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{list_file}: the dataset's list cannot be read ({error})") from error
    table = train_id_table(num_classes, ignored=ignore_index)
    found = SplitFiles([], [])
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        names = listed_names(line, separator)
        if len(names) != 2 and not (mode == "test" and len(names) == 1):
            raise UserError(
                f"{list_file}, line {number}: {line.strip()!r} is not image{separator}label; "
                f"the separator is {separator!r}"
            )
        paths = [root / name for name in names]
        absent = [path for path in paths if not path.is_file()]
        found.problems.extend(f"{list_file}, line {number}: no such file: {path}" for path in absent)
        if not absent:
            found.samples.append(_listed_sample(paths, num_classes, table))
    return found


def _list_file(root: Path, chosen: str) -> Path:
    """Relative to the working directory, as in PaddleSeg, or else to the dataset's folder."""
    return Path(chosen) if Path(chosen).is_file() else root / chosen


def listed_names(line: str, separator: str) -> List[str]:
    """The names in a line of a list file; a separator of spaces matches any run of spaces and tabs."""
    if separator.strip():
        return [name.strip() for name in line.strip().split(separator)]
    # Names that contain spaces can be separated by a tab.
    return [name.strip() for name in line.split("\t")] if line.count("\t") == 1 else line.split()


def _listed_sample(paths: List[Path], num_classes: int, table: np.ndarray) -> Sample:
    label = paths[1] if len(paths) == 2 else None
    if label is not None and label.name.endswith("_labelIds.png") and num_classes == len(CITYSCAPES.names):
        return cityscapes_sample(paths[0], label)
    return Sample(paths[0], label, table)


def listed_classes(
    root: Path,
    num_classes: int,
    classes: Optional[Mapping] = None,
    train_path: Optional[str] = None,
    val_path: Optional[str] = None,
    test_path: Optional[str] = None,
    separator: str = " ",
    **_: object,
) -> ClassSet:
    """The given names and colours; else Cityscapes' for 19 classes in lists of its files, and numbered ones otherwise.

    Raises:
        UserError: if the number of names is not `num_classes`.
    """
    if classes:
        if len(classes) != num_classes:
            raise UserError(f"dataset type Dataset: classes names {len(classes)} classes, num_classes is {num_classes}")
        return ClassSet(tuple(map(str, classes)), tuple(tuple(color) for color in classes.values()))
    lists = [_list_file(root, chosen) for chosen in (train_path, val_path, test_path) if chosen]
    if num_classes == len(CITYSCAPES.names) and any(_is_of_cityscapes(one, separator) for one in lists):
        return CITYSCAPES
    return generic_classes(num_classes)


def _is_of_cityscapes(list_file: Path, separator: str) -> bool:
    """Whether the label that the list names first, or else the image, is named as in Cityscapes."""
    try:
        with list_file.open(encoding="utf-8-sig") as lines:
            first = next((line for line in lines if line.strip()), "")
    except (OSError, ValueError):  # the files may be elsewhere; reading the samples will say what is wrong
        return False
    return any(name.endswith(CITYSCAPES_ENDINGS) for name in listed_names(first, separator)[-1:])


LAYOUTS: Dict[str, Layout] = {
    "CamVid": Layout(find_camvid, lambda root: CAMVID, ()),
    "Cityscapes": Layout(find_cityscapes, lambda root: CITYSCAPES, ()),
    "Dataset": Layout(
        find_listed,
        listed_classes,
        ("num_classes", "train_path", "val_path", "test_path", "separator", "ignore_index", "classes"),
    ),
}
