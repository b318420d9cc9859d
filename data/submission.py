"""Submissions to the Cityscapes server: a zip of PNGs of labelIds, one for each image, at the image's full size.

The server pairs a result with its image by the name: `CITY_123456_123456*.png`, exactly one of them, in any folder
(`getPrediction` in cityscapesscripts' evaluation/evalPixelLevelSemanticLabeling.py). It refuses ids that are not
Cityscapes' labelIds, and results of another size than their image.
"""

import lzma
import os
import re
import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

from compat import UserError

import cv2
import numpy as np
from PIL import Image

from data.classes import CITYSCAPES_LABEL_IDS, CITYSCAPES_MAX_LABEL_ID, IGNORED
from data.layouts import IMAGE_SUFFIX

FRAME = re.compile(r"[A-Za-z-]+_\d{6}_\d{6}")  # city, sequence, frame
SUFFIX = "_pred_labelIds.png"
FULL_SIZE = (2048, 1024)
TEST_IMAGES = {"berlin": 544, "bielefeld": 181, "bonn": 46, "leverkusen": 58, "mainz": 298, "munich": 398}
PNG_MARK = b"\x89PNG\r\n\x1a\n"


def frame_of(file: Union[str, Path]) -> Optional[str]:
    """`berlin_000000_000019` of a file that is named after a Cityscapes image; None for any other name."""
    found = FRAME.match(PurePosixPath(file).name)
    return found.group() if found else None


def submission_names(images: Iterable[Path]) -> Dict[Path, str]:
    """The name of each image's result.

    Raises:
        UserError: for an image that is not named as Cityscapes' are, and for two images of one name.
    """
    names: Dict[Path, str] = {}
    owners: Dict[str, Path] = {}
    for image in images:
        frame = frame_of(image)
        if frame is None:
            raise UserError(f"{image}: the server wants images named as in berlin_000000_000019_leftImg8bit.png")
        if frame in owners:
            raise UserError(f"{image} and {owners[frame]}: two images of one name; the server wants one result of each")
        owners[frame] = image
        names[image] = frame + SUFFIX
    return names


def label_ids_of(train_ids: np.ndarray) -> np.ndarray:
    """Class map [H, W] uint8 of training ids as labelIds; 255 becomes 0, Cityscapes' `unlabeled`."""
    table = np.zeros(256, np.uint8)
    table[: len(CITYSCAPES_LABEL_IDS)] = CITYSCAPES_LABEL_IDS
    return cv2.LUT(train_ids, table)


