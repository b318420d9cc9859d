"""What a report says, free of how it looks. Scores are in [0, 1], NaN where a class is absent."""

import base64
from dataclasses import dataclass
from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

import cv2
import numpy as np

from data.classes import ClassSet

PICTURE_WIDTH = 640  # pixels; a picture in the page is at most this wide
PHOTO_QUALITY = 80
LOSSLESS = 101  # what OpenCV calls a WebP quality above 100


class Signed(float):
    """A difference of scores, shown with its sign."""


Cell = Union[str, float]


class Figure(NamedTuple):
    """One number to see first: its name, the number as text, and a line below it."""

    name: str
    value: str
    note: str = ""


class Table(NamedTuple):
    """Rows of text and of scores, which are shown in percent; `Signed` scores are differences."""

    title: str
    header: Tuple[str, ...]
    rows: Sequence[Tuple[Cell, ...]]
    note: str = ""


class Picture(NamedTuple):
    """A picture as a data URI, with its size in pixels: the page keeps its place before it is decoded."""

    uri: str
    width: int
    height: int


class Pictures(NamedTuple):
    """Views of one image."""

    image: Picture
    label: Picture
    prediction: Picture
    errors: Picture


class ImageView(NamedTuple):
    """One image: its mean IoU over the classes of its label, each class' IoU [K], and pictures if it is shown."""

    name: str
    miou: float
    class_iou: np.ndarray
    pictures: Optional[Pictures] = None


class SecondModel(NamedTuple):
    """The network that the report's is compared with: its name and each class' IoU [K]."""

    name: str
    class_iou: np.ndarray


@dataclass(frozen=True)
class Report:
    """Everything on the page.

    title: what was evaluated.
    facts: names and values that say on what and how.
    model: the network's name, as the legend shows it.
    figures: the few numbers to see first.
    classes: names and colours of the K classes.
    class_iou: [K], what the bars show.
    columns: titles and values [K] of further scores of each class.
    confusion: [K, K] pixel counts, rows are labels, columns predictions.
    tables: further tables, such as one row for each protocol.
    images: of every image, with pictures for those worth looking at.
    note: what counts for a class that is absent.
    """

    title: str
    facts: Sequence[Tuple[str, str]]
    model: str
    figures: Sequence[Figure]
    classes: ClassSet
    class_iou: np.ndarray
    columns: Sequence[Tuple[str, np.ndarray]]
    confusion: np.ndarray
    tables: Sequence[Table]
    images: Sequence[ImageView]
    second: Optional[SecondModel] = None
    note: str = ""


def encode_picture(picture: np.ndarray, photo: bool) -> Picture:
    """An RGB picture [H, W, 3] uint8 as WebP, at most PICTURE_WIDTH wide.

    A photo is compressed with loss; maps keep their colours exactly, so that the legend holds.
    """
    height, width = picture.shape[:2]
    if width > PICTURE_WIDTH:
        size = (PICTURE_WIDTH, max(1, round(height * PICTURE_WIDTH / width)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if photo else cv2.INTER_NEAREST)
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    quality = PHOTO_QUALITY if photo else LOSSLESS
    encoded = cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, quality])[1]
    uri = "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
    return Picture(uri, picture.shape[1], picture.shape[0])


def choose_images(scores: np.ndarray, overall: int = 8, each_class: int = 2) -> List[int]:
    """The images to picture: the worst and the best by mean IoU, and the worst and the best of each class.

    Args:
        scores: [n, 1 + K]: mean IoU and each class' IoU of n images, NaN where absent.
        overall: how many of the worst by mean IoU, and how many of the best.
        each_class: how many of the worst of each class; of the best, one.

    Returns:
        numbers of images, without repetition, in rising order.
    """
    chosen = set()
    for column in range(scores.shape[1]):
        present = np.flatnonzero(np.isfinite(scores[:, column]))
        order = present[np.argsort(scores[present, column], kind="stable")]
        worst, best = (overall, overall) if column == 0 else (each_class, 1)
        chosen.update(order[:worst].tolist())
        chosen.update(order[-best:].tolist())
    return sorted(chosen)
