"""Cars, trucks, buses and trams of the sample pictures, as boxes in perspective with painted faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

import numpy as np

from data.renderer.canvas import Canvas, Colour, Placement, circle, shade, vary

GLASS: Colour = (46, 56, 66)
TYRE: Colour = (26, 26, 28)
TAIL_LIGHT: Colour = (205, 28, 30)
HEAD_LIGHT: Colour = (250, 246, 222)

CAR_PAINTS: Sequence[Colour] = (
    (186, 190, 194),
    (42, 44, 50),
    (226, 228, 230),
    (158, 30, 38),
    (40, 66, 130),
    (84, 92, 98),
)
TARPAULINS: Sequence[Colour] = ((206, 212, 222), (58, 92, 156), (150, 158, 170))
CABS: Sequence[Colour] = ((190, 50, 40), (36, 82, 160), (232, 232, 228))
BUS_PAINTS: Sequence[Colour] = ((240, 184, 36), (232, 150, 30), (244, 204, 80))
TRAM_PAINTS: Sequence[Colour] = ((22, 138, 122), (40, 160, 128), (18, 122, 132))

# How brightly daylight falls on each side of a box.
FACE_LIGHT = {"rear": 0.9, "front": 0.95, "left": 0.78, "right": 0.84, "top": 1.12}

# (u0, u1, v0, v1, colour): a rectangle on a face, u from left to right and v from foot to top, 0..1.
Detail = Tuple[float, float, float, float, Colour]


@dataclass(frozen=True)
class Box:
    """A box that may taper to its top; metres along the placement's axes.

    Attributes:
        width: across.
        along: (rear, front).
        up: (foot, top).
        taper: by how much the top is shorter than the foot at (rear, front, each side).
    """

    width: float
    along: Tuple[float, float]
    up: Tuple[float, float]
    taper: Tuple[float, float, float] = (0.0, 0.0, 0.0)

    def faces(self) -> Dict[str, np.ndarray]:
        """Each face's corners [4, 3]: left foot, right foot, right top, left top."""
        half, (rear, front), (foot, top) = self.width / 2, self.along, self.up
        back, ahead, side = self.taper
        lower = [(-half, foot, rear), (half, foot, rear), (half, foot, front), (-half, foot, front)]
        inner = half - side
        upper = [
            (-inner, top, rear + back),
            (inner, top, rear + back),
            (inner, top, front - ahead),
            (-inner, top, front - ahead),
        ]
        corners = {name: [lower[i], lower[j], upper[j], upper[i]] for name, i, j in _SIDES}
        return {name: np.array(face, float) for name, face in {**corners, "top": upper}.items()}


_SIDES = (("rear", 0, 1), ("right", 1, 2), ("front", 2, 3), ("left", 3, 0))