def write_submission(path: Union[str, Path], predictions: Iterable[Tuple[str, np.ndarray]]) -> None:
    """Write the zip under a temporary name and rename it when it is whole; an older one of that name is replaced.

    Args:
        path: where the zip goes.
        predictions: (name of the result, class map [H, W] uint8 of training ids), one after the other.

    Raises:
        UserError: when the zip cannot be written; an older one of that name is kept.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a zip that may be written")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The PNGs are compressed already.
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name, train_ids in predictions:
                archive.writestr(name, cv2.imencode(".png", label_ids_of(train_ids))[1].tobytes())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: the submission cannot be written ({error.strerror or error})") from error
    finally:
        if temporary.exists():
            temporary.unlink()


def split_sizes(dataset_root: Path, mode: str) -> Dict[str, Tuple[int, int]]:
    """{frame: (width, height)} of the images of a Cityscapes split.

    Raises:
        UserError: for a split without images, and for an image that cannot be read.
    """
    images = sorted((dataset_root / "leftImg8bit" / mode).glob(f"*/*{IMAGE_SUFFIX}"))
    if not images:
        raise UserError(f"{dataset_root}: holds no image of the split {mode!r} in the layout of Cityscapes")
    sizes = {}
    for image in images:
        try:
            with Image.open(image) as header:
                sizes[image.name[: -len(IMAGE_SUFFIX)]] = header.size
        except OSError as error:
            raise UserError(f"{image}: not a readable image ({error})") from error
    return sizes


def check_submission(
    path: Union[str, Path],
    images: Optional[Mapping[str, Tuple[int, int]]] = None,
    progress: Callable[[Sequence[str]], Iterable[str]] = iter,
) -> List[str]:
    """A line for each reason for which the server would refuse a submission or score it wrongly.

    Args:
        path: the zip.
        images: {frame: (width, height)} of the split; by default the 1525 images of 2048x1024 of the test split.
        progress: wraps the list of names while the files are read, as tqdm does.

    Raises:
        UserError: for a missing file, and for one that is not a zip.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [item.filename for item in archive.infolist() if not item.is_dir()]
            frames = {name: frame_of(name) for name in names if name.lower().endswith(".png")}
            problems = [f"{name}: is not a PNG; take it out of the zip" for name in names if name not in frames]
            problems += _name_faults(frames, images)
            for name in progress(list(frames)):
                size = FULL_SIZE if images is None else images.get(frames[name] or "", None)
                problems += _content_faults(archive, name, size)
    except (OSError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: not a readable zip ({reason}); write one with tool.predict") from error
    return problems


def _name_faults(frames: Mapping[str, Optional[str]], images: Optional[Mapping]) -> List[str]:
    """Faults in number and names; `frames` maps the names in the zip to their frames, None for other names."""
    pattern = "CITY_123456_123456*.png"
    faults = [f"{name}: the server looks for {pattern}" for name, frame in frames.items() if frame is None]
    counts = Counter(frame for frame in frames.values() if frame)
    faults += [f"{frame}: {count} results; the server wants one" for frame, count in counts.items() if count > 1]
    if images is not None:
        faults += [f"{frame}: no such image in the split" for frame in counts if frame not in images]
        return faults + [f"{frame}: has no result" for frame in images if frame not in counts]
    cities = Counter(frame.split("_")[0] for frame in counts)
    faults += [f"{city}: no city of the test split" for city in cities if city not in TEST_IMAGES]
    return faults + [
        f"{city}: {cities[city]} images have a result; the test split has {expected}"
        for city, expected in TEST_IMAGES.items()
        if cities[city] != expected
    ]


def _content_faults(archive: zipfile.ZipFile, name: str, size: Optional[Tuple[int, int]]) -> List[str]:
    """Faults of one PNG, which must be complete, with one 8-bit channel of labelIds, of `size` (w, h) if given."""
    try:
        encoded = archive.read(name)
    # What zipfile and its decompressors raise for damage, an unknown compression, and encryption.
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError) as error:
        return [f"{name}: cannot be unpacked ({error})"]
    whole = encoded.startswith(PNG_MARK) and b"IEND" in encoded[-16:]
    label = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED) if whole else None
    if label is None:
        return [f"{name}: is not a complete PNG"]
    if label.ndim != 2 or label.dtype != np.uint8:
        channels = 1 if label.ndim == 2 else label.shape[2]
        return [f"{name}: {channels} channel(s) of {8 * label.itemsize} bits; the server wants one channel of 8 bits"]
    faults = []
    if size is not None and label.shape != (size[1], size[0]):
        faults.append(f"{name}: {label.shape[1]}x{label.shape[0]}, but its image is {size[0]}x{size[1]}")
    return faults + _id_faults(name, label)


def _id_faults(name: str, label: np.ndarray) -> List[str]:
    ids = np.flatnonzero(np.bincount(label.reshape(-1), minlength=256)).tolist()
    unknown = [str(value) for value in ids if value > CITYSCAPES_MAX_LABEL_ID]
    ignored = [str(value) for value in ids if value <= CITYSCAPES_MAX_LABEL_ID and value not in CITYSCAPES_LABEL_IDS]
    if unknown:
        hint = " (255 is a training id)" if str(IGNORED) in unknown else ""
        return [f"{name}: {', '.join(unknown)}: no labelIds of Cityscapes{hint}"]
    if ignored:
        return [f"{name}: {', '.join(ignored)}: not among the 19 evaluated labelIds; are these training ids?"]
    return []
