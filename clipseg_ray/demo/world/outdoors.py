"""Trees, houses and umbrellas: what one stands under."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from clipseg_ray.demo.world.colours import NIGHT_PANE, PANE, TYRE, WOOD
from clipseg_ray.demo.world.sketch import RGB, Paint, Sketch

_ROOFS: tuple[RGB, ...] = ((92, 60, 50), (74, 78, 88), (52, 52, 56), (132, 88, 66))


def tree(sketch: Sketch, rng: np.random.Generator) -> None:
    """A broad crown of leaves, or a fir in tiers, on a brown trunk."""
    bark, tall = (WOOD, (92, 66, 46), (134, 104, 76))[rng.integers(3)], rng.uniform(84, 104)
    if rng.random() < 0.3:
        sketch.box(-8, tall - 24, 8, tall, bark, "trunk")
        tiers = int(rng.integers(3, 5))
        for row in range(tiers)[::-1]:
            top = row * (tall - 24) / tiers * 0.82
            half = 14 + 22 * (row + 1) / tiers
            bottom = top + (tall - 12) / tiers + 6
            sketch.polygon([(0, top - 8), (half, bottom), (-half, bottom)], "body" if row % 2 else "dark", "crown")
        return
    half = rng.uniform(8, 11)
    sketch.polygon([(-half * 0.8, 40), (half * 0.8, 40), (half * 1.5, tall), (-half * 1.5, tall)], bark, "trunk")
    sketch.limb([(0, 62), (20, 40)], 7, paint=bark, part="trunk")
    wide, count = rng.uniform(26, 38), int(rng.integers(5, 8))
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.uniform(0, 1)
    radii = rng.uniform(17, 22, count)
    discs = [
        (float(wide * 0.8 * np.cos(angle)), float(24 + 22 * np.sin(angle)), radius, radius)
        for angle, radius in zip(angles, radii, strict=True)
    ]
    sketch.discs([*discs, (0, 24, wide * 0.9, 26)], "body", "crown")
    for _ in range(4):
        x, y = rng.uniform(-wide * 0.7, wide * 0.7), rng.uniform(8, 40)
        sketch.ellipse(x, y, rng.uniform(5, 8), rng.uniform(4, 6), ("dark", "light")[rng.integers(2)], "crown")


def house(sketch: Sketch, rng: np.random.Generator) -> None:
    """Walls, a steep roof, windows, a door and often a chimney."""
    wide, floors = rng.uniform(64, 100), int(rng.integers(1, 3))
    tall, peak = 26 * floors + rng.uniform(10, 18), rng.uniform(26, 40)
    roof, pane = _ROOFS[rng.integers(len(_ROOFS))], (PANE, NIGHT_PANE, (250, 226, 140))[rng.integers(3)]
    if rng.random() < 0.6:
        x = wide * rng.choice((0.24, 0.74))
        sketch.box(x - 5, -peak - 4, x + 5, -4, "deep")
    sketch.box(0, -1, wide, tall, "body")
    if rng.random() < 0.55:
        sketch.polygon([(-7, 1), (wide / 2, -peak), (wide + 7, 1)], roof, "roof")
    else:
        inset = rng.uniform(6, 18)
        sketch.polygon([(-7, 1), (inset, -peak * 0.8), (wide - inset, -peak * 0.8), (wide + 7, 1)], roof, "roof")
    columns = 3 if wide > 74 else 2
    places = np.linspace(wide * 0.2, wide * 0.8, columns)
    door = int(rng.integers(columns))
    for floor in range(floors):
        for column, x in enumerate(places):
            top = tall - 26 * (floor + 1) + 3
            if floor == 0 and column == door:
                sketch.box(x - 7.5, tall - 25, x + 7.5, tall, (WOOD, "deep")[rng.integers(2)])
                continue
            sketch.box(x - 8.5, top - 1, x + 8.5, top + 17, PANE if pane == NIGHT_PANE else TYRE, "building window")
            sketch.box(x - 7, top + 0.5, x + 7, top + 15.5, pane, "building window")
            sketch.box(x - 0.8, top, x + 0.8, top + 16, TYRE, "building window")


def umbrella(sketch: Sketch, rng: np.random.Generator) -> None:
    """An open umbrella: a scalloped canopy in segments, a stick and a hooked handle."""
    tall, foot, segments = rng.uniform(34, 48), rng.uniform(74, 92), int(rng.integers(4, 7))
    stick: Paint = (TYRE, WOOD)[rng.integers(2)]
    sketch.limb([(0, -tall - 6), (0, foot - 10)], 5.5, paint=stick)
    sketch.curve(
        [(0, foot - 24), (0, foot - 4), (6, foot + 3), (14, foot + 1), (16, foot - 7)], 10, paint=WOOD, part="handle"
    )
    edges = np.linspace(-50, 50, segments + 1)
    for number, (left, right) in enumerate(pairwise(edges)):

        def side(x: float) -> list[tuple[float, float]]:
            angles = np.linspace(np.pi / 2, 0, 8)
            return [(x * float(np.cos(angle)), -tall * float(np.sin(angle))) for angle in angles]

        hem = [(float(x), -6 * float(np.sin(np.pi * (x - left) / (right - left)))) for x in np.linspace(left, right, 7)]
        sketch.polygon([*side(left), *hem, *side(right)[::-1]], "body" if number % 2 else "dark")
