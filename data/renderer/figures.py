"""People, riders and their bicycles and motorcycles in the sample pictures, as upright figures."""

from __future__ import annotations

from typing import Sequence, Tuple

import numpy as np

from data.renderer.canvas import Canvas, Colour, Placement, capsule, circle, shade, vary
from data.renderer.vehicles import TAIL_LIGHT, TYRE

SKINS: Sequence[Colour] = ((232, 190, 160), (204, 156, 122), (150, 106, 78), (98, 68, 50))
COATS: Sequence[Colour] = ((166, 44, 58), (52, 76, 128), (104, 70, 130), (60, 62, 70), (202, 190, 170), (176, 88, 110))
TROUSERS: Sequence[Colour] = ((44, 52, 78), (40, 40, 44), (92, 82, 70))
HAIR: Sequence[Colour] = ((44, 32, 26), (24, 22, 22), (122, 86, 50), (150, 146, 140))
HI_VIS: Sequence[Colour] = ((214, 240, 40), (190, 228, 30), (236, 246, 70))
HELMETS: Sequence[Colour] = ((240, 240, 240), (250, 220, 50), (235, 80, 40))
MOTORCYCLES: Sequence[Colour] = ((196, 26, 32), (212, 66, 20), (170, 16, 44))

Point = Tuple[float, float]


def _pick(rng: np.random.Generator, colours: Sequence[Colour]) -> Colour:
    return vary(rng, colours[rng.integers(len(colours))])


def _soft_shadow(canvas: Canvas, place: Placement, across: float, along: float) -> None:
    foot = circle((0.15, 0.0), 1.0, 16)
    outline = np.stack([foot[:, 1] * across, np.zeros(16), foot[:, 0] * along], -1)
    canvas.fill(place.world(outline), (16, 18, 24), 0.4)


def paint_person(canvas: Canvas, rng: np.random.Generator, place: Placement) -> None:
    """A walking or standing pedestrian, 1.6 to 1.95 m high."""
    height, stride = rng.uniform(1.6, 1.95), rng.uniform(0.1, 0.34)
    coat, trousers, skin = _pick(rng, COATS), _pick(rng, TROUSERS), _pick(rng, SKINS)
    hip, shoulder, head = 0.5 * height, 0.8 * height, 0.915 * height
    swing = rng.uniform(0.06, 0.2)
    _soft_shadow(canvas, place, 0.25, 0.45)

    def limb(start: Point, end: Point, width: float, colour: Colour, end_width: float = 0.0) -> None:
        canvas.fill(place.upright(capsule(start, end, width, end_width or width)), colour)

    with canvas.annotated("person"):
        limb((-0.16, shoulder - 0.04), (-0.2 - swing, hip + 0.02), 0.13, shade(coat, 0.75))
        limb((-0.07, hip), (-stride, 0.08), 0.21, shade(trousers, 0.8), 0.15)
        limb((0.07, hip), (stride, 0.08), 0.21, trousers, 0.15)
        for foot in (-stride, stride):
            limb((foot, 0.05), (foot + 0.12, 0.05), 0.1, (30, 28, 28))
        limb((0.0, hip + 0.02), (0.0, shoulder - 0.03), 0.36, coat, 0.42)
        limb((0.17, shoulder - 0.05), (0.18 + swing, hip + 0.04), 0.13, shade(coat, 0.88))
        canvas.fill(place.upright(circle((0.2 + swing, hip), 0.065)), skin)
        if rng.random() < 0.4:
            limb((-0.27, shoulder - 0.1), (-0.25, hip + 0.2), 0.2, _pick(rng, COATS))
        limb((0.0, shoulder), (0.02, head), 0.14, skin)
        canvas.fill(place.upright(circle((-0.01, head + 0.02), 0.145)), _pick(rng, HAIR))
        canvas.fill(place.upright(circle((0.04, head - 0.015), 0.115)), skin)


def paint_rider(
    canvas: Canvas, rng: np.random.Generator, place: Placement, seat: Point, bars: Point, pedal: Point
) -> None:
    """A helmeted rider in a high-visibility jacket; seat, bars and pedal are (along, up) in metres."""
    jacket, trousers, helmet = _pick(rng, HI_VIS), _pick(rng, TROUSERS), _pick(rng, HELMETS)
    hip = np.array(seat) + (0.02, 0.1)
    shoulder = hip + (0.62 * (bars[0] - hip[0]), 0.52)
    knee = (0.55 * hip[0] + 0.45 * bars[0] + 0.08, 0.5 * (hip[1] + pedal[1]) + 0.14)

    def limb(start: Sequence[float], end: Sequence[float], width: float, colour: Colour) -> None:
        canvas.fill(place.upright(capsule(start, end, width)), colour)

    with canvas.annotated("rider"):
        limb(hip, knee, 0.23, trousers)
        limb(knee, pedal, 0.18, shade(trousers, 0.9))
        limb(pedal, (pedal[0] + 0.14, pedal[1] - 0.02), 0.11, (28, 28, 30))
        limb(hip, shoulder, 0.42, jacket)
        across = 0.17 * np.array([shoulder[1] - hip[1], hip[0] - shoulder[0]]) / 0.52
        for share in (0.4, 0.62):
            middle = hip + share * (shoulder - hip)
            limb(middle - across, middle + across, 0.07, (226, 228, 230))
        limb(shoulder, (0.5 * (shoulder[0] + bars[0]) + 0.02, shoulder[1] - 0.3), 0.15, shade(jacket, 0.82))
        limb((0.5 * (shoulder[0] + bars[0]) + 0.02, shoulder[1] - 0.3), bars, 0.13, shade(jacket, 0.82))
        head = shoulder + (0.1, 0.26)
        canvas.fill(place.upright(circle(head, 0.15)), _pick(rng, SKINS))
        dome = circle(head + (-0.01, 0.03), 0.185)
        canvas.fill(place.upright(dome[dome[:, 1] > head[1] - 0.03]), helmet)


