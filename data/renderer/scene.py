"""What stands where in a sample picture: one street scene out of one random stream."""

from __future__ import annotations

from functools import partial
from typing import Callable, List, Tuple

import numpy as np

from data.renderer import figures, furniture, vehicles
from data.renderer import street as street_parts
from data.renderer.canvas import Camera, Canvas, Placement, vary
from data.renderer.street import FARTHEST, Street

# Something movable: the distance it is sorted by, in metres, and the call that paints it.
Actor = Tuple[float, Callable[[], None]]

SKIES = (((92, 148, 214), (214, 224, 232)), ((126, 164, 206), (222, 226, 226)), ((150, 166, 186), (214, 216, 216)))
RARE_VEHICLES = ("bus", "truck", "train")
LEFT, RIGHT = -1, 1


def paint_scene(size: Tuple[int, int], index: int, rng: np.random.Generator) -> Canvas:
    """Paints one scene.

    The index of the scene in its split decides which of the rare classes it shows, so that each occurs in at least
    a third of any run of consecutive scenes; everything else is random.

    Args:
        size: (width, height) in pixels.
        index: 0, 1, ...: the scene's place in its split.
        rng: the only source of randomness.
    """
    width, height = size
    centre = (width * rng.uniform(0.46, 0.54), height * rng.uniform(0.4, 0.45))
    camera = Camera(
        size, 0.84 * width * rng.uniform(0.95, 1.05), centre, rng.uniform(1.35, 1.6), rng.uniform(-0.012, 0.012)
    )
    zenith, haze = SKIES[rng.integers(len(SKIES))]
    canvas = Canvas(camera, haze)
    kerbs = (rng.uniform(-5.0, -4.5), rng.uniform(3.3, 3.9))
    street = Street(kerbs, (kerbs[0] - rng.uniform(1.8, 2.3), kerbs[1] + rng.uniform(1.8, 2.5)))
    street_parts.paint_sky(canvas, rng, vary(rng, zenith), rng.random())
    street_parts.paint_ground(canvas, rng, street)
    for side in (LEFT, RIGHT):
        _paint_roadside(canvas, rng, street, side, wall=(index % 4 < 2) == (side == LEFT))
    actors = _traffic(canvas, rng, street, index) + _two_wheelers(canvas, rng, street, index)
    actors += _pedestrians(canvas, rng, street) + _furniture(canvas, rng, street, index)
    for _, paint in sorted(actors, key=lambda actor: -actor[0]):
        paint()
    if rng.random() < 0.6:
        furniture.paint_bonnet(canvas, rng)
    return canvas


def _paint_roadside(canvas: Canvas, rng: np.random.Generator, street: Street, side: int, wall: bool) -> None:
    """Houses and trees set back from the street, then, in front of them, grass, a barrier and farther houses."""
    border = street.borders[side > 0]
    garden_end = rng.uniform(21, 27)  # metres: houses stand at the pavement from here on, lawns and barriers before
    start = FARTHEST
    while start > garden_end:
        near = max(garden_end, start - rng.uniform(9, 20) * (1 + start / 80))
        if rng.random() < 0.78:
            street_parts.paint_building(canvas, rng, border, side, (near, start), rng.uniform(8, 17))
        else:
            for z in np.arange(start, near, -6.0):
                tree = Placement(border + side * rng.uniform(1.5, 4), z)
                street_parts.paint_tree(canvas, rng, tree, rng.uniform(6, 10))
        start = near
    barrier = border + side * rng.uniform(2.2, 3.4)
    if rng.random() < 0.5:
        setback = barrier + side * rng.uniform(3.0, 5.0)
        street_parts.paint_building(canvas, rng, setback, side, (rng.uniform(9, 12), garden_end), rng.uniform(7, 13))
    for z in np.sort(rng.uniform(13, garden_end, 2))[::-1]:
        tree = Placement(barrier + side * rng.uniform(1.2, 3.0), z)
        street_parts.paint_tree(canvas, rng, tree, rng.uniform(5, 8))
    far = garden_end - rng.uniform(0, 2)
    if wall:
        street_parts.paint_wall(canvas, rng, barrier, side, (4.0, far), rng.uniform(1.5, 2.2))
        return
    if rng.random() < 0.5:
        street_parts.paint_hedge(canvas, rng, barrier + side * 1.2, (8.0, far), rng.uniform(0.7, 1.1))
    street_parts.paint_fence(canvas, rng, barrier, (rng.uniform(4.0, 7.0), far), rng.uniform(1.2, 1.6))


