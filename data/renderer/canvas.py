"""The pinhole camera of the sample pictures, and a canvas that paints and annotates at the same time.

World coordinates are metres: x to the right, y up from the road, z ahead of the camera. Colours are RGB, 0..255.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np

Colour = Tuple[float, float, float]

# The picture is painted at twice its size and averaged down, which antialiases every edge; a pixel's label is
# what covers at least half of it.
OVERSAMPLING = 2
SUBPIXEL_BITS = 4
HAZE_DISTANCE = 170.0  # metres after which a colour has faded to 1/e
MIN_CORNERS = 4  # a smaller contour is a speck


class Label(NamedTuple):
    """One row of cityscapesscripts' label table."""

    id: int
    train_id: int
    has_instances: bool = False


LABELS: Dict[str, Label] = {
    "unlabeled": Label(0, 255),
    "ego vehicle": Label(1, 255),
    "static": Label(4, 255),
    "road": Label(7, 0),
    "sidewalk": Label(8, 1),
    "building": Label(11, 2),
    "wall": Label(12, 3),
    "fence": Label(13, 4),
    "pole": Label(17, 5),
    "traffic light": Label(19, 6),
    "traffic sign": Label(20, 7),
    "vegetation": Label(21, 8),
    "terrain": Label(22, 9),
    "sky": Label(23, 10),
    "person": Label(24, 11, True),
    "rider": Label(25, 12, True),
    "car": Label(26, 13, True),
    "truck": Label(27, 14, True),
    "bus": Label(28, 15, True),
    "train": Label(31, 16, True),
    "motorcycle": Label(32, 17, True),
    "bicycle": Label(33, 18, True),
}


