"""Draws predictions as class maps, overlays and side-by-side pictures, and writes them as images or videos."""

import time
from pathlib import Path
from typing import Dict, NamedTuple, Optional, Sequence

from compat import UserError, unknown_name

import cv2
import numpy as np

from data.classes import IGNORED, ClassSet
from engine.evaluation.pictures import colorize, legend, overlay, sheet, write_class_map, write_picture
from tool.prediction.sources import Frame, Video

CLASS_MAP = "pseudo_color_prediction"
KINDS = (CLASS_MAP, "added_prediction", "side_by_side")
"""Names of the folders, the first two as PaddleSeg's."""
CONFIDENCE = "confidence"


class Painter:
    """Draws predictions.

    Args:
        classes: names and colours.
        shown: names or numbers of the classes to show, by default all; other pixels show the image.
        opacity: of the colours in overlays, in [0, 1].

    Raises:
        UserError: for an unknown class.
    """

    def __init__(self, classes: ClassSet, shown: Sequence[str] = (), opacity: float = 0.6):
        ids = [class_id(name, classes) for name in shown] or range(len(classes.names))
        self.classes = classes
        self.opacity = opacity
        self.palette = classes.palette()
        self.ids = sorted(set(ids))
        # [256] uint8: classes that are not shown become IGNORED
        self.table = np.full(256, IGNORED, np.uint8)
        self.table[self.ids] = self.ids

    def draw(self, predicted: "Predicted", kinds: Sequence[str]) -> Dict[str, np.ndarray]:
        """{kind: [H, W, 3] uint8 RGB}; side-by-side pictures differ in size, and the confidence is [H, W] uint8."""
        frame, prediction, confidence = predicted
        shown = cv2.LUT(prediction, self.table)
        colors = colorize(shown, self.palette)
        laid_over = overlay(frame.image, colors, self.opacity)
        hidden = shown == IGNORED
        if hidden.any():
            laid_over[hidden] = frame.image[hidden]
        pictures = {CLASS_MAP: colors, "added_prediction": laid_over}
        if "side_by_side" in kinds:
            columns = {"image": frame.image, "prediction": colors, "overlay": laid_over}
            if frame.label is not None:
                columns = {"image": frame.image, "label": colorize(frame.label, self.palette), "prediction": colors}
            pictures["side_by_side"] = sheet([list(columns.values())], list(columns), cell_width=512)
        if confidence is not None:
            pictures[CONFIDENCE] = grey(confidence)
        return {kind: pictures[kind] for kind in kinds}

    def legend(self) -> np.ndarray:
        """[H, W, 3] uint8 RGB: colour and name of each class that is shown."""
        return legend([self.classes.names[i] for i in self.ids], [self.classes.colors[i] for i in self.ids])


def grey(confidence: np.ndarray) -> np.ndarray:
    """A confidence in [0, 1] as grey levels from 0 to 255, uint8."""
    return np.rint(255 * confidence).astype(np.uint8)


def class_id(name: str, classes: ClassSet) -> int:
    """The id of a class, given its name or number; raises UserError for an unknown one."""
    if name in classes.names:
        return classes.names.index(name)
    if name.isdecimal() and int(name) < len(classes.names):
        return int(name)
    raise unknown_name("--classes: the class", name, classes.names)


class Predicted(NamedTuple):
    """A frame, its class map [H, W] uint8 (255: unknown), and optionally its confidence [H, W] float32 in [0, 1]."""

    frame: Frame
    prediction: np.ndarray
    confidence: Optional[np.ndarray] = None


class PictureWriter:
    """Writes each prediction as PNG files: save_dir/KIND/NAME.png.

    Class maps (pseudo_color_prediction) are palette images: viewers show colours, and label readers get the ids.
    """

    def __init__(self, save_dir: Path, painter: Painter, kinds: Sequence[str] = KINDS):
        self.save_dir, self.painter, self.kinds = save_dir, painter, kinds

    def write(self, predicted: Predicted) -> None:
        """Write one prediction; raises UserError if a file cannot be written."""
        for kind, picture in self.painter.draw(predicted, self.kinds).items():
            file = self.save_dir / kind / f"{predicted.frame.name}.png"
            if kind == CLASS_MAP:
                write_class_map(file, cv2.LUT(predicted.prediction, self.painter.table), self.painter.palette)
            else:
                write_picture(file, picture)

    def close(self) -> None:
        """Do nothing, because every file is complete; VideoFileWriter needs it."""


class VideoFileWriter:
    """Writes the predictions of a video as videos: save_dir/KIND/NAME.mp4 (MPEG-4, without sound).

    The format requires even sizes, so an odd last row or column is dropped. If the network is slower than a camera,
    frames are repeated to match the elapsed time, so that the video plays at the original speed.
    """

    def __init__(self, save_dir: Path, video: Video, painter: Painter, kinds: Sequence[str] = KINDS):
        self.save_dir, self.video, self.painter, self.kinds = save_dir, video, painter, kinds
        self.writers: Dict[str, cv2.VideoWriter] = {}
        self.written, self.started = 0, time.perf_counter()

    def write(self, predicted: Predicted) -> None:
        """Write one prediction; raises UserError if a file cannot be written."""
        repeats = 1
        if self.video.is_camera:
            repeats = max(1, int((time.perf_counter() - self.started) * self.video.rate) - self.written)
        for kind, picture in self.painter.draw(predicted, self.kinds).items():
            if kind not in self.writers:
                self.writers[kind] = self._open(kind, picture.shape)
            order = cv2.COLOR_GRAY2BGR if picture.ndim == 2 else cv2.COLOR_RGB2BGR
            for _ in range(repeats):
                self.writers[kind].write(cv2.cvtColor(picture, order))
        self.written += repeats

    def close(self) -> None:
        """Complete the files, which cannot be played without their index.

        Raises:
            UserError: if one is not whole; OpenCV does not report a full disk.
        """
        for writer in self.writers.values():
            writer.release()
        for file in map(self._file, self.writers):
            if cv2.VideoCapture(str(file)).get(cv2.CAP_PROP_FRAME_COUNT) < self.written:
                raise UserError(f"{file}: the video cannot be written completely; is there room on the disk?")

    def _file(self, kind: str) -> Path:
        return self.save_dir / kind / f"{self.video.name}.mp4"

    def _open(self, kind: str, shape: Sequence[int]) -> cv2.VideoWriter:
        file = self._file(kind)
        file.parent.mkdir(parents=True, exist_ok=True)
        writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"mp4v"), self.video.rate, (shape[1], shape[0]))
        if not writer.isOpened():
            raise UserError(f"{file}: cannot be written as a video; --frames writes images instead")
        return writer
