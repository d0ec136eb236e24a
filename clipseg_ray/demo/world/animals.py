"""Creatures: horses, dogs, cats, birds, ducks, fish, people; animals face right."""

from __future__ import annotations

import numpy as np

from clipseg_ray.demo.world.colours import BILL, EYE, PAPER, TYRE
from clipseg_ray.demo.world.sketch import RGB, Paint, Sketch

LEG, WING = "animal leg", "bird wing"
_SKINS: tuple[RGB, ...] = ((246, 208, 176), (224, 172, 132), (168, 112, 76), (106, 70, 48))
_HAIR: tuple[RGB, ...] = ((34, 28, 26), (86, 54, 32), (150, 100, 52), (218, 178, 96), (150, 148, 146))


def _eye(sketch: Sketch, x: float, y: float, radius: float = 2.4) -> None:
    sketch.ellipse(x, y, radius * 1.5, radius * 1.5, PAPER)
    sketch.ellipse(x + radius * 0.3, y, radius, radius, EYE)


def _legs(
    sketch: Sketch,
    rng: np.random.Generator,
    places: tuple[float, float],
    top: float,
    foot: float,
    width: float,
    gait: float,
) -> None:
    """Four legs, the far pair darker, swung by up to ``gait`` at the foot."""
    for paint, shift in (("deep", 7.0), ("body", 0.0)):
        for x in places:
            swing = rng.uniform(-gait, gait)
            if paint == "deep" and abs(swing + shift) < 4:
                swing = 4.0 if swing + shift > 0 else -12.0
            knee = (x + shift + swing * 0.35, (top + foot) / 2)
            ankle = (x + shift + swing, foot)
            sketch.limb([(x + shift, top), knee, ankle], width * 1.25, width, paint, LEG)


def horse(sketch: Sketch, rng: np.random.Generator) -> None:
    """A long face on a strong neck with a mane, high legs, a hanging tail."""
    hair: Paint = ("deep", EYE, PAPER)[rng.integers(3)]
    gait, belly = rng.uniform(2, 14), rng.uniform(42, 50)
    _legs(sketch, rng, (18, 66), 38, rng.uniform(78, 94), rng.uniform(8, 11), gait)
    sketch.curve([(8, 18), (-8, 26), (-12, 44), (-8, 62)], 9, 15, hair, "tail")
    sketch.blob(
        [(6, 16), (30, 14), (56, 13), (76, 18), (80, 34), (66, belly), (34, belly - 2), (12, 42), (3, 30)], "body"
    )
    head = (rng.uniform(94, 104), rng.uniform(-26, -12)) if rng.random() < 0.75 else (106.0, rng.uniform(0, 12))
    muzzle = (head[0] + 15, head[1] + 19)
    sketch.limb([(70, 26), (head[0] - 5, head[1] + 4)], 30, 17)
    for x in (-9, 1):
        sketch.polygon(
            [(head[0] + x - 6, head[1] - 3), (head[0] + x - 1, head[1] - 25), (head[0] + x + 7, head[1] - 2)],
            "dark",
            "ear",
        )
    sketch.limb([head, muzzle], 17, 12)
    sketch.ellipse(*muzzle, 6.5, 6, "dark")
    sketch.curve([(head[0] - 2, head[1] - 9), (head[0] - 16, head[1] + 6), (66, 12)], 8, 10, hair)
    _eye(sketch, head[0] + 3, head[1] + 1)


def dog(sketch: Sketch, rng: np.random.Generator) -> None:
    """A long muzzle with a black nose, big hanging ears, a tail held up; standing or sitting."""
    ear: Paint = ("deep", "dark")[rng.integers(2)]
    if rng.random() < 0.7:
        long, foot = rng.uniform(54, 84), rng.uniform(60, 82)
        sketch.curve([(6, 22), (-8, 14), (-12, rng.uniform(-16, 0))], 11, 8, "dark", "tail")
        _legs(sketch, rng, (12, long - 8), 36, foot, rng.uniform(9, 12), rng.uniform(1, 11))
        sketch.blob(
            [(4, 16), (long * 0.5, 18), (long, 14), (long + 6, 30), (long - 4, 44), (long * 0.5, 42), (8, 42), (0, 30)],
            "body",
        )
        x, y = long + 8, 4.0
        sketch.limb([(long - 4, 24), (x - 2, y + 4)], 24, 20)
    else:
        sketch.curve([(6, 76), (-12, 74), (-22, rng.uniform(44, 64))], 11, 8, "dark", "tail")
        sketch.limb([(46, 46), (50, 82)], 12, 11, "deep", LEG)
        sketch.blob([(34, 14), (56, 20), (58, 44), (44, 78), (14, 84), (2, 70), (10, 44)], "body")
        sketch.ellipse(22, 80, 18, 8, "dark", LEG)
        sketch.limb([(42, 40), (42, 82)], 13, 11, "body", LEG)
        sketch.ellipse(46, 83, 9, 5, "light", LEG)
        x, y = 50.0, 2.0
    sketch.ellipse(x, y, 18, 16, "body")
    sketch.limb([(x + 8, y + 5), (x + 26, y + 8)], 16, 12, "light")
    sketch.ellipse(x + 31, y + 5, 5, 4.2, EYE)
    sketch.blob([(x - 11, y - 16), (x - 1, y - 10), (x - 2, y + 13), (x - 11, y + 24), (x - 21, y + 10)], ear, "ear")
    _eye(sketch, x + 8, y - 4)