def paint_bicycle(canvas: Canvas, rng: np.random.Generator, place: Placement, ridden: bool) -> None:
    """A bicycle 1.8 m long, with its rider if ridden. The annotation fills wheels and frame, as Cityscapes does."""
    frame = vary(rng, ((36, 60, 190), (30, 90, 210), (60, 40, 170))[rng.integers(3)])
    rear, front, radius = (-0.56, 0.36), (0.56, 0.36), 0.36
    crank, seat, bars = (-0.08, 0.36), (-0.22, 0.98), (0.4, 1.08)
    _soft_shadow(canvas, place, 0.3, 0.95)

    def tube(start: Point, end: Point, width: float = 0.085, colour: Colour = frame) -> None:
        canvas.fill(place.upright(capsule(start, end, width)), colour)

    with canvas.annotated("bicycle"):
        inside = np.array([rear, crank, front, (0.4, 0.95), (-0.2, 0.85)], float)
        canvas.fill(place.upright(inside), (70, 74, 96), 0.45)
        for hub in (rear, front):
            canvas.fill(place.upright(circle(hub, radius, 24)), TYRE)
            canvas.fill(place.upright(circle(hub, radius - 0.075, 24)), (150, 154, 166))
            for angle in np.arange(0.3, np.pi, np.pi / 4):
                spoke = (radius - 0.08) * np.array([np.cos(angle), np.sin(angle)])
                tube(tuple(hub - spoke), tuple(hub + spoke), 0.022, (90, 92, 100))
        for start, end in (
            (rear, crank),
            (crank, seat),
            (crank, bars),
            (rear, (-0.19, 0.86)),
            ((-0.19, 0.86), (0.38, 0.92)),
            (front, bars),
        ):
            tube(start, end)
        tube((-0.34, 1.0), (-0.1, 1.0), 0.1, TYRE)
        tube(bars, (0.28, 1.14), 0.07, TYRE)
    if ridden:
        paint_rider(canvas, rng, place, seat, bars, (crank[0] + 0.08, crank[1] - 0.14))


def paint_motorcycle(canvas: Canvas, rng: np.random.Generator, place: Placement, ridden: bool) -> None:
    """A motorcycle 2.1 m long with a full fairing, with its rider if ridden."""
    paint = _pick(rng, MOTORCYCLES)
    rear, front, radius = (-0.7, 0.33), (0.7, 0.33), 0.33
    _soft_shadow(canvas, place, 0.4, 1.15)
    with canvas.annotated("motorcycle"):
        canvas.fill(place.upright(capsule((0.45, 1.0), front, 0.12)), (140, 142, 146))
        for hub in (rear, front):
            canvas.fill(place.upright(circle(hub, radius, 20)), TYRE)
            canvas.fill(place.upright(circle(hub, radius * 0.5, 16)), (150, 150, 154))
        engine = np.array([(-0.72, 0.34), (0.45, 0.26), (0.5, 0.6), (-0.5, 0.66)])
        canvas.fill(place.upright(engine), (62, 62, 68))
        canvas.fill(place.upright(capsule((-0.75, 0.42), (-0.1, 0.36), 0.14)), (176, 178, 182))
        tank = np.array([(-0.3, 0.6), (0.2, 0.42), (0.62, 0.6), (0.6, 1.06), (0.38, 1.12), (0.1, 0.98), (-0.3, 0.84)])
        canvas.fill(place.upright(tank), paint)
        canvas.fill(
            place.upright(np.array([(-0.98, 0.98), (-0.9, 0.72), (-0.3, 0.62), (-0.25, 0.84), (-0.6, 0.9)])),
            shade(paint, 0.8),
        )
        canvas.fill(place.upright(capsule((-0.7, 0.92), (-0.12, 0.86), 0.12)), TYRE)
        canvas.fill(place.upright(np.array([(0.36, 1.1), (0.6, 1.04), (0.44, 1.34)])), (120, 140, 156))
        canvas.fill(place.upright(circle((-0.94, 0.86), 0.06)), TAIL_LIGHT)
        canvas.fill(place.upright(circle((0.62, 0.86), 0.1)), (250, 244, 214))
    if ridden:
        paint_rider(canvas, rng, place, (-0.3, 0.9), (0.42, 1.1), (0.0, 0.36))
