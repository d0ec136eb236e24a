"""Things that are no object of the vocabulary: stones, crates, stars, rings, sticks, balls, in colours of no name."""

from __future__ import annotations

import numpy as np

from clipseg_ray.demo.world.colours import muted
from clipseg_ray.demo.world.sketch import Sketch


def thing(sketch: Sketch, rng: np.random.Generator) -> None:
    """Draw one of them."""
    kind = rng.integers(8)
    one, other = muted(rng, (30, 90)), muted(rng, (30, 90))
    if kind == 0:
        angles = np.linspace(0, 2 * np.pi, 9, endpoint=False)
        radii = rng.uniform(30, 50, 9)
        sketch.polygon(np.stack([radii * np.cos(angles), 0.7 * radii * np.sin(angles)], 1), one)
        sketch.polygon(np.stack([0.5 * radii * np.cos(angles) - 6, 0.3 * radii * np.sin(angles) - 8], 1), other)
    elif kind == 1:
        sketch.box(0, 0, 100, 100, one)
        sketch.box(10, 10, 90, 90, other)
        sketch.limb([(10, 10), (90, 90)], 8, paint=one)
    elif kind == 2:
        angles = np.linspace(0, 2 * np.pi, 10, endpoint=False)
        radii = np.where(np.arange(10) % 2, 22, 50)
        sketch.polygon(np.stack([radii * np.cos(angles), radii * np.sin(angles)], 1), one)
    elif kind == 3:
        sketch.ring(0, 0, 50, 50, rng.uniform(10, 24), one)
    elif kind == 4:
        way = np.cumsum(rng.uniform(-30, 40, (4, 2)), 0)
        sketch.limb([(float(x), float(y)) for x, y in way], rng.uniform(8, 16), paint=one)
    elif kind == 5:
        sketch.ellipse(0, 0, 50, 50, one)
        sketch.ellipse(-14, -16, 16, 16, other)
    elif kind == 6:
        sketch.polygon([(0, 0), (50, -86), (100, 0)], one)
        sketch.polygon([(22, -36), (32, -54), (68, -54), (78, -36)], other)
    else:
        sketch.box(36, 0, 64, 100, one)
        sketch.box(0, 36, 100, 64, one)


def bar(sketch: Sketch, rng: np.random.Generator) -> None:
    """A long post, for what stands in front of the objects."""
    colour = muted(rng, (30, 80))
    wide = rng.uniform(2, 5)
    sketch.box(0, 0, wide, 100, colour)
    sketch.box(0, 0, wide * 0.3, 100, muted(rng, (30, 80)))