def _traffic(canvas: Canvas, rng: np.random.Generator, street: Street, index: int) -> List[Actor]:
    """One rare large vehicle, sometimes two, and cars: oncoming, ahead and parked."""
    left, right = street.kerbs
    kinds = [RARE_VEHICLES[index % 3]] + ([RARE_VEHICLES[rng.integers(3)]] if rng.random() < 0.3 else ["car"])
    lanes = [left + 1.9, 0.25]  # metres: the middle of the oncoming and of the own lane
    if kinds[0] != "train" and rng.random() < 0.4:
        lanes.reverse()
    actors: List[Actor] = []
    for order, (kind, x) in enumerate(zip(kinds, lanes)):
        nose = rng.uniform(10, 15) if order == 0 else rng.uniform(17, 30)  # metres to its near end
        if kind == "train":
            street_parts.paint_rails(canvas, x)
        z = nose + vehicles.HALF_LENGTH[kind]
        place = Placement(x, z, (np.pi if x < -1 else 0.0) + rng.uniform(-0.05, 0.05))
        actors.append((nose, partial(vehicles.VEHICLES[kind], canvas, rng, place)))
    for z in np.arange(rng.uniform(8, 14), 48, 6.2):
        if rng.random() < 0.5:
            place = Placement(right - 1.0, z, rng.uniform(-0.04, 0.04))
            actors.append((z - 2.3, partial(vehicles.paint_car, canvas, rng, place)))
    return actors


def _two_wheelers(canvas: Canvas, rng: np.random.Generator, street: Street, index: int) -> List[Actor]:
    """A rider crossing on a motorcycle or a bicycle, in turn, and the other one ridden or parked elsewhere."""
    painters = [figures.paint_motorcycle, figures.paint_bicycle]
    if index % 2:
        painters.reverse()
    left, right = street.kerbs
    spots = [
        (rng.uniform(-2.4, 1.8), rng.uniform(7.0, 11.0)),
        (rng.uniform(left + 0.4, left + 2.0), rng.uniform(11.5, 14.0)),
    ]
    if rng.random() < 0.5:
        spots[1] = (right + rng.uniform(0.7, 1.2), rng.uniform(8.5, 12.0))
    actors: List[Actor] = []
    for order, (painter, (x, z)) in enumerate(zip(painters, spots)):
        place = Placement(x, z, rng.choice([-1, 1]) * rng.uniform(0.85, 1.6))
        ridden = order == 0 or (x < 0 and rng.random() < 0.7)
        actors.append((z, partial(painter, canvas, rng, place, ridden)))
    return actors


def _pedestrians(canvas: Canvas, rng: np.random.Generator, street: Street) -> List[Actor]:
    """Three to six people on the pavements, sometimes one on the road."""
    spots = []
    for _ in range(rng.integers(3, 7)):
        z = rng.uniform(10, 22)
        side = int(z > 13 and rng.random() < 0.5)
        kerb, border = street.kerbs[1 - side], street.borders[1 - side]
        spots.append((kerb + rng.uniform(0.25, 0.85) * (border - kerb), z))
    if rng.random() < 0.35:
        spots.append((rng.uniform(street.kerbs[0] + 0.5, street.kerbs[1] - 0.5), rng.uniform(8, 13)))
    places = [Placement(x, z, rng.choice([-1, 1]) * rng.uniform(0.9, 2.0)) for x, z in spots]
    return [(place.z, partial(figures.paint_person, canvas, rng, place)) for place in places]


def _furniture(canvas: Canvas, rng: np.random.Generator, street: Street, index: int) -> List[Actor]:
    """A traffic light and a sign on opposite kerbs, more signs, street lamps, a tree and a bin."""

    def kerb(side: int) -> float:
        return street.kerbs[side > 0] + 0.45 * side

    side = LEFT if rng.random() < 0.5 else RIGHT
    light = Placement(kerb(side), rng.uniform(11.5, 14))
    actors: List[Actor] = [(light.z, partial(furniture.paint_traffic_light, canvas, rng, light))]
    for order, (sign_side, z) in enumerate(((-side, rng.uniform(11.5, 14.5)), (side, rng.uniform(17, 21)))):
        sign = Placement(kerb(sign_side), z)
        actors.append((z, partial(furniture.paint_traffic_sign, canvas, rng, sign, (index + order) % 4)))
    for lamp_side in (LEFT, RIGHT):
        for z in np.arange(rng.uniform(15.5, 17), 60, 15):
            lamp = Placement(kerb(lamp_side), z)
            height, arm = rng.uniform(5.5, 6.5), -1.6 * lamp_side
            actors.append((z, partial(furniture.paint_pole, canvas, rng, lamp, height, arm)))
    if rng.random() < 0.4:
        tree = Placement(kerb(LEFT), rng.uniform(22, 30))
        actors.append((tree.z, partial(street_parts.paint_tree, canvas, rng, tree, rng.uniform(5, 7))))
    if rng.random() < 0.6:
        bin_place = Placement(street.borders[1] - 0.4, rng.uniform(9, 14))
        actors.append((bin_place.z, partial(furniture.paint_bin, canvas, rng, bin_place)))
    return actors
