"""Pictures of labels, predictions and details. Images are [H, W, 3] uint8 RGB, class maps [H, W] uint8."""

from pathlib import Path
from typing import List, NamedTuple, Sequence, Tuple, Union

from compat import UserError

import cv2
import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn
from PIL import Image

from data import SegmentationDataset
from data.classes import IGNORED
from engine.evaluation.inference import detail_logit, predict_classes
from engine.evaluation.lettering import draw_text, text_width
from engine.recipe import Protocol
from loss import detail_target

RIGHT_COLOR, WRONG_COLOR = (40, 40, 40), (230, 50, 50)
GAP = 4
TALLEST = 4  # height of a sheet's picture over its width; strips would make a sheet of many gigabytes


class Views(NamedTuple):
    """A validation image [H, W, 3] uint8 RGB with its label and predictions [H, W]."""

    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    detail_target: np.ndarray  # [H, W] float32 in [0, 1]
    detail_prediction: np.ndarray  # [H, W] float32 in [0, 1]; zeros for a network without detail head


def colorize(class_map: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The class map in the colours of a [256, 3] palette."""
    return palette[class_map]


def overlay(image: np.ndarray, colors: np.ndarray, opacity: float = 0.6) -> np.ndarray:
    """Colours laid over the image."""
    return cv2.addWeighted(colors, opacity, image, 1 - opacity, 0)


def error_map(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Red where the prediction is wrong, dark where it is right, black where the label is ignored."""
    picture = np.zeros((*label.shape, 3), np.uint8)
    picture[label == prediction] = RIGHT_COLOR
    picture[label != prediction] = WRONG_COLOR
    picture[label == IGNORED] = 0
    return picture


def heat(values: np.ndarray) -> np.ndarray:
    """[H, W] float in [0, 1] as a colour map."""
    levels = np.clip(values * 255, 0, 255).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)


def sheet(rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str], cell_width: int = 320) -> np.ndarray:
    """Rows of pictures under column titles; each is brought to the cell's width, or to TALLEST times that in height."""
    drawn = []
    for row in rows:
        cells = [_fit(picture, cell_width) for picture in row]
        height = max(cell.shape[0] for cell in cells)
        drawn.append(np.hstack([_pad(cell, height + GAP, cell_width + GAP) for cell in cells]))
    header = np.full((24, drawn[0].shape[1], 3), 255, np.uint8)
    for column, title in enumerate(titles):
        at = (column * (cell_width + GAP) + 2, 17)
        cv2.putText(header, title, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([header, *drawn])


def _fit(picture: np.ndarray, width: int) -> np.ndarray:
    scale = min(width / picture.shape[1], TALLEST * width / picture.shape[0])
    size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)


def _pad(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """White below and on the right."""
    below, right = height - picture.shape[0], width - picture.shape[1]
    return cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(255,) * 3)


def legend(names: Sequence[str], colors: Sequence[Sequence[int]], rows: int = 10) -> np.ndarray:
    """[H, W, 3] uint8 RGB: a box of each class's colour with its name, in columns of `rows`."""
    row_height, column_width = 24, 44 + max(map(text_width, names))
    columns = -(-len(names) // rows)
    picture = np.full((row_height * min(rows, len(names)), column_width * columns, 3), 255, np.uint8)
    for index, (name, color) in enumerate(zip(names, colors)):
        x, y = column_width * (index // rows), row_height * (index % rows)
        picture[y + 4 : y + 20, x + 6 : x + 30] = color
        draw_text(picture, name, (x + 38, y + 17))
    return picture


def write_class_map(path: Union[str, Path], class_map: np.ndarray, palette: np.ndarray) -> None:
    """Write a class map [H, W] uint8 as a palette PNG, which holds the ids and shows the colours [256, 3] uint8.

    Raises:
        UserError: when that fails.
    """
    path = Path(path)
    image = Image.fromarray(class_map, mode="P")
    image.putpalette(palette.astype(np.uint8).tobytes())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, format="PNG", compress_level=1)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error


def write_picture(path: Union[str, Path], picture: np.ndarray) -> None:
    """Write an RGB picture or a class map as PNG; raises UserError when that fails."""
    path = Path(path)
    bgr = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imencode(".png", bgr)[1].tofile(str(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error


def view_sample(model: nn.Layer, dataset: SegmentationDataset, index: int, protocol: Protocol) -> Views:
    """The views of a validation sample, predicted under a protocol; restores the network's mode."""
    was_training = model.training
    model.eval()
    image = dataset.read_image(index)
    label = dataset.read_label(index)
    tensor = paddle.to_tensor(dataset.transform.normalize(image)[None])  # val_dataset.mode may be train
    prediction = predict_classes(model, tensor, protocol)
    labels = paddle.to_tensor(label[None].astype("int64"))
    target = detail_target(labels, dataset.ignore_index).numpy()[0, 0]
    logit = detail_logit(model, tensor, label.shape)
    details = np.zeros(label.shape, np.float32) if logit is None else F.sigmoid(logit).numpy()
    model.train() if was_training else model.eval()
    return Views(image, label, prediction, target, details)


def view_sheet(views: Sequence[Views], palette: np.ndarray) -> np.ndarray:
    """A row for each image: image, label, prediction, errors, detail target, detail prediction."""
    rows: List[Tuple[np.ndarray, ...]] = []
    for view in views:
        rows.append(
            (
                view.image,
                colorize(view.label, palette),
                colorize(view.prediction, palette),
                error_map(view.label, view.prediction),
                heat(view.detail_target),
                heat(view.detail_prediction),
            )
        )
    return sheet(rows, ("image", "label", "prediction", "errors", "detail target", "detail prediction"))
