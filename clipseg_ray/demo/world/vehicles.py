"""Vehicles: cars, buses, bicycles, motorcycles, aeroplanes, boats; all face right."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from clipseg_ray.demo.world.colours import NIGHT_PANE, PANE, STEEL, TYRE, WOOD
from clipseg_ray.demo.world.sketch import RGB, Sketch

WINDOW, LIGHT = "vehicle window", (250, 232, 150)


def _wheel(sketch: Sketch, x: float, y: float, radius: float, rim: float = 0.52) -> None:
    sketch.ellipse(x, y, radius, radius, TYRE, "wheel")
    sketch.ellipse(x, y, radius * rim, radius * rim, STEEL, "wheel")
    sketch.ellipse(x, y, radius * rim * 0.4, radius * rim * 0.4, TYRE, "wheel")


def _panes(rng: np.random.Generator) -> RGB:
    return PANE if rng.random() < 0.6 else NIGHT_PANE


def car(sketch: Sketch, rng: np.random.Generator) -> None:
    """A saloon, a hatchback, a pick-up or a small van from the side."""
    kind, pane, wheel = rng.integers(4), _panes(rng), rng.uniform(11, 13.5)
    tail, nose, roof = rng.uniform(0, 3), rng.uniform(97, 101), rng.uniform(-2, 3)
    cabin, *windows = (
        (
            [(20, 24), (32, roof), (60, roof), (76, 24)],
            [(27, 23), (35, roof + 5), (46, roof + 5), (46, 23)],
            [(49, 23), (49, roof + 5), (58, roof + 5), (69, 23)],
        ),
        (
            [(2, 24), (9, roof), (55, roof), (74, 24)],
            [(9, 23), (14, roof + 5), (32, roof + 5), (32, 23)],
            [(36, 23), (36, roof + 5), (53, roof + 5), (67, 23)],
        ),
        (
            [(40, 24), (44, roof), (64, roof), (78, 24)],
            [(45, 23), (48, roof + 5), (62, roof + 5), (72, 23)],
        ),
        (
            [(1, 24), (3, roof - 6), (66, roof - 6), (84, 24)],
            [(58, 22), (58, roof), (65, roof), (78, 22)],
            [(32, 22), (32, roof), (53, roof), (53, 22)],
        ),
    )[kind]
    sketch.polygon(cabin, "body")
    for window in windows:
        sketch.polygon(window, pane, WINDOW)
    sketch.polygon([(tail, 24), (80, 23), (nose - 4, 28), (nose, 34), (nose, 45), (tail, 45), (tail - 1, 34)], "body")
    sketch.box(tail - 2, 41, nose + 2, 47, "dark", rounding=3)
    sketch.ellipse(nose - 4, 32, 4, 3, LIGHT)
    sketch.box(tail, 29, tail + 4, 35, (200, 60, 40))
    if kind != 2:
        sketch.box(46, 28, 54, 30.5, "deep")
    for x in (21, 78):
        _wheel(sketch, x, 46, wheel)


def bus(sketch: Sketch, rng: np.random.Generator) -> None:
    """One or two decks with rows of windows."""
    pane, decks, wheel = _panes(rng), 1 if rng.random() < 0.65 else 2, rng.uniform(10, 12)
    long, tall = (rng.uniform(105, 130), 44) if decks == 1 else (rng.uniform(90, 110), 66)
    sketch.box(0, 0, long, tall, "body", rounding=rng.uniform(4, 9))
    columns = int(rng.integers(4, 7))
    for deck in range(decks):
        top = 6 + deck * 25
        edges = np.linspace(5, long - 17, columns + 1)
        for left, right in pairwise(edges):
            sketch.box(left, top, right - 3, top + 15, pane, WINDOW, rounding=1.5)
        sketch.box(long - 15, top, long - 2, top + 17, pane, WINDOW, rounding=2)
    sketch.box(0, tall - 15, long, tall - 10, "light" if rng.random() < 0.5 else "deep")
    sketch.box(0, tall - 4, long, tall, "dark")
    sketch.ellipse(long - 4, tall - 8, 3, 3, LIGHT)
    for x in (20, long - 24) if rng.random() < 0.7 else (16, 40, long - 24):
        _wheel(sketch, x, tall - 1, wheel)


def bicycle(sketch: Sketch, rng: np.random.Generator) -> None:
    """Two large thin wheels, a frame between them, saddle and handlebar."""
    wheel, apart, thick = rng.uniform(23, 26), rng.uniform(60, 66), rng.uniform(5.5, 7)
    for x in (0.0, apart):
        sketch.ellipse(x, 0, wheel, wheel, TYRE, "wheel")
        sketch.ellipse(x, 0, wheel * 0.8, wheel * 0.8, (206, 210, 214), "wheel")
        for angle in np.linspace(0, np.pi, 4, endpoint=False) + rng.uniform(0, 1):
            reach = wheel * 0.8 * np.array([np.cos(angle), np.sin(angle)])
            sketch.limb([(x - reach[0], -reach[1]), (x + reach[0], reach[1])], 1.2, paint=(140, 144, 150), part="wheel")
    pedal, saddle, head = (apart * 0.42, 2.0), (apart * 0.3, -34.0), (apart * 0.82, -32.0)
    sketch.limb([(0, 0), saddle, head, pedal, (0, 0)], thick)
    sketch.limb([saddle, pedal], thick)
    top = (head[0] - 3, head[1] - rng.uniform(10, 16))
    sketch.limb([(apart, 0), head, top], thick)
    if rng.random() < 0.5:
        sketch.limb([top, (top[0] + 14, top[1] - 2)], 5, paint=TYRE)
    else:
        sketch.curve([top, (top[0] + 14, top[1]), (top[0] + 13, top[1] + 11)], 5, paint=TYRE)
    sketch.limb([saddle, (saddle[0] - 1, saddle[1] - 7)], 5, paint=TYRE)
    sketch.limb([(saddle[0] - 10, saddle[1] - 8), (saddle[0] + 7, saddle[1] - 8)], 8, 5, TYRE)
    sketch.ellipse(*pedal, 7, 7, STEEL)
    sketch.limb([pedal, (pedal[0] + 6, pedal[1] + 11)], 4, paint=TYRE)


def motorcycle(sketch: Sketch, rng: np.random.Generator) -> None:
    """Two fat wheels close under a heavy body with tank, engine and exhaust."""
    wheel, apart = rng.uniform(19, 22), rng.uniform(64, 70)
    sketch.limb([(apart, 0), (apart - 14, -42), (apart - 22, -50)], 6, paint=STEEL)
    for x in (0.0, apart):
        _wheel(sketch, x, 0, wheel, 0.55)
    sketch.box(apart * 0.3, -22, apart * 0.68, 8, (96, 98, 104), rounding=5)
    for y in (-14, -7, 0):
        sketch.box(apart * 0.34, y - 1.4, apart * 0.64, y + 1.4, STEEL)
    sketch.limb([(apart * 0.5, 8), (8, 8), (-20, 4)], 7, 9, STEEL)
    sketch.blob([(-24, -32), (-8, -28), (18, -26), (26, -18), (4, -14), (-20, -22)], "body")
    sketch.curve([(-10, -34), (10, -30), (24, -32)], 9, 8, TYRE)
    sketch.blob([(18, -26), (28, -42), (48, -44), (58, -34), (52, -22), (36, -16), (24, -16)], "body")
    if rng.random() < 0.55:
        sketch.blob(
            [(apart - 20, -48), (apart - 4, -40), (apart + 4, -26), (apart - 8, -18), (apart - 24, -24)], "body"
        )
        sketch.polygon([(apart - 20, -46), (apart - 16, -58), (apart - 5, -40)], PANE)
    sketch.curve([(apart - 19, -4 - wheel * 0.4), (apart - 8, -wheel - 1), (apart + 15, -wheel + 6)], 7, 5, "body")
    sketch.limb([(apart - 22, -50), (apart - 33, -50)], 6, paint=TYRE)
    sketch.ellipse(apart - 6, -36, 5.5, 6.5, LIGHT)


def aeroplane(sketch: Sketch, rng: np.random.Generator) -> None:
    """From the side with one wing towards us, or from above with both."""
    draw = _aeroplane_from_side if rng.random() < 0.6 else _aeroplane_from_above
    draw(sketch, rng)


def _aeroplane_from_side(sketch: Sketch, rng: np.random.Generator) -> None:
    sketch.polygon([(46, -5), (64, -5), (42, -34), (31, -34)], "deep", "aircraft wing")
    sketch.polygon([(2, -4), (20, -6), (4, -32), (-8, -32)], "dark")
    sketch.blob([(-6, -6), (20, -10), (70, -10), (92, -6), (100, 1), (90, 7), (60, 10), (22, 8)], "body")
    sketch.polygon([(-10, -4), (8, -3), (-4, 8), (-14, 8)], "deep")
    pane = _panes(rng)
    for x in np.arange(22, 78, 8.0):
        sketch.box(x, -6.5, x + 6, 0, pane, WINDOW, rounding=2.5)
    sketch.polygon([(82, -8), (91, -6), (95, -1.5), (82, -1.5)], pane, WINDOW)
    reach = rng.uniform(30, 42)
    sketch.polygon([(40, 2), (66, 3), (36, reach), (22, reach)], "dark", "aircraft wing")
    if rng.random() < 0.6:
        sketch.limb([(42, 19), (54, 19)], 9, 11, STEEL)


def _aeroplane_from_above(sketch: Sketch, rng: np.random.Generator) -> None:
    sweep, span, back = rng.uniform(8, 34), rng.uniform(42, 52), rng.uniform(8, 14)
    for side in (-1, 1):
        sketch.polygon(
            [(64, 0), (40, 0), (40 - sweep, side * span), (52 - sweep, side * span)], "dark", "aircraft wing"
        )
        sketch.polygon([(14, 0), (2, 0), (2 - back, side * 19), (7 - back, side * 19)], "dark")
        if rng.random() < 0.7:
            x = 58 - sweep * 0.4
            sketch.limb([(x - 8, side * span * 0.42), (x + 6, side * span * 0.42)], 9, paint=STEEL)
    sketch.blob([(-4, 0), (10, -6), (70, -8), (92, -6), (102, 0), (92, 6), (70, 8), (10, 6)], "body")
    sketch.polygon([(86, -4), (93, -3), (93, 3), (86, 4)], _panes(rng), WINDOW)
    sketch.limb([(-4, 0), (14, 0)], 4, paint="deep")


def boat(sketch: Sketch, rng: np.random.Generator) -> None:
    """A sailing boat with one or two sails, or a motor boat with a cabin and a funnel."""
    depth = rng.uniform(16, 22)
    hull = [(-4, 0), (104, -4 if rng.random() < 0.5 else 0), (88, depth), (14, depth)]
    if rng.random() < 0.7:
        mast, tall = rng.uniform(42, 56), rng.uniform(64, 88)
        sketch.limb([(mast, 2), (mast, -tall)], 4.5, paint=WOOD)
        sail = ("light", (240, 238, 230))[int(rng.random() < 0.35)]
        sketch.blob(
            [(mast - 3, -tall + 2), (mast - 4, -6), (mast - 4, -6), (2, -6), (2, -6), (mast - 26, -tall * 0.5)],
            sail,
            "sail",
        )
        if rng.random() < 0.65:
            sketch.polygon(
                [(mast + 3, -tall * 0.92), (mast + 3, -7), (97, -7)], "dark" if sail == "light" else sail, "sail"
            )
    else:
        pane = _panes(rng)
        sketch.box(52, -44, 62, -20, "dark")
        sketch.box(52, -44, 62, -38, TYRE)
        sketch.box(20, -24, 78, 2, (238, 236, 230), rounding=2)
        for x in (26, 44, 62):
            sketch.box(x, -19, x + 12, -8, pane, WINDOW, rounding=2)
    sketch.polygon(hull, "body")
    sketch.polygon([(2, depth * 0.3), (101, depth * 0.3), (98, depth * 0.5), (5, depth * 0.5)], "light")
