"""Prediction in windows: its flags, and images that are too large to be decoded as a whole."""

import argparse
import contextlib
from pathlib import Path
from typing import Callable, List, Optional, Sequence, Tuple

from compat import UserError, logger

import cv2
import numpy as np
from tqdm import tqdm

from data.rows import FileRows, has_more_pixels
from engine.command import SIDE, image_size, whole_number
from engine.evaluation.pictures import write_picture
from engine.runtime import Segmenter, Windows, WindowSegmenter
from tool.prediction.png_rows import PngRows
from tool.prediction.results import CLASS_MAP, CONFIDENCE, Painter, Predicted, grey
from tool.prediction.sources import Frame, Picture

LARGE_IMAGE = 2**25
"""Images of more pixels are read and written in bands; of smaller ones, up to seven are in memory (see `overlap`)."""
MAX_LOGITS = 2**32
"""Bytes of logits above which a warning is given for an image that is predicted as a whole."""
REDUCED_SIDE = 2048
"""Longest side, in pixels, of the overlays and side-by-side pictures of a large image."""


def add_window_flags(arguments: argparse.ArgumentParser) -> None:
    """--window and --overlap, and PaddleSeg's --is_slide, --crop_size and --stride."""
    add = arguments.add_argument
    add("--window", type=image_size, metavar="WxH", help="windows that overlap: memory does not depend on the height")
    add(
        "--overlap",
        type=whole_number(0, 2**15),
        metavar="N",
        help="pixels that windows share; by default an eighth of their shorter side",
    )
    add("--is_slide", action="store_true", help="PaddleSeg's flag for windows of --crop_size, --stride apart")
    add("--crop_size", nargs=2, type=SIDE, metavar=("W", "H"), help="of --is_slide")
    add("--stride", nargs=2, type=SIDE, metavar=("W", "H"), help="of --is_slide")


def requested_windows(arguments: argparse.Namespace) -> Optional[Windows]:
    """The windows that the flags choose, or None without such flags.

    Raises:
        UserError: for flags that contradict each other, or windows that would leave pixels out.
    """
    slides = arguments.is_slide or arguments.crop_size or arguments.stride
    if arguments.window is None:
        if arguments.overlap is not None:
            raise UserError(f"--overlap {arguments.overlap}: has no effect without --window WxH; add it")
        if not slides:
            return None
        if not (arguments.is_slide and arguments.crop_size and arguments.stride):
            raise UserError("--is_slide, --crop_size W H and --stride W H go together; or use --window WxH")
        windows = Windows(tuple(arguments.crop_size[::-1]), tuple(arguments.stride[::-1]))
        if any(step > side for step, side in zip(windows.stride, windows.size)):
            raise UserError(f"--stride {_text(windows.stride)}: at most --crop_size, or pixels would be left out")
        return windows
    if slides:
        raise UserError("--window and --overlap, or --is_slide, --crop_size and --stride: not both")
    size = arguments.window[::-1]
    overlap = min(size) // 8 if arguments.overlap is None else arguments.overlap
    if overlap >= min(size):
        raise UserError(f"--overlap {overlap}: must be less than both sides of --window {_text(size, 'x')}")
    return Windows(size, (size[0] - overlap, size[1] - overlap))


def warn_of_whole_images(frame: Frame, classify: Callable) -> None:
    """Warn if an image is predicted as a whole and its logits take gigabytes."""
    if not isinstance(classify, Segmenter):
        return
    height, width = classify.seen_size(frame.image.shape[:2])
    logits = 4 * classify.network.num_classes * height * width
    if logits > MAX_LOGITS:
        logger.warning(
            "%s: is predicted as a whole at %dx%d pixels, and its logits alone take %.0f GB; --window 1024x512 bounds "
            "the memory",
            *(frame.name, width, height, logits / 1e9),
        )


def split_by_size(pictures: Sequence[Picture], windows: bool) -> Tuple[List[Picture], List[Picture]]:
    """(pictures to decode as a whole, those of more than LARGE_IMAGE pixels); without windows all are in the first."""
    if not windows:
        return list(pictures), []
    small: List[Picture] = []
    large: List[Picture] = []
    for picture in pictures:
        (large if has_more_pixels(picture.file, LARGE_IMAGE) else small).append(picture)
    return small, large


def predict_large(
    picture: Picture, segmenter: WindowSegmenter, save_dir: Path, painter: Painter, kinds: Sequence[str]
) -> None:
    """Predict an image in bands of rows: class map and confidence at full size, other kinds of results reduced.

    Args:
        picture: the image.
        segmenter: predicts the bands.
        save_dir: folder of the results, save_dir/KIND/NAME.png.
        painter: draws the results.
        kinds: of results, as `PictureWriter` takes them.

    Raises:
        UserError: if the image cannot be read or a result cannot be written; unfinished files are removed.
    """
    source = FileRows(picture.file)
    factor = -(-max(source.size) // REDUCED_SIDE)
    files = {kind: save_dir / kind / f"{picture.name}.png" for kind in kinds}
    wants_confidence = CONFIDENCE in kinds
    small_classes = []
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context
        class_map = opened(PngRows(files[CLASS_MAP], source.size, painter.palette)) if CLASS_MAP in kinds else None
        confidence = opened(PngRows(files[CONFIDENCE], source.size)) if wants_confidence else None
        bar = opened(tqdm(total=source.size[0], unit="row", desc=picture.name))
        for band in segmenter.bands(source, wants_confidence or segmenter.unknown_below > 0):
            classes = segmenter.known(band)
            if class_map:
                class_map.write(cv2.LUT(classes, painter.table))
            if confidence:
                confidence.write(grey(band.confidence))
            first = -band.top % factor
            small_classes.append(classes[first::factor, ::factor].copy())  # a view would keep the whole band alive
            bar.update(len(classes))
    reduced_kinds = [kind for kind in kinds if kind not in (CLASS_MAP, CONFIDENCE)]
    if reduced_kinds:
        reduced = np.concatenate(small_classes)
        label = picture.label()
        label = None if label is None else label[::factor, ::factor]
        frame = Frame(source.reduced(reduced.shape), picture.name, label)
        for kind, drawn in painter.draw(Predicted(frame, reduced), reduced_kinds).items():
            write_picture(files[kind], drawn)


def _text(size: Sequence[int], between: str = " ") -> str:
    return between.join(map(str, size[::-1]))
