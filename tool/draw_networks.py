"""Draw every segmentation network as its rooms and strides; both, and the figures, are read from the networks.

Example: python -m tool.draw_networks docs/networks.png
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from compat import UserError

import cv2
import numpy as np
import paddle

from models import build_model
from tool.model_info import CITYSCAPES_CLASSES, CROP, deployed_cost
from tool.network_panels import PANELS, Arrow, Panel, Room

Point = Tuple[float, float]
Colour = Tuple[int, int, int]  # BGR

SIZE = (128, 256)  # (height, width) of the image whose features give strides and channels
WIDTH, MARGIN, LEFT = 1600, 20, 108  # pixels; LEFT is where the boxes of column 0 start
PITCH, SLOT = 190, 58  # pixels from column to column and from slot to slot
BOX_WIDTH, BOX_HEIGHT = 136, 42
TITLE, LEGEND = 84, 76  # pixels above the bands of a panel, and of the legend
SUPERSAMPLING = 3

INK, GREY, LINE = (58, 44, 36), (120, 108, 100), (132, 116, 104)
PAPER, BAND = (255, 255, 255), (247, 247, 247)

# Border, fill and what the legend says; a kind without words is not in the legend.
KINDS: Dict[str, Tuple[Colour, Colour, str]] = {
    "image": (GREY, (240, 240, 240), ""),
    "backbone": ((185, 115, 59), (252, 238, 222), "backbone"),
    "spatial": ((150, 130, 20), (240, 240, 214), "high resolution"),
    "context": ((87, 139, 46), (226, 244, 224), "context"),
    "fusion": ((10, 127, 199), (205, 234, 255), "fusion"),
    "deployed": ((82, 59, 47), (82, 59, 47), "main head"),
    "training": ((150, 90, 130), (252, 244, 250), "head, in training only"),
}


@dataclass(frozen=True)
class Box:
    """A room on the canvas, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def centre(self) -> Point:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def nearest_height(self, y: float) -> float:
        """The y nearest to `y` at which an arrow may touch the box's side."""
        return min(max(y, self.top + BOX_HEIGHT / 2), self.bottom - BOX_HEIGHT / 2)


class Canvas:
    """A white picture of WIDTH x `height` pixels, drawn larger and reduced, because OpenCV's letters are thin lines."""

    def __init__(self, height: int):
        self.pixels = np.full((height * SUPERSAMPLING, WIDTH * SUPERSAMPLING, 3), 255, "uint8")

    def rectangle(self, box: Box, fill: Colour, border: Optional[Colour] = None, radius: float = 7) -> None:
        """A filled rectangle with round corners."""
        corners = (
            (box.right, box.bottom, 0),
            (box.left, box.bottom, 90),
            (box.left, box.top, 180),
            (box.right, box.top, 270),
        )
        outline = []
        for x, y, start in corners:
            inward = (x - radius if x == box.right else x + radius, y - radius if y == box.bottom else y + radius)
            angles = np.radians(np.arange(start, start + 91, 10))
            outline += [(inward[0] + radius * np.cos(a), inward[1] + radius * np.sin(a)) for a in angles]
        points = self._scaled(outline)
        cv2.fillPoly(self.pixels, [points], fill, cv2.LINE_AA)
        if border:
            cv2.polylines(self.pixels, [points], True, border, round(1.6 * SUPERSAMPLING), cv2.LINE_AA)

    def text(
        self, words: str, at: Point, size: float, colour: Colour, anchor: str = "left", bold: bool = False
    ) -> float:
        """Words whose capitals are `size` pixels high, centred on the line y = at[1], and their width in pixels.

        `anchor` says which end of them stands at at[0]: left, middle or right.
        """
        font, thickness = cv2.FONT_HERSHEY_SIMPLEX, round(size * SUPERSAMPLING * (0.16 if bold else 0.12))
        scale = cv2.getFontScaleFromHeight(font, round(size * SUPERSAMPLING), thickness)
        width = cv2.getTextSize(words, font, scale, thickness)[0][0]
        shift = {"left": 0, "middle": width / 2, "right": width}[anchor]
        origin = (round(at[0] * SUPERSAMPLING - shift), round((at[1] + size / 2) * SUPERSAMPLING))
        cv2.putText(self.pixels, words, origin, font, scale, colour, thickness, cv2.LINE_AA)
        return width / SUPERSAMPLING

    def arrow(self, points: Sequence[Point]) -> None:
        """A line through `points` that ends in a head."""
        (x0, y0), (x1, y1) = points[-2:]
        length = max(abs(x1 - x0), abs(y1 - y0))
        along = ((x1 - x0) / length, (y1 - y0) / length)
        neck = (x1 - 9 * along[0], y1 - 9 * along[1])
        line = self._scaled([*points[:-1], neck])
        cv2.polylines(self.pixels, [line], False, LINE, round(1.8 * SUPERSAMPLING), cv2.LINE_AA)
        side = (-4.5 * along[1], 4.5 * along[0])
        head = [points[-1], (neck[0] + side[0], neck[1] + side[1]), (neck[0] - side[0], neck[1] - side[1])]
        cv2.fillPoly(self.pixels, [self._scaled(head)], LINE, cv2.LINE_AA)

    def reduced(self) -> np.ndarray:
        """The picture [height, WIDTH, 3] BGR uint8, in 32 levels a channel: half the size of the file, and unseen."""
        small = cv2.resize(self.pixels, None, fx=1 / SUPERSAMPLING, fy=1 / SUPERSAMPLING, interpolation=cv2.INTER_AREA)
        return small | 7

    @staticmethod
    def _scaled(points: Sequence[Point]) -> np.ndarray:
        return np.round(np.array(points) * SUPERSAMPLING).astype("int32")


