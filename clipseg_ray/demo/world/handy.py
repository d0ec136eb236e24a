"""Things one takes in hand or puts on: knives, scissors, hats, books."""

from __future__ import annotations

import numpy as np

from clipseg_ray.demo.world.colours import PAPER, STEEL, TYRE
from clipseg_ray.demo.world.sketch import Paint, Sketch


def knife(sketch: Sketch, rng: np.random.Generator) -> None:
    """A coloured handle and a broad steel blade with its point to the right."""
    grip, wide = rng.uniform(36, 46), rng.uniform(17, 24)
    kind = rng.integers(3)
    wide *= (1, 1, 1.35)[kind]
    blade = (
        [(grip, 0), (86, 0), (100, 5), (92, wide * 0.8), (74, wide), (grip, wide)],
        [(grip, 2), (84, 0), (104, wide * 0.35), (84, wide * 0.85), (grip, wide)],
        [(grip, -2), (100, -2), (100, wide - 3), (97, wide), (grip, wide)],
    )[kind]
    sketch.polygon(blade, STEEL, "blade")
    sketch.polygon([(grip, wide * 0.72), (88, wide * 0.72), (78, wide), (grip, wide)], (222, 226, 230), "blade")
    sketch.box(-2, -1, grip + 3, 15, "body", "handle", rounding=6)
    for x in (8, grip / 2, grip - 8):
        sketch.ellipse(x, 7, 2.2, 2.2, "light", "handle")


def scissors(sketch: Sketch, rng: np.random.Generator) -> None:
    """Two blades crossing at a screw, two big coloured rings."""
    angle, thick = np.radians(rng.uniform(8, 24)), rng.uniform(8, 10)
    for side in (-1, 1):
        cos, sin = float(np.cos(angle)), float(np.sin(angle)) * side

        def at(along: float, across: float, cos: float = cos, sin: float = sin) -> tuple[float, float]:
            return along * cos - across * sin, along * sin + across * cos

        steel = STEEL if side < 0 else (206, 210, 216)
        sketch.polygon([at(-8, -6), at(-8, 6), at(40, 6.5), at(64, side * -5)], steel, "blade")
        sketch.limb([at(-4, 0), at(-24, 2 * side)], 9, paint="body", part="handle")
        sketch.ring(*at(-38, -5 * side), 19, 14, thick, "body", "handle", turn=float(np.degrees(angle)) * side)
    sketch.ellipse(0, 0, 3.6, 3.6, TYRE)


def hat(sketch: Sketch, rng: np.random.Generator) -> None:
    """A top hat, a broad sun hat or a peaked cap."""
    band: Paint = (TYRE, PAPER, "deep")[rng.integers(3)]
    kind = rng.integers(3)
    if kind == 0:
        tall, half = rng.uniform(44, 60), rng.uniform(27, 33)
        sketch.ellipse(0, 0, 52, 9, "dark")
        sketch.turned([(half * 1.08, -tall), (half, -tall * 0.5), (half, 2)])
        sketch.ellipse(0, -tall, half * 1.08, 6, "light")
        sketch.turned([(half + 0.5, -16), (half + 0.5, -1)], 0, band, smooth=False)
    elif kind == 1:
        tall, half = rng.uniform(26, 34), rng.uniform(24, 29)
        sketch.ellipse(0, 2, 54, 13, "body")
        sketch.ellipse(0, 0, half + 2, 6, "deep")
        sketch.turned([(8, -tall), (half * 0.8, -tall + 4), (half, -tall * 0.5), (half + 1, 1)])
        sketch.turned([(half + 0.4, -10), (half + 1.2, 1)], 0, band, smooth=False)
    else:
        sketch.blob([(22, -12), (50, -8), (68, 2), (60, 8), (30, 3)], "dark")
        sketch.blob([(-34, 2), (-32, -24), (-12, -42), (10, -42), (30, -24), (34, 2), (0, 6)], "body")
        sketch.curve([(0, -43), (6, -20), (6, 2)], 2.4, paint="deep")
        sketch.ellipse(0, -43, 5, 3.5, "deep")


def book(sketch: Sketch, rng: np.random.Generator) -> None:
    """Shut, at a slant so that the pages show, or standing open with its covers to us."""
    title: Paint = (PAPER, "light", (226, 196, 110))[rng.integers(3)]
    wide, tall, thick = rng.uniform(52, 68), rng.uniform(72, 90), rng.uniform(9, 16)
    if rng.random() < 0.6:
        sketch.polygon([(0, 0), (thick, -thick * 0.7), (wide + thick, -thick * 0.7), (wide, 0)], PAPER)
        sketch.polygon(
            [(wide, 0), (wide + thick, -thick * 0.7), (wide + thick, tall - thick * 0.7), (wide, tall)], (226, 220, 204)
        )
        for share in (0.35, 0.7):
            x = wide + thick * share
            sketch.limb([(x, -thick * 0.7 * share), (x, tall - thick * 0.7 * share)], 0.9, paint=(180, 174, 160))
        sketch.box(0, 0, wide, tall, "body", rounding=1)
        sketch.box(0, 0, 9, tall, "deep")
        sketch.box(18, tall * 0.16, wide - 8, tall * 0.32, title)
        sketch.box(24, tall * 0.42, wide - 14, tall * 0.47, title)
        return
    rise = rng.uniform(6, 12)
    for side in (-1, 1):
        sketch.polygon([(0, 4), (side * (wide - 3), 4 - rise), (side * (wide - 3), tall - rise), (0, tall - 4)], PAPER)
        sketch.polygon(
            [(side * 4, 8), (side * wide, 8 - rise), (side * wide, tall + 4 - rise), (side * 4, tall + 4)], "body"
        )
        sketch.polygon(
            [
                (side * 16, 20),
                (side * (wide - 10), 20 - rise * 0.8),
                (side * (wide - 10), 34 - rise * 0.8),
                (side * 16, 34),
            ],
            title,
        )
    sketch.box(-5, 7, 5, tall + 5, "deep")
