"""What can be predicted: images, videos, a camera. Images are [H, W, 3] uint8 RGB."""

import contextlib
from collections import Counter
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Tuple, Union

from compat import UserError, logger

import cv2
import numpy as np

from data.files import read_image

IMAGE_TYPES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
VIDEO_TYPES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")


class Picture(NamedTuple):
    """An image to predict: its file, the name of its results (a path without suffix), its label [H, W] or None."""

    file: Path
    name: str
    label: Optional[np.ndarray] = None


class Frame(NamedTuple):
    """What goes through the network: an image, its name, its label or None."""

    image: np.ndarray
    name: str
    label: Optional[np.ndarray] = None


def find_sources(path: str) -> Tuple[List[Picture], List[Path]]:
    """The images and the videos of a file, of a folder with its subfolders, or of a .txt list of images.

    Raises:
        UserError: where there is neither.
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
    names = [file.relative_to(root).with_suffix("").as_posix() for file in files]
    twice = Counter(names)
    return [
        # a.png and a.jpg side by side must not write to one place
        Picture(file, name if twice[name] == 1 else name + file.suffix.replace(".", "_"))
        for file, name in zip(files, names)
    ], videos


def _listed(source: Path) -> List[Picture]:
    lines = [line.strip() for line in source.read_text(encoding="utf-8").splitlines() if line.strip()]
    # Lists lie beside their images; a path that exists as it stands counts as it stands.
    files = [Path(line) if Path(line).is_file() else source.parent / line for line in lines]
    for file in files:
        if not file.is_file():
            raise UserError(f"{file}: no such image, named in {source}")
    if not files:
        raise UserError(f"{source}: holds no image; write the path of one in each line")
    return [Picture(file, f"{number:04d}_{file.stem}") for number, file in enumerate(files)]


def read_picture(picture: Picture) -> Frame:
    """Decode an image; raises UserError for one that is broken."""
    return Frame(read_image(picture.file), picture.name, picture.label)


class Video:
    """A video file, or a camera by its number; `read` returns its frames in order.

    Raises:
        UserError: where nothing can be read.
    """

    def __init__(self, source: Union[Path, int]):
        self.is_camera = isinstance(source, int)
        self.name = f"camera_{source}" if self.is_camera else source.stem
        self.source = source
        self.capture = cv2.VideoCapture(source if self.is_camera else str(source))
        if not self.capture.isOpened():
            remedy = "is it plugged in, and may you read it?" if self.is_camera else "not a video that OpenCV can read"
            raise UserError(f"{'camera ' if self.is_camera else ''}{source}: {remedy}")
        # Cameras and some containers state no rate; broken ones state nonsense.
        rate = self.capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 1 <= rate <= 240 else 25.0
        stated = int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.stated_frames = None if self.is_camera or stated <= 0 else stated

    def read(self, index: int) -> Optional[Frame]:
        """Frame number `index`, which must be the next one; None at the end."""
        there, image = self.capture.read()
        if not there:
            if index == 0:
                raise UserError(f"{self.source}: holds no frame that can be decoded")
            if self.stated_frames and index < 0.9 * self.stated_frames:
                logger.warning("%s: breaks off after %d of %d frames", self.source, index, self.stated_frames)
            return None
        return Frame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), f"{self.name}/{index:06d}")


@contextlib.contextmanager
def open_video(source: Union[Path, int]) -> Iterator[Video]:
    """A Video that is closed afterwards."""
    video = Video(source)
    try:
        yield video
    finally:
        video.capture.release()