def on_face(face: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Positions (u, v) in 0..1 on a face [4, 3] to points [N, 3]."""
    u, v = np.asarray(u, float)[:, None], np.asarray(v, float)[:, None]
    return (1 - v) * ((1 - u) * face[0] + u * face[1]) + v * ((1 - u) * face[3] + u * face[2])


def paint_box(canvas: Canvas, place: Placement, box: Box, colour: Colour, details: Dict[str, List[Detail]]) -> None:
    """Paints the faces that look at the camera, each with its details."""
    eye = np.array([0.0, canvas.camera.height, 0.0])
    for name, own in box.faces().items():
        face = place.world(own)
        inward = np.cross(face[1] - face[0], face[3] - face[0])
        if inward @ (eye - face.mean(0)) >= 0:
            continue
        canvas.fill(face, shade(colour, FACE_LIGHT[name]))
        for u0, u1, v0, v1, paint in details.get(name, ()):
            canvas.fill(on_face(face, [u0, u1, u1, u0], [v0, v0, v1, v1]), shade(paint, FACE_LIGHT[name]))


def paint_wheels(canvas: Canvas, place: Placement, width: float, axles: Sequence[float], radius: float) -> None:
    """Paints the wheels of the side that looks at the camera; axles in metres along the vehicle."""
    across = place.world(np.array([[-width / 2, 0, 0], [width / 2, 0, 0]]))
    side = width / 2 if np.hypot(across[1, 0], across[1, 2]) < np.hypot(across[0, 0], across[0, 2]) else -width / 2
    for axle in axles:
        for size, colour in ((1.0, TYRE), (0.55, (132, 134, 138))):
            rim = circle((axle, radius), radius * size, 14)
            canvas.fill(place.world(np.stack([np.full(14, side), rim[:, 1], rim[:, 0]], -1)), colour)


def paint_shadow(canvas: Canvas, place: Placement, width: float, along: Tuple[float, float]) -> None:
    """Darkens the road under and beside an object."""
    for margin, opacity in ((0.35, 0.28), (0.1, 0.4)):
        half, rear, front = width / 2 + margin, along[0] - margin, along[1] + margin
        foot = [(-half, 0, rear), (half + margin, 0, rear), (half + margin, 0, front), (-half, 0, front)]
        canvas.fill(place.world(np.array(foot, float)), (16, 18, 24), opacity)


def _window_row(
    count: int, v: Tuple[float, float], u: Tuple[float, float] = (0.03, 0.97), gap: float = 0.15
) -> List[Detail]:
    """A row of equal windows along a face."""
    edges = np.linspace(*u, count + 1)
    pitch = edges[1] - edges[0]
    return [(left + gap * pitch / 2, left + pitch * (1 - gap / 2), *v, GLASS) for left in edges[:-1]]


def paint_car(canvas: Canvas, rng: np.random.Generator, place: Placement) -> None:
    """A hatchback, saloon or estate, 3.9 to 4.7 m long."""
    length, width, height = rng.uniform(3.9, 4.7), rng.uniform(1.75, 1.9), rng.uniform(1.42, 1.6)
    paint = vary(rng, CAR_PAINTS[rng.integers(len(CAR_PAINTS))])
    half, waist = length / 2, 0.58 * height
    paint_shadow(canvas, place, width, (-half, half))
    boot = rng.uniform(0.05, 0.5)
    lamps = {
        "rear": [
            (0.03, 0.2, 0.5, 0.85, TAIL_LIGHT),
            (0.8, 0.97, 0.5, 0.85, TAIL_LIGHT),
            (0.37, 0.63, 0.4, 0.62, (226, 226, 216)),
        ],
        "front": [
            (0.04, 0.24, 0.5, 0.82, HEAD_LIGHT),
            (0.76, 0.96, 0.5, 0.82, HEAD_LIGHT),
            (0.28, 0.72, 0.25, 0.55, (30, 32, 34)),
        ],
        "left": [(0.0, 1.0, 0.0, 0.12, shade(paint, 0.5)), (0.48, 0.5, 0.1, 1.0, shade(paint, 0.7))],
        "right": [(0.0, 1.0, 0.0, 0.12, shade(paint, 0.5)), (0.5, 0.52, 0.1, 1.0, shade(paint, 0.7))],
    }
    pane = [(0.1, 0.9, 0.14, 0.9, GLASS), (0.14, 0.5, 0.2, 0.84, shade(GLASS, 1.7))]
    doors = [(0.07, 0.47, 0.12, 0.86, GLASS), (0.53, 0.93, 0.12, 0.86, GLASS)]
    cabin = {"rear": pane, "front": pane, "left": doors, "right": doors}
    with canvas.annotated("car"):
        paint_box(canvas, place, Box(width * 0.94, (-half + 0.2, half - 0.2), (0.0, 0.3)), TYRE, {})
        paint_box(canvas, place, Box(width, (-half, half), (0.24, waist), (0.06, 0.12, 0.04)), paint, lamps)
        roof = Box(width - 0.1, (-half + boot, half - 1.05), (waist, height), (0.45, 0.7, 0.14))
        paint_box(canvas, place, roof, paint, cabin)
        paint_wheels(canvas, place, width + 0.02, (-0.3 * length, 0.31 * length), 0.33)


def paint_truck(canvas: Canvas, rng: np.random.Generator, place: Placement) -> None:
    """A lorry: a cab and a higher windowless cargo box, 7.5 to 9 m long."""
    length, width, height = rng.uniform(7.5, 9.0), 2.45, rng.uniform(3.2, 3.7)
    cargo = vary(rng, TARPAULINS[rng.integers(len(TARPAULINS))])
    cab = vary(rng, CABS[rng.integers(len(CABS))])
    half, chassis = length / 2, 0.95
    ribs = [(u, u + 0.012, 0.0, 1.0, shade(cargo, 0.72)) for u in np.linspace(0.1, 0.9, 7)]
    band = [(0.0, 1.0, 0.86, 1.0, shade(cab, 0.9)), (0.0, 1.0, 0.0, 0.05, shade(cargo, 0.6))]
    doors = [(0.49, 0.51, 0.03, 0.97, shade(cargo, 0.5)), (0.2, 0.22, 0.05, 0.95, shade(cargo, 0.6))]
    doors += [
        (0.78, 0.8, 0.05, 0.95, shade(cargo, 0.6)),
        (0.0, 0.12, 0.0, 0.05, TAIL_LIGHT),
        (0.88, 1.0, 0.0, 0.05, TAIL_LIGHT),
    ]
    windscreen = [(0.08, 0.92, 0.52, 0.86, GLASS), (0.06, 0.2, 0.1, 0.2, HEAD_LIGHT), (0.8, 0.94, 0.1, 0.2, HEAD_LIGHT)]
    windscreen.append((0.26, 0.74, 0.1, 0.4, shade(cab, 0.55)))
    cab_sides = {
        "front": windscreen,
        "left": [(0.15, 0.6, 0.52, 0.84, GLASS)],
        "right": [(0.4, 0.85, 0.52, 0.84, GLASS)],
    }
    parts = [
        (Box(width * 0.9, (-half + 0.1, half - 0.2), (0.0, chassis)), (34, 34, 38), {}),
        (Box(width, (half - 2.0, half), (0.4, 0.84 * height), (0.0, 0.15, 0.05)), cab, cab_sides),
        (
            Box(width, (-half, half - 2.15), (chassis, height)),
            cargo,
            {"left": ribs + band, "right": ribs + band, "rear": doors + band},
        ),
    ]
    paint_shadow(canvas, place, width, (-half, half))
    with canvas.annotated("truck"):
        for box, colour, details in _far_to_near(place, parts):
            paint_box(canvas, place, box, colour, details)
        paint_wheels(canvas, place, width, (-0.34 * length, -0.22 * length, 0.36 * length), 0.5)


def _far_to_near(place: Placement, parts: list) -> list:
    """The chassis first, then cab and cargo box in painter's order."""
    depth = [place.world(np.array([0, 0, sum(box.along) / 2]))[2] for box, _, _ in parts]
    return parts[:1] + [parts[i] for i in sorted(range(1, len(parts)), key=lambda i: -depth[i])]


def paint_bus(canvas: Canvas, rng: np.random.Generator, place: Placement) -> None:
    """A yellow city bus with one long row of windows, 10 to 12 m long."""
    length, width, height = rng.uniform(10.0, 12.0), 2.5, rng.uniform(2.9, 3.2)
    paint, stripe = vary(rng, BUS_PAINTS[rng.integers(len(BUS_PAINTS))]), vary(rng, (170, 40, 36))
    half = length / 2
    side = [(0.0, 1.0, 0.12, 0.22, stripe), *_window_row(7, (0.42, 0.84))]
    ends = [(0.07, 0.93, 0.36, 0.84, GLASS), (0.0, 1.0, 0.1, 0.18, stripe)]
    front = [*ends, (0.2, 0.8, 0.88, 0.97, (30, 30, 30)), (0.3, 0.7, 0.905, 0.945, (250, 190, 60))]
    front += [(0.05, 0.2, 0.2, 0.28, HEAD_LIGHT), (0.8, 0.95, 0.2, 0.28, HEAD_LIGHT)]
    rear = [*ends, (0.03, 0.12, 0.2, 0.32, TAIL_LIGHT), (0.88, 0.97, 0.2, 0.32, TAIL_LIGHT)]
    paint_shadow(canvas, place, width, (-half, half))
    with canvas.annotated("bus"):
        paint_box(canvas, place, Box(width * 0.92, (-half + 0.2, half - 0.2), (0.0, 0.4)), (32, 32, 34), {})
        body = Box(width, (-half, half), (0.3, height), (0.05, 0.1, 0.06))
        paint_box(canvas, place, body, paint, {"left": side, "right": side, "front": front, "rear": rear})
        paint_wheels(canvas, place, width, (-0.27 * length, 0.3 * length), 0.48)


def paint_tram(canvas: Canvas, rng: np.random.Generator, place: Placement) -> None:
    """A green and white tram in three cars, 24 m long, on rails; `train` in Cityscapes."""
    width, height, car_length = 2.5, rng.uniform(3.4, 3.6), 7.8
    paint, white = vary(rng, TRAM_PAINTS[rng.integers(len(TRAM_PAINTS))]), vary(rng, (232, 236, 232), 6)
    side = [(0.0, 1.0, 0.36, 0.8, (36, 44, 50)), (0.0, 1.0, 0.8, 0.9, white), *_window_row(4, (0.42, 0.76), gap=0.12)]
    side += [(u, u + 0.012, 0.06, 0.8, white) for u in (0.3, 0.42, 0.62)]
    ends = [(0.1, 0.9, 0.36, 0.8, GLASS), (0.0, 1.0, 0.16, 0.24, white), (0.25, 0.75, 0.84, 0.94, (40, 40, 36))]
    front = [*ends, (0.08, 0.22, 0.26, 0.33, HEAD_LIGHT), (0.78, 0.92, 0.26, 0.33, HEAD_LIGHT)]
    rear = [*ends, (0.08, 0.2, 0.26, 0.33, TAIL_LIGHT), (0.8, 0.92, 0.26, 0.33, TAIL_LIGHT)]
    total = 3 * car_length
    centres = (np.arange(3) - 1) * car_length
    parts = [(Box(width * 0.86, (-total / 2, total / 2), (0.0, 0.4)), (44, 46, 48), {})]
    parts += [(Box(width * 0.8, (-total / 2 + 0.4, total / 2 - 0.4), (0.3, height - 0.2)), (50, 52, 54), {})]
    for centre in centres:
        reach = car_length / 2 - 0.22
        details = {"left": side, "right": side, "front": front, "rear": rear}
        parts.append((Box(width, (centre - reach, centre + reach), (0.22, height), (0.12, 0.25, 0.1)), paint, details))
    paint_shadow(canvas, place, width, (-total / 2, total / 2))
    with canvas.annotated("train"):
        for box, colour, box_details in parts[:2] + _far_to_near(place, parts[1:])[1:]:
            paint_box(canvas, place, box, colour, box_details)
        mast = np.array(
            [(-0.9, height + 0.75, 0), (0.9, height + 0.75, 0), (0.9, height + 0.6, 0), (0.12, height + 0.6, 0)]
        )
        mast = np.concatenate(
            [
                mast,
                [(0.12, height - 0.05, 0), (-0.12, height - 0.05, 0), (-0.12, height + 0.6, 0)],
                [(-0.9, height + 0.6, 0)],
            ]
        )
        canvas.fill(place.world(mast), (60, 62, 66))


VEHICLES = {"car": paint_car, "truck": paint_truck, "bus": paint_bus, "train": paint_tram}
HALF_LENGTH = {"car": 2.3, "truck": 4.4, "bus": 5.8, "train": 11.7}
