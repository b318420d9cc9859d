"""The content of a report, independent of its layout. Scores are in [0, 1], NaN if a class is absent."""

import base64
from dataclasses import dataclass
from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

import cv2
import numpy as np

from data.classes import ClassSet

PICTURE_WIDTH = 640  # pixels; a picture in the page is at most this wide
PHOTO_QUALITY = 80
LOSSLESS = 101  # OpenCV writes lossless WebP for a quality above 100


class Signed(float):
    """A difference of scores, shown with its sign."""


Cell = Union[str, float]


class Figure(NamedTuple):
    """One number at the top of the page: its name, the number as text, and a line below it."""

    name: str
    value: str
    note: str = ""


class Table(NamedTuple):
    """A table of text and scores, which are shown in percent; `Signed` scores are differences."""

    title: str
    header: Tuple[str, ...]
    rows: Sequence[Tuple[Cell, ...]]
    note: str = ""


class Picture(NamedTuple):
    """A picture as a data URI, with its size in pixels, so that the page can reserve its place."""

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
    """One image: mean IoU over the classes of its label, IoU of each class [K], and pictures if it is shown."""

    name: str
    miou: float
    class_iou: np.ndarray
    pictures: Optional[Pictures] = None


class SecondModel(NamedTuple):
    """The network that the report's network is compared with: its name, and the IoU of each class [K]."""

    name: str
    class_iou: np.ndarray


@dataclass(frozen=True)
class Report:
    """Everything on the page.

    title: what was evaluated.
    facts: (name, value) of the recipe, weights, protocol and device.
    model: the network's name, as the legend shows it.
    figures: the numbers at the top of the page.
    classes: names and colours of the K classes.
    class_iou: [K], shown as bars.
    columns: titles and values [K] of further scores of each class.
    confusion: [K, K] pixel counts, rows are labels, columns predictions.
    tables: further tables, such as one row for each protocol.
    images: scores of every image, with pictures of some.
    second: the network it is compared with.
    note: how an absent class is counted.
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

    Photos are compressed with loss; maps keep their exact colours, to match the legend.
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
        indices of images, without repetition, in ascending order.
    """
    chosen = set()
    for column in range(scores.shape[1]):
        present = np.flatnonzero(np.isfinite(scores[:, column]))
        order = present[np.argsort(scores[present, column], kind="stable")]
        worst, best = (overall, overall) if column == 0 else (each_class, 1)
        chosen.update(order[:worst].tolist())
        chosen.update(order[-best:].tolist())
    return sorted(chosen)