def cat(sketch: Sketch, rng: np.random.Generator) -> None:
    """A round face with two pointed ears and whiskers, a long curling tail; sitting or walking."""
    if rng.random() < 0.55:
        side = 1 if rng.random() < 0.5 else -1
        sketch.curve([(side * 16, 82), (side * 36, 82), (side * 42, 62), (side * 34, 46)], 10, 8, "dark", "tail")
        sketch.blob([(0, 24), (16, 34), (25, 66), (22, 88), (0, 91), (-22, 88), (-25, 66), (-16, 34)], "body")
        for x in (-8.0, 8.0):
            sketch.limb([(x, 60), (x, 86)], 11, paint="dark", part=LEG)
            sketch.ellipse(x, 87, 8, 5, "light", LEG)
        x, y = 0.0, 12.0
    else:
        long, foot = rng.uniform(58, 82), rng.uniform(62, 76)
        sketch.curve([(6, 28), (-10, 20), (-12, -4), (-4, -18)], 9, 8, "dark", "tail")
        _legs(sketch, rng, (10, long - 8), 38, foot, rng.uniform(9, 11), rng.uniform(1, 11))
        sketch.blob(
            [(4, 24), (long * 0.5, 20), (long, 22), (long + 4, 34), (long - 4, 46), (long * 0.5, 44), (6, 46), (0, 36)],
            "body",
        )
        x, y = long + 7, 14.0
    for s in (-1, 1):
        sketch.polygon([(x + s * 22, y + 1), (x + s * 21, y - 34), (x + s * 1, y - 13)], "body", "ear")
        sketch.polygon([(x + s * 18, y - 8), (x + s * 17.5, y - 25), (x + s * 7, y - 14)], (240, 170, 170), "ear")
    sketch.ellipse(x, y, 22, 18, "body")
    for s in (-1, 1):
        sketch.ellipse(x + s * 8.5, y - 3, 4.4, 4.6, (214, 222, 90))
        sketch.ellipse(x + s * 8.5, y - 3, 1.8, 4.2, EYE)
        sketch.limb([(x + s * 7, y + 8), (x + s * 27, y + 5)], 1.3, paint=TYRE)
        sketch.limb([(x + s * 7, y + 10), (x + s * 26, y + 12)], 1.3, paint=TYRE)
    sketch.ellipse(x, y + 8, 8, 6, "light")
    sketch.polygon([(x - 3, y + 4), (x + 3, y + 4), (x, y + 8)], (226, 120, 130))


def bird(sketch: Sketch, rng: np.random.Generator) -> None:
    """A small songbird: in flight with spread wings, or standing with a fanned tail."""
    if rng.random() < 0.55:
        lift, reach = rng.uniform(34, 50), rng.uniform(-4, 14)
        sketch.blob(
            [(40, 2), (60, 0), (62 - reach, -lift * 0.6), (46 - reach, -lift - 6), (36, -lift * 0.4)], "deep", WING
        )
        sketch.polygon([(16, 2), (-18, -8), (-24, 4), (-18, 14), (16, 12)], "dark", "tail")
        sketch.blob([(8, 6), (30, -6), (60, -8), (74, 0), (64, 14), (36, 18)], "body")
        sketch.ellipse(74, -6, 13, 12, "body")
        tip = lift if rng.random() < 0.3 else -lift
        sketch.blob(
            [(28, 2), (56, 0), (40 - reach, tip * 0.7), (14 - reach, tip * 1.25), (12, tip * 0.5)], "dark", WING
        )
        x, y = 74.0, -6.0
    else:
        for at in (34, 44):
            sketch.limb([(at, 36), (at + 2, 58), (at + 11, 60)], 4.5, paint=BILL, part=LEG)
        sketch.polygon([(12, 20), (-26, 30), (-28, 44), (14, 36)], "dark", "tail")
        sketch.blob([(4, 28), (22, 8), (50, -4), (66, 8), (62, 32), (40, 44), (16, 40)], "body")
        sketch.ellipse(60, -4, 16, 15, "body")
        sketch.blob([(8, 30), (24, 14), (44, 12), (46, 26), (30, 36)], "deep", WING)
        x, y = 60.0, -4.0
    beak = 16 if rng.random() < 0.5 else 22
    sketch.polygon([(x + 9, y - 5), (x + 9 + beak, y + 2), (x + 9, y + 6)], BILL)
    _eye(sketch, x + 4, y - 3, 2.6)