def layer_outputs(name: str, layers: Sequence[str]) -> Dict[str, List[Tuple[int, int]]]:
    """(stride, channels) of every output of each of `layers` (dotted names; "" is the image) of the network `name`."""
    model = build_model(name, CITYSCAPES_CLASSES)
    named = dict(model.named_sublayers())
    found = {"": [(1, 3)]}

    def note(layer, output):
        outputs = output if isinstance(output, (list, tuple)) else [output]
        # What is pooled to one pixel stands with the coarsest features.
        found[layer] = [(SIZE[0] // x.shape[2] if x.shape[3] > 1 else 32, x.shape[1]) for x in outputs]

    for layer in layers:
        if layer:
            named[layer].register_forward_post_hook(lambda _, __, output, layer=layer: note(layer, output))
    with paddle.no_grad():
        model(paddle.zeros([1, 3, *SIZE]))
    return found


def draw_networks() -> np.ndarray:
    """The picture [height, WIDTH, 3], BGR uint8."""
    heights = [TITLE + SLOT * sum(panel.slots.values()) + MARGIN for panel in PANELS]
    canvas = Canvas(sum(heights) + LEGEND)
    top = 0
    for panel, height in zip(PANELS, heights):
        _draw_panel(canvas, panel, top)
        top += height
    _draw_legend(canvas, top)
    return canvas.reduced()


def _draw_panel(canvas: Canvas, panel: Panel, top: float) -> None:
    canvas.text(panel.title, (MARGIN, top + 30), 19, INK, bold=True)
    figures = "     ".join(_figures(name) for name in panel.names)
    canvas.text(figures, (WIDTH - MARGIN, top + 28), 12, INK, "right")
    canvas.text(panel.note, (MARGIN, top + 62), 11, GREY)
    bands, y = {}, top + TITLE
    for index, (stride, slots) in enumerate(panel.slots.items()):
        bands[stride] = y
        band = Box(MARGIN, y, WIDTH - MARGIN, y + slots * SLOT)
        canvas.rectangle(band, PAPER if index % 2 else BAND, radius=1)
        canvas.text(f"stride {stride}", (MARGIN + 8, band.centre[1]), 10, GREY)
        y = band.bottom
    outputs = layer_outputs(panel.names[0], [room.layer for room in panel.rooms])
    boxes = {room.layer: _box(room, outputs[room.layer], bands) for room in panel.rooms}
    for arrow in panel.arrows:
        canvas.arrow(_path(arrow, boxes[arrow.source], boxes[arrow.target]))
    for room in panel.rooms:
        _draw_room(canvas, room, boxes[room.layer], outputs[room.layer])


def _figures(name: str) -> str:
    parameters, accumulates = deployed_cost(name, CITYSCAPES_CLASSES, CROP)
    return f"{name}: {parameters / 1e6:.2f} M parameters, {accumulates / 1e9:.2f} GMAC"


def _box(room: Room, outputs: Sequence[Tuple[int, int]], bands: Dict[int, float]) -> Box:
    """A room with several outputs spans the bands of all of them."""
    strides = [stride for stride, _ in outputs]
    inset = (SLOT - BOX_HEIGHT) / 2
    left = LEFT + room.column * PITCH
    top = bands[min(strides)] + room.slot * SLOT + inset
    bottom = bands[max(strides)] + SLOT - inset if len(outputs) > 1 else top + BOX_HEIGHT
    return Box(left, top, left + BOX_WIDTH, bottom)


def _draw_room(canvas: Canvas, room: Room, box: Box, outputs: Sequence[Tuple[int, int]]) -> None:
    border, fill, _ = KINDS[room.kind]
    canvas.rectangle(box, fill, border)
    light = room.kind == "deployed"
    x, y = box.centre
    channels = " / ".join(str(count) for _, count in sorted(outputs))
    unit = "classes" if channels == str(CITYSCAPES_CLASSES) else "channel" if channels == "1" else "channels"
    canvas.text(room.label, (x, y - 9), 11.5, PAPER if light else INK, "middle", bold=True)
    canvas.text(f"{channels} {unit}", (x, y + 10), 9, PAPER if light else GREY, "middle")


def _path(arrow: Arrow, source: Box, target: Box) -> List[Point]:
    """Corners of an arrow between two boxes, horizontal and vertical in turn."""
    if arrow.leave in ("top", "bottom"):
        x, y = source.centre[0], source.top if arrow.leave == "top" else source.bottom
        if arrow.enter == "left":
            return [(x, y), (x, target.centre[1]), (target.left, target.centre[1])]
        return [(x, y), (x, target.bottom if arrow.enter == "bottom" else target.top)]
    leaving = source.nearest_height(target.centre[1])
    start = (source.right, leaving)
    if arrow.enter != "left":
        x = target.centre[0]
        return [start, (x, leaving), (x, target.bottom if arrow.enter == "bottom" else target.top)]
    entering = target.nearest_height(leaving)
    lane = target.left - (PITCH - BOX_WIDTH) / 2
    if arrow.lane is not None:
        lane = LEFT + BOX_WIDTH / 2 + arrow.lane * PITCH
    turns = [] if leaving == entering else [(lane, leaving), (lane, entering)]
    return [start, *turns, (target.left, entering)]


def _draw_legend(canvas: Canvas, top: float) -> None:
    x = MARGIN
    for border, fill, words in KINDS.values():
        if words:
            canvas.rectangle(Box(x, top + 8, x + 26, top + 26), fill, border, radius=4)
            x += 36 + canvas.text(words, (x + 36, top + 17), 11, INK) + 32
    words = (
        "Arrows that meet are added; FFM concatenates. Every head but detail answers at the size of the image. "
        f"Figures: what evaluation computes, at {CROP[0]}x{CROP[1]}."
    )
    canvas.text(words, (MARGIN, top + 52), 10.5, GREY)


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Write the picture; raises UserError where it cannot be written."""
    parser = argparse.ArgumentParser(
        prog="python -m tool.draw_networks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", type=Path, help="the PNG file to write")
    path = parser.parse_args(arguments).path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        encoded = cv2.imencode(".png", draw_networks(), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error


if __name__ == "__main__":
    main()
