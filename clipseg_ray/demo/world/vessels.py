"""What holds a drink or a meal: bottles, cups, glasses, bowls, teapots."""

from __future__ import annotations

import numpy as np

from clipseg_ray.demo.world.colours import PAPER, TYRE
from clipseg_ray.demo.world.sketch import Sketch


def bottle(sketch: Sketch, rng: np.random.Generator) -> None:
    """A narrow neck with a cap on a long body, with or without a label."""
    half, neck = rng.uniform((22, 7), (27, 10)) if rng.random() < 0.3 else rng.uniform((15, 5.5), (20, 7.5))
    shoulder, slope = rng.uniform(22, 38), rng.uniform(6, 16)
    sketch.turned(
        [(neck, 6), (neck, shoulder - 6), (half * 0.75, shoulder + slope * 0.4), (half, shoulder + slope), (half, 96)],
        smooth=False,
    )
    sketch.box(-half, 90, half, 100, rounding=4)
    sketch.box(-neck - 1.5, 0, neck + 1.5, 10, ("deep", TYRE, PAPER)[rng.integers(3)], rounding=2)
    sketch.box(-half * 0.72, shoulder + slope + 3, -half * 0.45, 92, "light", rounding=2)
    if rng.random() < 0.6:
        top = rng.uniform(56, 64)
        sketch.box(-half, top, half, top + rng.uniform(16, 22), (PAPER, "light", "deep")[rng.integers(3)])


def cup(sketch: Sketch, rng: np.random.Generator) -> None:
    """A mug or a teacup with a big handle on its right."""
    top, bottom, tall = rng.uniform(30, 36), rng.uniform(18, 34), rng.uniform(56, 76)
    middle, reach = tall * 0.46, rng.uniform(17, 23)
    sketch.ring(top * 0.95, middle, reach, tall * 0.33, 9.5, "dark", "handle")
    if rng.random() < 0.3:
        sketch.ellipse(0, tall + 1, top * 1.5, 6, "light")
    if rng.random() < 0.5:
        sketch.turned([(top, 0), (top * 0.97, tall * 0.5), (bottom, tall * 0.92), (bottom * 0.8, tall)])
    else:
        bottom = top * rng.uniform(0.86, 1)
        sketch.turned([(top, 0), (bottom, tall - 4), (bottom - 5, tall)], smooth=False)
    sketch.ellipse(0, 0, top, top * 0.22, "light")
    sketch.ellipse(0, 0.8, top * 0.86, top * 0.16, ((92, 58, 36), "deep")[rng.integers(2)])


def glass(sketch: Sketch, rng: np.random.Generator) -> None:
    """A wine glass: bowl, stem and foot."""
    kind, half, stem = rng.integers(3), rng.uniform(20, 26), rng.uniform(30, 42)
    half *= (1, 1.1, 0.72)[kind]
    profile = (
        [(half * 0.8, 0), (half, 18), (half * 0.8, 36), (half * 0.3, 46), (2.8, 50)],
        [(half, 0), (half * 0.6, 22), (2.8, 46)],
        [(half * 0.85, 0), (half, 20), (half * 0.9, 44), (2.8, 58)],
    )[kind]
    bottom = profile[-1][1] - 2
    sketch.limb([(0, bottom - 4), (0, bottom + stem)], 6.5, paint="dark")
    sketch.turned(
        [(3, bottom + stem - 6), (half * 0.85, bottom + stem), (half * 0.85, bottom + stem + 4)], smooth=False
    )
    sketch.turned(profile, smooth=kind != 1)
    rim = profile[0][0]
    sketch.ellipse(0, 0, rim, 4, "light")
    sketch.ellipse(0, 0.6, rim * 0.84, 2.8, "deep")
    sketch.curve([(-rim * 0.62, 8), (-half * 0.64, 18), (-half * 0.45, 28)], 3.4, paint="light")


def bowl(sketch: Sketch, rng: np.random.Generator) -> None:
    """Half a sphere, wide open, on a small foot."""
    tall, rim = rng.uniform(34, 46), rng.uniform(6, 12)
    sketch.box(-17, tall - 4, 17, tall + 5, "dark", rounding=2)
    sketch.turned([(50, 0), (46, tall * 0.4), (32, tall * 0.82), (14, tall)])
    sketch.ellipse(0, 0, 50, rim, "light")
    sketch.ellipse(0, 1, 45, rim * 0.76, "deep")
    if rng.random() < 0.35:
        sketch.blob([(-40, 1), (-24, -7), (0, -10), (26, -6), (40, 1), (0, rim * 0.7)], PAPER)


def teapot(sketch: Sketch, rng: np.random.Generator) -> None:
    """A round belly with a lid, a spout on its right and a big handle on its left."""
    half, tall, spout = rng.uniform(29, 40), rng.uniform(44, 66), rng.uniform(-4, 10)
    middle = tall * 0.52
    sketch.ring(-half * 0.96, middle - 3, 22, tall * 0.4, 9.5, "dark", "handle")
    sketch.curve(
        [(half * 0.6, tall * 0.72), (half + 12, middle), (half + 17, spout + 7), (half + 27, spout)], 21, 9, "body"
    )
    sketch.blob(
        [
            (-half * 0.6, 3),
            (0, 0),
            (half * 0.6, 3),
            (half, middle),
            (half * 0.6, tall),
            (-half * 0.6, tall),
            (-half, middle),
        ]
    )
    sketch.box(-half * 0.5, tall - 2, half * 0.5, tall + 4, "dark", rounding=2)
    sketch.turned([(2, -13), (half * 0.45, -8), (half * 0.66, 4)], 0, "light")
    sketch.ellipse(0, -14, 6, 6, "dark")
