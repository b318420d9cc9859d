"""A sample data set: rendered street scenes in the files and folders of Cityscapes.

It replaces the real one in tests, in benchmarks and in a first run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Tuple

from compat import UserError

import cv2
import numpy as np

from data.renderer.canvas import LABELS, Canvas
from data.renderer.photo import develop
from data.renderer.scene import paint_scene

CITIES = {"train": "pigmentstadt", "val": "leinwandhafen"}
SMALLEST_SIDE = 64  # pixels

TRAIN_IDS = np.full(256, 255, np.uint8)
for _label in LABELS.values():
    TRAIN_IDS[_label.id] = _label.train_id


def render_sample(
    save_dir: str, train: int = 60, val: int = 20, size: Tuple[int, int] = (512, 256), seed: int = 0
) -> None:
    """Renders street scenes and writes them as a small Cityscapes.

    Writes `leftImg8bit/{train,val}/<city>/*_leftImg8bit.png` and, under `gtFine`, for each picture `_labelIds.png`,
    `_labelTrainIds.png` (uint8), `_instanceIds.png` (uint16) and `_polygons.json`. All 19 training classes occur,
    each in at least a third of the scenes. Scene i depends on (seed, split, i, size) alone: rendering again gives the
    same bytes, and rendering more adds to what was there.

    Args:
        save_dir: the data set's root; made if missing.
        train: number of training pictures, >= 1.
        val: number of validation pictures, >= 1.
        size: (width, height) in pixels, each >= 64; meant for 2:1.
        seed: >= 0.

    Raises:
        UserError: for counts, sizes or seeds out of range, and where save_dir cannot be written.
    """
    _check(train, val, size, seed)
    for number, (split, count) in enumerate((("train", train), ("val", val))):
        for index in range(count):
            rng = np.random.default_rng([seed, number, index])
            canvas = paint_scene(size, index, rng)
            try:
                _write(Path(save_dir), split, index, develop(canvas, rng), canvas)
            except OSError as error:
                raise UserError(
                    f"Cannot write the sample to {save_dir}: {error}. Choose another --save_dir."
                ) from error


def _check(train: int, val: int, size: Tuple[int, int], seed: int) -> None:
    if min(train, val) < 1:
        raise UserError(
            f"The sample needs at least one picture a split, but train={train} and val={val} were asked for."
        )
    if len(size) != 2 or min(size) < SMALLEST_SIDE:
        raise UserError(
            f"The sample's size is {tuple(size)}; give (width, height), both at least {SMALLEST_SIDE} pixels."
        )
    if seed < 0:
        raise UserError(f"The sample's seed is {seed}; give 0 or more.")


def _write(root: Path, split: str, index: int, photo: np.ndarray, canvas: Canvas) -> None:
    """Writes the five files of one scene; photo uint8 [H, W, 3], RGB."""
    city = CITIES[split]
    stem = f"{city}_{index:06d}_000019"
    pictures, annotations = root / "leftImg8bit" / split / city, root / "gtFine" / split / city
    for folder in (pictures, annotations):
        folder.mkdir(parents=True, exist_ok=True)
    _write_png(pictures / f"{stem}_leftImg8bit.png", photo[..., ::-1])
    _write_png(annotations / f"{stem}_gtFine_labelIds.png", canvas.label_ids)
    _write_png(annotations / f"{stem}_gtFine_labelTrainIds.png", TRAIN_IDS[canvas.label_ids])
    _write_png(annotations / f"{stem}_gtFine_instanceIds.png", canvas.instance_ids)
    width, height = canvas.camera.size
    annotation = {"imgHeight": height, "imgWidth": width, "objects": canvas.objects}
    (annotations / f"{stem}_gtFine_polygons.json").write_text(json.dumps(annotation), encoding="utf-8")


def _write_png(path: Path, pixels: np.ndarray) -> None:
    # cv2.imwrite returns False without a reason, and cannot open every path on Windows.
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