@dataclass(frozen=True)
class Camera:
    """A pinhole camera over the road, looking along z.

    Args:
        size: (width, height) of the picture in pixels.
        focal: focal length in pixels.
        centre: (column, row) of the vanishing point in pixels.
        height: metres above the road.
        roll: radians, clockwise.
    """

    size: Tuple[int, int]
    focal: float
    centre: Tuple[float, float]
    height: float
    roll: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points [..., 3] in metres (z > 0) to picture positions [..., 2], (column, row) in pixels."""
        scale = self.focal / points[..., 2]
        right, down = points[..., 0] * scale, (self.height - points[..., 1]) * scale
        cos, sin = math.cos(self.roll), math.sin(self.roll)
        positions = np.empty(points.shape[:-1] + (2,))
        positions[..., 0] = self.centre[0] + cos * right - sin * down
        positions[..., 1] = self.centre[1] + sin * right + cos * down
        return positions


def shade(colour: Colour, factor: float) -> Colour:
    """The colour under `factor` times the light."""
    return tuple(min(255.0, channel * factor) for channel in colour)


def vary(rng: np.random.Generator, colour: Colour, amount: float = 12.0) -> Colour:
    """The colour with a random brightness and, a quarter as far, a random hue; `amount` in grey levels."""
    shift = rng.uniform(-amount, amount) + rng.uniform(-amount, amount, 3) / 4
    return tuple(np.clip(np.add(colour, shift), 0, 255))


class Canvas:
    """A picture and its annotation, painted from far to near.

    Whatever is filled inside `with canvas.annotated(label)` becomes one annotated object; fills outside (shadows,
    lane marks of an annotated road) change the picture alone.

    Attributes:
        image: uint8 [OVERSAMPLING * H, OVERSAMPLING * W, 3], RGB.
        label_ids: uint8 [H, W], Cityscapes ids.
        instance_ids: uint16 [H, W], id * 1000 + instance for labels with instances, else the id.
        objects: the annotation's objects in painting order, as Cityscapes' JSON has them.
    """

    def __init__(self, camera: Camera, haze: Colour) -> None:
        width, height = camera.size
        self.camera = camera
        self.haze = haze
        self.image = np.zeros((height * OVERSAMPLING, width * OVERSAMPLING, 3), np.uint8)
        self.label_ids = np.zeros((height, width), np.uint8)
        self.instance_ids = np.zeros((height, width), np.uint16)
        self.objects: List[dict] = []
        self._mask: Optional[np.ndarray] = None
        self._instances: Dict[str, int] = {}

    @contextmanager
    def annotated(self, label: str) -> Iterator[None]:
        """Annotates all that is filled in the block as one object of this label."""
        self._mask = np.zeros(self.image.shape[:2], np.uint8)
        yield
        mask, self._mask = self._mask, None
        self._annotate(label, cv2.resize(mask, self.camera.size, interpolation=cv2.INTER_AREA))

    def fill_pixels(self, polygon: np.ndarray, colour: Colour, opacity: float = 1.0) -> None:
        """Fills a polygon [N, 2] of (column, row) positions in pixels; (0, 0) is the picture's top left corner."""
        self._fill_corners(self._corners(polygon), colour, opacity)

    def fill(self, points: np.ndarray, colour: Colour, opacity: float = 1.0) -> None:
        """Fills a polygon of world points [N, 3] in metres, faded by the haze at its distance."""
        self.fill_all(points[None], [colour], opacity)

    def fill_all(self, polygons: np.ndarray, colours: Sequence[Colour], opacity: float = 1.0) -> None:
        """Fills polygons of world points [M, N, 3], in order, with a colour each; much faster than one by one."""
        clear = np.exp(-polygons[:, :, 2].mean(1, keepdims=True) / HAZE_DISTANCE)
        faded = clear * np.asarray(colours) + (1 - clear) * np.asarray(self.haze)
        for corners, colour in zip(self._corners(self.camera.project(polygons)), faded.tolist()):
            self._fill_corners(corners, colour, opacity)

    @staticmethod
    def _corners(positions: np.ndarray) -> np.ndarray:
        # OpenCV puts the centre of a pixel at integers, half a pixel away from the corner convention.
        return np.rint((positions * OVERSAMPLING - 0.5) * (1 << SUBPIXEL_BITS)).astype(np.int32)

    def _fill_corners(self, corners: np.ndarray, colour: Colour, opacity: float) -> None:
        """Fills a polygon [N, 2] given in OpenCV's fixed-point coordinates of the oversampled image."""
        if self._mask is not None:
            cv2.fillPoly(self._mask, [corners], 255, shift=SUBPIXEL_BITS)
        if opacity >= 1.0:
            cv2.fillPoly(self.image, [corners], colour, shift=SUBPIXEL_BITS)
            return
        low = np.maximum((corners.min(0) >> SUBPIXEL_BITS) - 1, 0)
        high = np.maximum((corners.max(0) >> SUBPIXEL_BITS) + 2, low)
        below = self.image[low[1] : high[1], low[0] : high[0]]
        if below.size:
            layer = below.copy()
            cv2.fillPoly(layer, [corners - (low << SUBPIXEL_BITS).astype(np.int32)], colour, shift=SUBPIXEL_BITS)
            below[:] = cv2.addWeighted(layer, opacity, below, 1 - opacity, 0)

    def fill_ground(self, x: Tuple[float, float], z: Tuple[float, float], colour: Colour, opacity: float = 1.0) -> None:
        """Fills a rectangle lying on the road's plane, between two x and two z in metres."""
        # Haze belongs to a distance, so what reaches far is filled in bands; translucent bands would show their seams.
        bands = 1 if opacity < 1.0 else math.ceil(2 * math.log2(z[1] / z[0]))
        edges = np.geomspace(*z, bands + 1)
        strips = [
            [(x[0], 0, near), (x[1], 0, near), (x[1], 0, far), (x[0], 0, far)] for near, far in zip(edges, edges[1:])
        ]
        self.fill_all(np.array(strips, float), [colour] * bands, opacity)

    def _annotate(self, label: str, coverage: np.ndarray) -> None:
        # A polygon through the outermost pixels leaves nothing to a rasteriser's rounding: OpenCV here and Pillow in
        # cityscapesscripts both fill it to exactly these pixels.
        opened = cv2.morphologyEx((coverage >= 128).astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
        contours, _ = cv2.findContours(opened, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        contours = [contour for contour in contours if len(contour) >= MIN_CORNERS]
        row = LABELS[label]
        if row.has_instances and contours:
            contours = [max(contours, key=cv2.contourArea)]
        for contour in contours:
            value = row.id
            if row.has_instances:
                value = row.id * 1000 + self._instances.get(label, 0)
                self._instances[label] = self._instances.get(label, 0) + 1
            cv2.fillPoly(self.label_ids, [contour], row.id)
            cv2.fillPoly(self.instance_ids, [contour], value)
            self.objects.append({"label": label, "polygon": contour[:, 0].tolist()})


class Placement:
    """Where an object stands: its own axes (across, up, along, in metres) turned and moved into the world.

    Args:
        x, z: metres, where the object's origin stands on the road's plane.
        yaw: radians; 0 turns the object's `along` away from the camera, pi/2 to the right.
    """

    def __init__(self, x: float, z: float, yaw: float = 0.0) -> None:
        self.x, self.z = x, z
        self._cos, self._sin = math.cos(yaw), math.sin(yaw)

    def world(self, points: np.ndarray) -> np.ndarray:
        """Own points [..., 3] (across, up, along) to world points [..., 3]."""
        moved = np.array(points, float)
        across, along = moved[..., 0].copy(), moved[..., 2].copy()
        moved[..., 0] = self.x + self._cos * across + self._sin * along
        moved[..., 2] = self.z - self._sin * across + self._cos * along
        return moved

    def upright(self, outline: np.ndarray) -> np.ndarray:
        """An outline [N, 2] of (along, up) in the object's upright middle plane, to world points [N, 3]."""
        return self.world(np.stack([np.zeros(len(outline)), outline[:, 1], outline[:, 0]], -1))


@cache
def _unit_circle(corners: int) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], -1)


def circle(centre: Sequence[float], radius: float, corners: int = 20) -> np.ndarray:
    """A circle's outline, [corners, 2]."""
    return np.asarray(centre) + radius * _unit_circle(corners)


def capsule(
    start: Sequence[float], end: Sequence[float], width: float, end_width: Optional[float] = None
) -> np.ndarray:
    """The outline of a limb with round ends, [N, 2], convex."""
    end_width = width if end_width is None else end_width
    rounds = np.concatenate([circle(start, width / 2, 12), circle(end, end_width / 2, 12)])
    return cv2.convexHull(rounds.astype(np.float32))[:, 0].astype(float)