def duck(sketch: Sketch, rng: np.random.Generator) -> None:
    """A boat of a body with the tail turned up, a long neck, a broad flat bill; on orange feet or swimming."""
    if rng.random() < 0.6:
        for at in (34, 48):
            sketch.limb([(at, 46), (at + 1, 64)], 5.5, paint=BILL, part=LEG)
            sketch.polygon([(at - 3, 62), (at + 6, 62), (at + 14, 69), (at - 4, 69)], BILL, LEG)
    neck = rng.uniform(-34, -20)
    sketch.blob([(-6, 6), (8, 14), (40, 18), (66, 16), (78, 26), (70, 46), (42, 53), (12, 46), (0, 26)], "body")
    sketch.polygon([(-14, 0), (14, 14), (6, 32)], "dark", "tail")
    sketch.limb([(66, 28), (72, 8), (76, neck)], 22, 15)
    if rng.random() < 0.4:
        sketch.limb([(69, 6), (75, 6)], 13, paint=PAPER)
    sketch.ellipse(78, neck, 14.5, 13.5, "body")
    sketch.blob([(90, neck - 3), (108, neck + 1), (112, neck + 5), (106, neck + 8), (88, neck + 8)], BILL)
    sketch.blob([(14, 26), (34, 22), (58, 26), (52, 40), (28, 43)], "deep", WING)
    _eye(sketch, 82, neck - 4, 2.6)


def fish(sketch: Sketch, rng: np.random.Generator) -> None:
    """An oval with a forked tail and fins."""
    half, fork = rng.uniform(20, 32), rng.uniform(18, 26)
    sketch.polygon([(14, 0), (-22, -fork), (-12, 0), (-22, fork)], "dark", "tail")
    sketch.blob([(30, -half * 0.8), (44, -half - 13), (66, -half - 6), (72, -half * 0.6)], "dark")
    sketch.polygon([(42, half * 0.7), (32, half + 12), (60, half * 0.8)], "dark")
    sketch.blob(
        [
            (4, 0),
            (28, -half * 0.8),
            (58, -half),
            (86, -half * 0.55),
            (98, 2),
            (86, half * 0.6),
            (58, half),
            (28, half * 0.8),
        ],
        "body",
    )
    sketch.curve([(70, -half * 0.75), (64, 0), (70, half * 0.75)], 3, paint="deep")
    sketch.polygon([(58, 2), (38, -5), (38, 13)], "deep")
    sketch.ellipse(83, -half * 0.2, 5.5, 5.5, PAPER)
    sketch.ellipse(84, -half * 0.2, 3, 3, EYE)
    sketch.limb([(92, 8), (97, 6)], 2, paint=EYE)


def person(sketch: Sketch, rng: np.random.Generator) -> None:
    """From the front, in trousers or a dress of the person's colour; standing, walking or waving."""
    skin, hair = _SKINS[rng.integers(len(_SKINS))], _HAIR[rng.integers(len(_HAIR))]
    dress, foot_y = rng.random() < 0.35, rng.uniform(84, 98)
    trousers: Paint = skin if dress else ("deep", "dark", (52, 58, 78))[rng.integers(3)]
    if dress or rng.random() < 0.35:  # long hair
        sketch.blob([(-13, -20), (0, -31), (13, -20), (14, 4), (-14, 4)], hair)
    for side in (-1, 1):
        foot = side * rng.uniform(6, 24)
        sketch.limb(
            [(side * 6, 44), (foot, foot_y)], 14 if not dress else 11, 12 if not dress else 10, trousers, "person leg"
        )
        sketch.limb([(foot, foot_y + 3), (foot + 4 * side, foot_y + 3)], 9, paint=TYRE, part="person leg")
        lift = rng.choice((36.0, 30.0, 4.0, -24.0), p=(0.4, 0.2, 0.2, 0.2))
        elbow = (side * 23, 18.0 if lift > 0 else 6.0)
        hand = (side * (22 if lift > 20 else 34), lift)
        sketch.limb([(side * 13, 4), elbow, hand], 10, 8, "dark")
        sketch.ellipse(*hand, 5, 5, skin)
    if dress:
        sketch.polygon([(-14, 0), (14, 0), (11, 26), (24, 66), (-24, 66), (-11, 26)], "body")
    else:
        sketch.box(-16, -1, 16, 50, "body", rounding=6)
    sketch.limb([(0, -4), (0, 2)], 8, paint=skin)
    sketch.ellipse(0, -16, 12, 14, skin)
    sketch.blob([(-12.5, -16), (-11, -27), (0, -32), (11, -27), (12.5, -16), (6, -23), (-6, -23)], hair)
    for side in (-1, 1):
        sketch.ellipse(side * 4.5, -15, 1.6, 1.9, EYE)
    sketch.limb([(-3, -8), (3, -8)], 1.8, paint=(176, 70, 66))
