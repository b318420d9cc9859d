"""The still parts of the sample pictures: sky, road, pavements, and what stands along the street."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Sequence, Tuple

import cv2
import numpy as np

from data.renderer.canvas import OVERSAMPLING, Canvas, Colour, Placement, circle, shade, vary

FACADES: Sequence[Colour] = (
    (186, 150, 122),
    (204, 186, 160),
    (160, 112, 96),
    (190, 176, 168),
    (150, 140, 138),
    (214, 196, 150),
)
PANES: Sequence[Colour] = ((66, 78, 92), (84, 100, 116), (52, 56, 64))
LEAVES: Sequence[Colour] = ((66, 104, 46), (84, 120, 52), (54, 92, 52), (100, 124, 48))
GRASS: Sequence[Colour] = ((158, 168, 92), (170, 164, 98), (146, 164, 86))
WALLS: Sequence[Colour] = ((150, 128, 160), (142, 132, 168), (164, 134, 152))
FENCES: Sequence[Colour] = ((52, 96, 92), (44, 84, 100), (60, 104, 84))
BARK: Colour = (84, 66, 50)
TUFTS = 12  # lighter and darker spots on each clump of leaves
NEAREST, FARTHEST = 2.0, 160.0  # metres; nothing of the street is drawn nearer or farther


@dataclass(frozen=True)
class Street:
    """The street's cross section: x in metres of its kerbs and of the outer ends of its pavements."""

    kerbs: Tuple[float, float]
    borders: Tuple[float, float]


