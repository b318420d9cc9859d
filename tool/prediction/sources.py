"""The inputs of tool.predict: images, videos and cameras. Images are [H, W, 3] uint8 RGB."""

import contextlib
import os
from collections import Counter
from pathlib import Path
from typing import Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from compat import UserError, logger

import cv2
import numpy as np

from data.files import read_image

IMAGE_TYPES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
VIDEO_TYPES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")


class Picture(NamedTuple):
    """An image to predict: its file, the name of its results (a path without suffix).

    label: returns its label [H, W] uint8 training ids, or None where it has none.
    """

    file: Path
    name: str
    label: Callable[[], Optional[np.ndarray]] = lambda: None


class VideoSource(NamedTuple):
    """A video file or the number of a camera, and the name of its results (a path without suffix)."""

    source: Union[Path, int]
    name: str


class Frame(NamedTuple):
    """An image [H, W, 3] on its way through the network, the name of its results, its label [H, W] or None."""

    image: np.ndarray
    name: str
    label: Optional[np.ndarray] = None


def find_sources(path: str) -> Tuple[List[Picture], List[VideoSource]]:
    """The images and videos that `path` names: a file, a folder with its subfolders, or a .txt list of images.

    Raises:
        UserError: if there are neither, or a listed file is missing.
    """
    source = Path(path)
    files, videos, root = [source], [], source.parent
    if source.is_dir():
        found = sorted(file for file in source.rglob("*") if file.is_file())
        files = [file for file in found if file.suffix.lower() in IMAGE_TYPES]
        videos = [file for file in found if file.suffix.lower() in VIDEO_TYPES]
        root = source
    elif source.suffix.lower() == ".txt" and source.is_file():
        return _listed(source), []
    elif source.suffix.lower() in VIDEO_TYPES:
        files, videos = [], [source]
    for file in [*files, *videos]:
        if not file.is_file():
            raise UserError(f"{file}: no such image; --image_path takes an image, a video, a folder or a .txt list")
    if not files and not videos:
        raise UserError(f"{source}: holds no image ({', '.join(IMAGE_TYPES)}) and no video ({', '.join(VIDEO_TYPES)})")
    pictures = [Picture(file, name) for file, name in zip(files, _unique_names(files, root))]
    return pictures, [VideoSource(file, name) for file, name in zip(videos, _unique_names(videos, root))]


def result_names(files: Sequence[Path]) -> List[str]:
    """A name for the results of each file: its stem, or its path below the common folder where stems repeat."""
    stems = [file.stem for file in files]
    if len(set(stems)) == len(stems):
        return stems
    absolute = [file.absolute() for file in files]
    return _unique_names(absolute, Path(os.path.commonpath([file.parent for file in absolute])))


def _unique_names(files: Sequence[Path], root: Path) -> List[str]:
    """Each path below `root` without its suffix, which becomes part of the name for files that differ in it alone."""
    names = [file.relative_to(root).with_suffix("").as_posix() for file in files]
    counts = Counter(names)
    taken = {name for name, count in counts.items() if count == 1}
    unique = []
    for file, name in zip(files, names):
        if counts[name] > 1:
            name += file.suffix.replace(".", "_")
            while name in taken:  # as of a.png, a.jpg and a_png.bmp
                name += "_"
            taken.add(name)
        unique.append(name)
    return unique


def _listed(source: Path) -> List[Picture]:
    try:
        lines = [line.strip() for line in source.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{source}: the list cannot be read ({error})") from error
    # A path is relative to the current folder if the file exists there, otherwise to the list's folder.
    files = [Path(line) if Path(line).is_file() else source.parent / line for line in lines]
    for file in files:
        if not file.is_file():
            raise UserError(f"{file}: no such image, named in {source}")
    if not files:
        raise UserError(f"{source}: holds no image; write the path of one in each line")
    return [Picture(file, f"{number:04d}_{file.stem}") for number, file in enumerate(files)]


def read_picture(picture: Picture) -> Frame:
    """Decode an image and its label; raises UserError if one is broken."""
    return Frame(read_image(picture.file), picture.name, picture.label())


class Video:
    """A video file or a camera; `read` returns its frames in order.

    Raises:
        UserError: if it cannot be opened.
    """

    def __init__(self, video: VideoSource):
        source, self.name = video
        self.is_camera = isinstance(source, int)
        self.source = source
        self.capture = cv2.VideoCapture(source if self.is_camera else str(source))
        if not self.capture.isOpened():
            remedy = "is it plugged in, and may you read it?" if self.is_camera else "not a video that OpenCV can read"
            raise UserError(f"{'camera ' if self.is_camera else ''}{source}: {remedy}")
        # Cameras and some containers state no frame rate; broken files state an absurd one.
        rate = self.capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 1 <= rate <= 240 else 25.0
        stated = int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.stated_frames = None if self.is_camera or stated <= 0 else stated
        self.has_ended = False

    def read(self, index: int) -> Optional[Frame]:
        """Frame number `index`, which must be the next one; None at the end, and for every index after it."""
        if self.has_ended:  # frames are read ahead
            return None
        succeeded, image = self.capture.read()
        if not succeeded:
            self.has_ended = True
            if index == 0:
                raise UserError(f"{self.source}: holds no frame that can be decoded")
            if self.stated_frames and index < 0.9 * self.stated_frames:
                logger.warning("%s: ends after %d of %d frames", self.source, index, self.stated_frames)
            return None
        return Frame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), f"{self.name}/{index:06d}")


@contextlib.contextmanager
def open_video(source: VideoSource) -> Iterator[Video]:
    """A Video that is closed afterwards."""
    video = Video(source)
    try:
        yield video
    finally:
        video.capture.release()
