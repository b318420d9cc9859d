"""Street furniture of the sample pictures: poles, traffic lights, signs, and objects ignored in training."""

from __future__ import annotations

from typing import Sequence, Tuple

import numpy as np

from data.renderer.canvas import Canvas, Colour, Placement, circle, shade, vary

GALVANISED: Colour = (138, 142, 144)
RED: Colour = (208, 26, 34)
BLUE: Colour = (24, 84, 188)
WHITE: Colour = (240, 240, 236)
YELLOW: Colour = (250, 206, 40)
LAMPS: Sequence[Colour] = ((255, 50, 40), (255, 190, 40), (60, 240, 130))  # top to bottom
# The walker on a crossing's sign, (across, up) in -1..1.
WALKER = np.array([(-0.5, -1), (-0.1, 0.1), (-0.1, 0.7), (0.2, 0.7), (0.2, 0.1), (0.6, -1), (0.3, -1), (0.05, -0.4)])


def _panel(place: Placement, across: Tuple[float, float], up: Tuple[float, float]) -> np.ndarray:
    """A rectangle facing the camera, [4, 3] world points."""
    left, right = across
    return place.world(np.array([(left, up[0], 0), (right, up[0], 0), (right, up[1], 0), (left, up[1], 0)], float))


def _plate(place: Placement, outline: np.ndarray) -> np.ndarray:
    """An outline (across, up) facing the camera, to world points."""
    return place.world(np.column_stack([outline, np.zeros(len(outline))]))


def paint_pole(canvas: Canvas, rng: np.random.Generator, place: Placement, height: float, arm: float = 0.0) -> None:
    """A pole 0.24 m thick; `arm` metres of a street lamp's arm, to the left if negative."""
    colour, half = vary(rng, GALVANISED), 0.12
    with canvas.annotated("pole"):
        canvas.fill(_panel(place, (-half, half), (0, height)), colour)
        canvas.fill(_panel(place, (-half, -0.2 * half), (0, height)), shade(colour, 0.72))
        canvas.fill(_panel(place, (-0.2, 0.2), (0, 0.5)), shade(colour, 0.85))
        if arm:
            reach = (min(0.0, arm), max(0.0, arm))
            canvas.fill(_panel(place, reach, (height - 0.16, height)), shade(colour, 0.9))
            canvas.fill(_panel(place, (arm - 0.45, arm + 0.45), (height - 0.26, height + 0.06)), shade(colour, 0.7))


def paint_traffic_light(canvas: Canvas, rng: np.random.Generator, place: Placement) -> None:
    """A pole 2.6 m high with a signal head: a black backing board with a pale rim and three lamps."""
    paint_pole(canvas, rng, place, 2.6)
    foot, head, half = 2.15, 3.35, 0.31
    lit = rng.integers(3)
    with canvas.annotated("traffic light"):
        canvas.fill(_panel(place, (-half, half), (foot, head)), (226, 226, 218))
        canvas.fill(_panel(place, (-half + 0.05, half - 0.05), (foot + 0.05, head - 0.05)), (22, 24, 26))
        for i, lamp in enumerate(LAMPS):
            rim = circle((0, head - 0.24 - 0.36 * i), 0.155, 16)
            canvas.fill(_plate(place, rim), lamp if i == lit else shade(lamp, 0.3))


def paint_traffic_sign(canvas: Canvas, rng: np.random.Generator, place: Placement, kind: int) -> None:
    """A pole with one of four signs: 0 speed limit, 1 give way, 2 pedestrian crossing, 3 priority road."""
    paint_pole(canvas, rng, place, 2.4)
    middle, reach = np.array([0.0, 2.65]), 0.56
    diamond = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)], float)
    triangle = np.array([(-1, 0.8), (1, 0.8), (0, -0.95)])
    square = np.array([(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)])
    disc = circle((0, 0), 1.0, 24)
    layers = (
        ((disc, 1.0, RED), (disc, 0.72, WHITE), (square * (1, 0.5), 0.36, (30, 30, 30))),
        ((triangle, 1.1, RED), (triangle, 0.68, WHITE)),
        (
            (square, 1.0, WHITE),
            (square, 0.9, BLUE),
            (triangle * (1, -1), 0.62, WHITE),
            (WALKER, 0.45, (24, 24, 26)),
        ),
        ((diamond, 1.15, WHITE), (diamond, 0.85, YELLOW)),
    )[kind]
    with canvas.annotated("traffic sign"):
        for outline, size, colour in layers:
            canvas.fill(_plate(place, middle + reach * size * outline), vary(rng, colour, 6))


def paint_bin(canvas: Canvas, rng: np.random.Generator, place: Placement) -> None:
    """A litter bin; `static`, which is ignored in training."""
    colour = vary(rng, (120, 74, 46))
    with canvas.annotated("static"):
        canvas.fill(_panel(place, (-0.28, 0.28), (0, 0.95)), colour)
        canvas.fill(_panel(place, (-0.32, 0.32), (0.82, 1.0)), shade(colour, 0.55))


def paint_bonnet(canvas: Canvas, rng: np.random.Generator) -> None:
    """The camera car's own bonnet along the picture's lower edge; `ego vehicle`, which is ignored too."""
    width, height = canvas.camera.size
    share = np.linspace(-0.04, 1.04, 40)
    top = 1 - 0.055 * np.clip(1 - (2 * share - 1) ** 4, 0, 1)
    outline = np.column_stack([share, top])
    colour = vary(rng, (58, 62, 70))
    with canvas.annotated("ego vehicle"):
        for drop, light in ((0.0, 1.5), (0.012, 1.0)):
            edge = outline + (0, drop)
            canvas.fill_pixels(
                np.concatenate([edge, [(1.04, 1.1), (-0.04, 1.1)]]) * (width, height), shade(colour, light)
            )