def paint_sky(canvas: Canvas, rng: np.random.Generator, zenith: Colour, cloudiness: float) -> None:
    """Paints the whole canvas as sky: a gradient down to the haze, with clouds (cloudiness 0..1)."""
    width, height = canvas.camera.size
    with canvas.annotated("sky"):
        canvas.fill_pixels(np.array([(0, 0), (width, 0), (width, height), (0, height)], float), canvas.haze)
    rows = min(height, int(canvas.camera.centre[1] + 0.1 * height))
    depth = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None] ** 0.8
    gradient = (1 - depth) * np.float32(zenith) + depth * np.float32(canvas.haze)
    cloud = np.zeros((rows, width), np.float32)
    for cells, weight in ((4, 0.5), (9, 0.3), (22, 0.2)):
        grid = rng.random((2 + cells // 2, 1 + cells), np.float32)
        cloud += weight * cv2.resize(grid, (width, rows), interpolation=cv2.INTER_CUBIC)
    cover = np.clip((cloud - 0.62 + 0.25 * cloudiness) * 4.5, 0, 0.9)[..., None]
    sky = (gradient + cover * (np.float32((246, 247, 250)) - gradient)).astype(np.uint8)
    canvas.image[: rows * OVERSAMPLING] = cv2.resize(sky, (width * OVERSAMPLING, rows * OVERSAMPLING))


def paint_ground(canvas: Canvas, rng: np.random.Generator, street: Street) -> None:
    """Paints grass to the horizon, the pavements, the road and its marks."""
    grass = vary(rng, GRASS[rng.integers(len(GRASS))])
    with canvas.annotated("terrain"):
        canvas.fill_ground((-400, 400), (NEAREST, 4 * FARTHEST), grass)
    paving = vary(rng, (176, 160, 154))
    for side, kerb in enumerate(street.kerbs):
        border, inwards = street.borders[side], 1 - 2 * side
        with canvas.annotated("sidewalk"):
            canvas.fill_ground((kerb, border), (NEAREST, FARTHEST), paving)
        for z in np.geomspace(4, 45, 26):
            canvas.fill_ground((kerb, border), (z, z * 1.006), shade(paving, 0.8))
        for share in (0.33, 0.66):
            x = kerb + share * (border - kerb)
            canvas.fill_ground((x, x + 0.04), (NEAREST, 45), shade(paving, 0.82))
        canvas.fill_ground((kerb, kerb - 0.16 * inwards), (NEAREST, FARTHEST), shade(paving, 1.2))
    with canvas.annotated("road"):
        canvas.fill_ground(street.kerbs, (NEAREST, FARTHEST), vary(rng, (86, 86, 92), 9))
    _paint_lanes(canvas, rng, street)


def _paint_lanes(canvas: Canvas, rng: np.random.Generator, street: Street) -> None:
    """Paints gutters, patches of new asphalt, the middle line and sometimes a crossing."""
    left, right = street.kerbs
    for kerb, inwards in ((left, 1), (right, -1)):
        canvas.fill_ground((kerb, kerb + 0.3 * inwards), (NEAREST, FARTHEST), (66, 66, 70))
    for _ in range(rng.integers(1, 4)):
        x, z = rng.uniform(left + 0.5, right - 1.5), rng.uniform(5, 20)
        canvas.fill_ground((x, x + rng.uniform(0.8, 2)), (z, z + rng.uniform(2, 6)), (50, 50, 54), 0.35)
    white: Colour = (208, 208, 203)
    middle = 0.5 * (left + right) - rng.uniform(0.0, 0.6)
    for z in np.arange(rng.uniform(2.5, 6), 90, 7.5):
        canvas.fill_ground((middle - 0.08, middle + 0.08), (z, z + 4), white)
    canvas.fill_ground((right - 0.55, right - 0.42), (NEAREST, 100), white)
    if rng.random() < 0.35:
        start = rng.uniform(7, 13)
        for x in np.arange(left + 0.5, right - 0.6, 1.0):
            canvas.fill_ground((x, x + 0.5), (start, start + 3), white)


def paint_rails(canvas: Canvas, x: float) -> None:
    """Paints a tram's track into the road, centred at x metres."""
    canvas.fill_ground((x - 1.1, x + 1.1), (NEAREST, FARTHEST), (98, 95, 95))
    for rail in (x - 0.72, x + 0.72):
        canvas.fill_ground((rail - 0.07, rail + 0.07), (NEAREST, FARTHEST), (50, 48, 50))
        canvas.fill_ground((rail - 0.03, rail + 0.02), (NEAREST, FARTHEST), (176, 174, 170))


def _quad(x: Sequence[float], y: Sequence[float], z: Sequence[float]) -> np.ndarray:
    """An upright rectangle between (x0, z0) and (x1, z1), from y0 up to y1: [4, 3]."""
    return np.array([(x[0], y[0], z[0]), (x[1], y[0], z[1]), (x[1], y[1], z[1]), (x[0], y[1], z[0])], float)


def paint_building(
    canvas: Canvas, rng: np.random.Generator, x: float, outwards: int, z: Tuple[float, float], height: float
) -> None:
    """A house whose facade runs along the street at x and whose gable end faces the camera."""
    near, far = max(z[0], NEAREST), z[1]
    facade, pane = vary(rng, FACADES[rng.integers(len(FACADES))], 16), vary(rng, PANES[rng.integers(len(PANES))])
    frame, plinth, storey, bay = shade(facade, 1.22), shade(facade, 0.62), rng.uniform(2.9, 3.5), rng.uniform(2.3, 3.3)
    back = x + outwards * rng.uniform(9, 13)
    planes = (((x, back), (near, near), 0.82), ((x, x), (near, far), 1.0))
    with canvas.annotated("building"):
        for across, depth, light in planes:
            canvas.fill(_quad(across, (0, height), depth), shade(facade, light))
    for across, depth, light in planes:
        canvas.fill(_quad(across, (0, 0.7), depth), shade(plinth, light))
        canvas.fill(_quad(across, (height - 0.4, height), depth), shade(frame, 0.8 * light))
        columns = max(1, int(np.hypot(across[1] - across[0], depth[1] - depth[0]) / bay))
        rectangles: List[np.ndarray] = []
        colours: List[Colour] = []
        for floor in range(max(1, int(height / storey))):
            foot = floor * storey + (1.0 if floor else 0.8)
            head = min(foot + (1.6 if floor else 2.0), height - 0.5)
            rectangles.append(_quad(across, (foot - 0.32, foot - 0.16), depth))
            colours.append(shade(frame, 0.9 * light))
            for column in range(columns):
                rectangles.append(
                    _section(across, depth, (foot, head), (column + 0.2) / columns, (column + 0.8) / columns)
                )
                glass = (column + 0.26) / columns, (column + 0.74) / columns
                rectangles.append(_section(across, depth, (foot + 0.12, head - 0.12), *glass))
                colours += [shade(frame, light), shade(pane, light * rng.uniform(0.8, 1.5))]
        canvas.fill_all(np.array(rectangles), colours)


def _section(x: Sequence[float], z: Sequence[float], y: Tuple[float, float], start: float, end: float) -> np.ndarray:
    """The part of a facade between two shares of its length and two heights, [4, 3]."""
    run, rise = x[1] - x[0], z[1] - z[0]
    return _quad((x[0] + start * run, x[0] + end * run), y, (z[0] + start * rise, z[0] + end * rise))


def paint_wall(
    canvas: Canvas, rng: np.random.Generator, x: float, outwards: int, z: Tuple[float, float], height: float
) -> None:
    """A free-standing wall of mauve blocks with a lighter coping."""
    near, far = max(z[0], NEAREST), z[1]
    colour = vary(rng, WALLS[rng.integers(len(WALLS))])
    with canvas.annotated("wall"):
        canvas.fill(_quad((x, x + 0.35 * outwards), (0, height), (near, near)), shade(colour, 0.8))
        canvas.fill(_quad((x, x), (0, height), (near, far)), colour)
    courses = np.arange(0.4, height - 0.1, 0.4)
    for course in courses:
        canvas.fill(_quad((x, x), (course, course + 0.06), (near, far)), shade(colour, 0.68))
    for row, course in enumerate(courses):
        for joint in np.arange(near + 0.5 + 0.5 * (row % 2), min(far, near + 14), 1.0):
            canvas.fill(_quad((x, x), (course - 0.36, course), (joint, joint + 0.06)), shade(colour, 0.72))
    canvas.fill(_quad((x, x), (height - 0.14, height), (near, far)), shade(colour, 1.25))


def paint_fence(canvas: Canvas, rng: np.random.Generator, x: float, z: Tuple[float, float], height: float) -> None:
    """A green railing; what is seen through it still counts as fence, as in Cityscapes."""
    near, far = max(z[0], NEAREST), z[1]
    colour = vary(rng, FENCES[rng.integers(len(FENCES))])
    with canvas.annotated("fence"):
        canvas.fill(_quad((x, x), (0, height), (near, far)), colour, 0.4)
    for bar in np.arange(near, far, 0.42):
        canvas.fill(_quad((x, x), (0.05, height), (bar, min(bar + 0.13, far))), shade(colour, 0.75))
    for rail in (0.1, height - 0.16):
        canvas.fill(_quad((x, x), (rail, rail + 0.15), (near, far)), shade(colour, 0.9))
    for post in np.arange(near, far, 3.0):
        canvas.fill(_quad((x, x), (0, height), (post, min(post + 0.3, far))), shade(colour, 0.6))


def paint_leaves(
    canvas: Canvas, rng: np.random.Generator, place: Placement, outline: List[np.ndarray], reach: float
) -> None:
    """Fills round clumps with leaves, lighter towards their top left; outline in metres, reach the size of a tuft."""
    colour = vary(rng, LEAVES[rng.integers(len(LEAVES))], 14)
    for clump in outline:
        canvas.fill(place.world(clump), shade(colour, 0.72))
    offset = rng.uniform(-0.68, 0.68, (len(outline), TUFTS, 2))
    light = 0.95 + 0.28 * (offset[..., 1] - 0.5 * offset[..., 0]) + rng.uniform(-0.12, 0.12, offset.shape[:2])
    radius = reach * rng.uniform(0.6, 1.2, (len(outline), TUFTS, 1, 1))
    for clump, offsets, radii, lights in zip(outline, offset, radius, light):
        middle = clump.mean(0)
        spread = np.abs(clump - middle).max(0)
        tufts = np.empty((TUFTS, 8, 3))
        tufts[..., :2] = (middle[:2] + offsets * spread[:2])[:, None] + radii * circle((0, 0), 1.0, 8)
        tufts[..., 2] = middle[2]
        canvas.fill_all(place.world(tufts), np.outer(lights, colour))


def _clump(across: float, up: float, along: float, radius: float) -> np.ndarray:
    rim = circle((across, up), radius, 14)
    return np.column_stack([rim, np.full(len(rim), along)])


def paint_tree(canvas: Canvas, rng: np.random.Generator, place: Placement, height: float) -> None:
    """A broad-leaved tree; its trunk is vegetation too."""
    radius = height * rng.uniform(0.24, 0.32)
    clumps = [_clump(0, 0.66 * height, 0, radius)]
    for angle in np.arange(0, 2 * np.pi, np.pi / 3) + rng.uniform(0, 1):
        centre = 0.72 * radius * np.array([np.cos(angle), 0.9 * np.sin(angle)])
        clumps.append(_clump(centre[0], 0.66 * height + centre[1], 0, radius * rng.uniform(0.5, 0.68)))
    with canvas.annotated("vegetation"):
        trunk = np.array([(-0.24, 0, 0), (0.24, 0, 0), (0.16, 0.6 * height, 0), (-0.16, 0.6 * height, 0)])
        canvas.fill(place.world(trunk), vary(rng, BARK))
        paint_leaves(canvas, rng, place, clumps, 0.26 * radius)


def paint_hedge(canvas: Canvas, rng: np.random.Generator, x: float, z: Tuple[float, float], height: float) -> None:
    """A row of bushes along the street."""
    with canvas.annotated("vegetation"):
        for along in np.arange(z[1], max(z[0], NEAREST), -1.5):
            radius = 0.6 * height * rng.uniform(0.85, 1.15)
            paint_leaves(
                canvas,
                rng,
                Placement(x, along),
                [_clump(0, height - radius, 0, radius), _clump(0, 0.42 * radius, 0, radius)],
                0.2,
            )
