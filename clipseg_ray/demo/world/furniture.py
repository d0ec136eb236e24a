"""Furniture: chairs, sofas, benches, tables, cupboards, lamps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from clipseg_ray.demo.world.colours import STEEL, TYRE, WOOD
from clipseg_ray.demo.world.sketch import Paint, Sketch

LEG = "furniture leg"


def chair(sketch: Sketch, rng: np.random.Generator) -> None:
    """From the front at a slant, or from the side."""
    legs: Paint = ("dark", WOOD, TYRE)[rng.integers(3)]
    draw = _chair_from_front if rng.random() < 0.6 else _chair_from_side
    draw(sketch, rng, legs)


def _chair_from_front(sketch: Sketch, rng: np.random.Generator, legs: Paint) -> None:
    top, thick, foot = rng.uniform(-8, 8), rng.uniform(9, 12), rng.uniform(96, 110)
    for x in (15, 57):
        sketch.limb([(x, 58), (x, foot - 9)], thick, paint="deep" if legs == "dark" else legs, part=LEG)
    back = rng.integers(3)
    if back == 0:
        sketch.box(10, top, 62, 57, rounding=rng.uniform(2, 16))
    else:
        sketch.box(10, top, 62, top + 17, rounding=4)
        for x in (14, 58) if back == 1 else (14, 29, 43, 58):
            sketch.limb([(x, top + 8), (x, 58)], 8)
        if back == 1:
            sketch.box(10, top + 24, 62, top + 39, rounding=4)
    sketch.polygon([(9, 54), (63, 54), (73, 69), (-1, 69)], "light", "seat")
    sketch.box(-1, 68, 73, 76, "body", "seat")
    for x in (4, 68):
        sketch.limb([(x, 74), (x, foot)], thick + 1, thick - 1, legs, LEG)


def _chair_from_side(sketch: Sketch, rng: np.random.Generator, legs: Paint) -> None:
    slant, thick, foot = rng.uniform(-8, 2), rng.uniform(9, 12), rng.uniform(96, 110)
    far: Paint = "deep" if legs == "dark" else legs
    sketch.limb([(19, 60), (17, foot - 4)], thick, thick - 2, far, LEG)
    sketch.limb([(53, 60), (56, foot - 4)], thick, thick - 2, far, LEG)
    sketch.limb([(slant, rng.uniform(-6, 6)), (8, 56)], rng.uniform(10, 15), 12)
    sketch.box(2, 52, 64, 64, "body", "seat", rounding=4)
    sketch.limb([(8, 64), (4, foot)], thick + 1, thick - 1, legs, LEG)
    sketch.limb([(58, 64), (62, foot)], thick + 1, thick - 1, legs, LEG)
    if rng.random() < 0.4:
        sketch.limb([(8, 36), (44, 36), (46, 54)], 7, paint="dark")


def sofa(sketch: Sketch, rng: np.random.Generator) -> None:
    """From the front: back, arms, cushions, short legs."""
    wide, back, arm, foot = rng.uniform(112, 145), rng.uniform(0, 14), rng.uniform(15, 21), rng.uniform(90, 98)
    legs: Paint = (WOOD, TYRE, "deep")[rng.integers(3)]
    for x in (arm / 2, wide - arm / 2):
        sketch.polygon([(x - 8, 70), (x + 8, 70), (x + 6, foot), (x - 6, foot)], legs, LEG)
    sketch.box(4, back, wide - 4, 60, "dark", rounding=rng.uniform(5, 16))
    edges = np.linspace(arm - 1, wide - arm + 1, int(rng.integers(3, 5)))  # of two or three cushions
    for left, right in pairwise(edges):
        sketch.box(left + 0.6, back + 6, right - 0.6, 52, "body", rounding=5)
    sketch.box(arm - 2, 60, wide - arm + 2, 77, "dark")
    for left, right in pairwise(edges):
        sketch.box(left + 0.6, 43, right - 0.6, 64, "light", "seat", rounding=5)
    height = rng.uniform(22, 34)
    for left, right in ((0, arm), (wide - arm, wide)):
        sketch.box(left, height, right, 77, "body", rounding=rng.uniform(4, 9))


def bench(sketch: Sketch, rng: np.random.Generator) -> None:
    """A park bench from the front: wide slats and sturdy legs."""
    wide, legs = rng.uniform(110, 150), (TYRE, STEEL, "deep")[rng.integers(3)]
    slats, height, foot = int(rng.integers(1, 4)), rng.uniform(10, 14), rng.uniform(36, 46)
    seat = slats * (height + 2.5) + 5
    for x in (14, wide - 14) if rng.random() < 0.7 else (12, wide / 2, wide - 12):
        sketch.box(x - 4, 2, x + 4, seat + 6, legs)
        sketch.limb([(x - 3, seat + 8), (x - 7, seat + foot)], 8.5, paint=legs, part=LEG)
        sketch.limb([(x + 3, seat + 8), (x + 7, seat + foot)], 8.5, paint=legs, part=LEG)
    for row in range(slats):
        sketch.box(0, row * (height + 2.5), wide, row * (height + 2.5) + height, rounding=2)
    sketch.polygon([(2, seat), (wide - 2, seat), (wide + 4, seat + 9), (-4, seat + 9)], "light", "seat")
    sketch.box(-4, seat + 9, wide + 4, seat + 16, "body", "seat")
    if rng.random() < 0.4:
        for x in (2, wide - 2):
            sketch.limb([(x, seat - 12), (x, seat + 6)], 7, paint=legs)


def table(sketch: Sketch, rng: np.random.Generator) -> None:
    """Four legs under a board, or one foot under a round one; nothing above the top."""
    wide, tall = rng.uniform(80, 125), rng.uniform(50, 72)
    legs: Paint = ("dark", WOOD, "body")[rng.integers(3)]
    if rng.random() < 0.3:
        sketch.limb([(wide / 2, 12), (wide / 2, tall - 4)], 12, paint=legs, part=LEG)
        sketch.turned(
            [(5, tall - 12), (10, tall - 6), (24, tall - 2), (25, tall + 3), (0, tall + 4)], wide / 2, legs, LEG
        )
        sketch.ellipse(wide / 2, 14, wide / 2, 12, "dark")
        sketch.ellipse(wide / 2, 9, wide / 2, 12, "body")
        return
    depth, thick = rng.uniform(10, 18), rng.uniform(9, 13)
    for x in (20, wide - 20):
        sketch.box(x - thick * 0.4, depth, x + thick * 0.4, tall - 12, "deep", LEG)
    for x in (thick * 0.7, wide - thick * 0.7):
        sketch.limb([(x, depth + 6), (x, tall)], thick, thick * 0.75, legs, LEG)
    sketch.polygon([(12, 0), (wide - 12, 0), (wide, depth), (0, depth)], "body")
    sketch.box(0, depth, wide, depth + rng.uniform(6, 11), "dark")


def cupboard(sketch: Sketch, rng: np.random.Generator) -> None:
    """A tall box with doors or drawers, their knobs, and the side at a slant."""
    wide, tall, deep = rng.uniform(52, 84), rng.uniform(84, 112), rng.uniform(6, 14)
    for x in (7, wide - 7):
        sketch.box(x - 5, tall - 2, x + 5, tall + 8, "deep")
    sketch.polygon([(wide, 0), (wide + deep, -deep * 0.7), (wide + deep, tall - deep * 0.6), (wide, tall)], "deep")
    sketch.polygon([(0, 0), (deep, -deep * 0.7), (wide + deep, -deep * 0.7), (wide, 0)], "light")
    sketch.box(0, 0, wide, tall, "dark")
    knob: Paint = (TYRE, STEEL, (214, 180, 96))[rng.integers(3)]
    split = tall if (kind := rng.integers(3)) == 0 else (0 if kind == 1 else tall * 0.6)
    middle = wide / 2
    if split > 0:
        for left, right, x in ((4, middle - 1, middle - 6), (middle + 1, wide - 4, middle + 6)):
            sketch.box(left, 4, right, split - 4, "body", rounding=1.5)
            sketch.ellipse(x, split * 0.5, 2.6, 6, knob)
    if split < tall:
        edges = np.linspace(2, tall - 2, 5) if split == 0 else np.linspace(split - 2, tall - 2, 3)
        for top, bottom in pairwise(edges):
            sketch.box(4, top + 2, wide - 4, bottom - 1, "body", rounding=1.5)
            for x in (wide * 0.28, wide * 0.72):
                sketch.ellipse(x, (top + bottom) / 2, 3.5, 3.5, knob)


def lamp(sketch: Sketch, rng: np.random.Generator) -> None:
    """A shade on a stem: a table lamp, a tall floor lamp, or a desk lamp with a bent arm."""
    stem: Paint = (TYRE, STEEL, WOOD)[rng.integers(3)]
    kind = rng.random()
    if kind < 0.3:
        sketch.box(4, 92, 50, 100, stem, rounding=4)
        sketch.limb([(26, 94), (10, 52), (52, 22)], 7, paint=stem)
        sketch.polygon([(42, 6), (62, 14), (88, 54), (34, 44)], "body", "lampshade")
        sketch.ellipse(60, 49, 27, 6, (255, 240, 170), turn=11)
        return
    tall = rng.uniform(84, 100) if kind < 0.65 else rng.uniform(120, 150)
    top, bottom, height = rng.uniform(14, 24), rng.uniform(32, 40), rng.uniform(36, 46)
    sketch.limb([(0, height - 4), (0, tall - 4)], rng.uniform(7, 9), paint=stem)
    if kind < 0.65 and rng.random() < 0.6:
        sketch.turned([(5, height), (16, height + 16), (17, tall - 16), (10, tall - 4)], 0, "dark")
    sketch.turned([(4, tall - 10), (20, tall - 4), (24, tall)], 0, stem, smooth=False)
    sketch.polygon([(-top, 0), (top, 0), (bottom, height), (-bottom, height)], "body", "lampshade")
    sketch.box(-bottom, height - 4, bottom, height, "light", "lampshade")
