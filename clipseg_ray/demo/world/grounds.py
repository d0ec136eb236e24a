"""What lies behind the objects: rooms, landscapes, walls and textures. None of it is an object of the vocabulary."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from clipseg_ray.demo.world.colours import muted, rgb
from clipseg_ray.demo.world.sketch import RGB

_SAMPLES = 2  # a side of each pixel; edges of the ground are smoothed less than those of objects


def ground(rng: np.random.Generator, side: int) -> tuple[str, np.ndarray]:
    """One ground's name and its pixels, float32 [side, side, 3], 0…255."""
    name = list(GROUNDS)[rng.integers(len(GROUNDS))]
    canvas = Image.new("RGB", (side * _SAMPLES, side * _SAMPLES), muted(rng))
    GROUNDS[name](_Pen(canvas), rng)
    pixels = np.asarray(canvas.reduce(_SAMPLES)).astype(np.float32)
    pixels += _cloud(rng, side, int(rng.integers(4, 40)))[..., None] * np.float32(rng.uniform(4, 16))
    return name, pixels


class _Pen:
    """Draws in shares of the side: (0, 0) is the upper left corner, (1, 1) the lower right."""

    def __init__(self, canvas: Image.Image) -> None:
        self._draw = ImageDraw.Draw(canvas)
        self._side = canvas.width

    def polygon(self, points: list[tuple[float, float]], colour: RGB) -> None:
        self._draw.polygon([value * self._side for point in points for value in point], colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: RGB) -> None:
        if right > left and bottom > top:
            self._draw.rectangle([value * self._side for value in (left, top, right, bottom)], colour)

    def oval(self, x: float, y: float, across: float, down: float, colour: RGB) -> None:
        self._draw.ellipse([value * self._side for value in (x - across, y - down, x + across, y + down)], colour)

    def line(self, points: list[tuple[float, float]], width: float, colour: RGB) -> None:
        self._draw.line([value * self._side for point in points for value in point], colour, round(width * self._side))


def _cloud(rng: np.random.Generator, side: int, cells: int) -> np.ndarray:
    """Smooth noise, float32 [side, side], about −1…1, with ``cells`` bumps a side."""
    coarse = Image.fromarray(rng.uniform(-1, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))


def _near(rng: np.random.Generator, colour: RGB, spread: float) -> RGB:
    """``colour``, a little lighter or darker."""
    factor = 1 + rng.uniform(-spread, spread)
    red, green, blue = (min(255, int(value * factor)) for value in colour)
    return red, green, blue


def _fade(pen: _Pen, top: RGB, bottom: RGB, start: float, stop: float) -> None:
    """Horizontal bands from one colour to the other."""
    bands = 24
    for band in range(bands):
        share = band / (bands - 1)
        red, green, blue = (int(a + (b - a) * share) for a, b in zip(top, bottom, strict=True))
        low = start + (stop - start) * band / bands
        pen.box(0, low, 1, start + (stop - start) * (band + 1) / bands, (red, green, blue))


def _heaven(pen: _Pen, rng: np.random.Generator, horizon: float) -> None:
    hue = rng.uniform(198, 214)
    evening = rng.random() < 0.2
    top = rgb(hue, rng.uniform(18, 42), rng.uniform(82, 96))
    bottom = rgb(28 if evening else hue, rng.uniform(8, 26), 96)
    _fade(pen, top, bottom, 0, horizon)
    for _ in range(rng.integers(0, 5)):
        x, y, size = rng.uniform(0, 1), rng.uniform(0, horizon * 0.7), rng.uniform(0.03, 0.08)
        white = _near(rng, (240, 242, 246), 0.05)
        for _ in range(5):
            pen.oval(
                x + rng.uniform(-1.8, 1.8) * size, y + rng.uniform(-0.4, 0.4) * size, size * 1.2, size * 0.7, white
            )


def _room(pen: _Pen, rng: np.random.Generator) -> None:
    """A papered wall with frames, a skirting board and a floor of boards or with a rug."""
    wall, floor, edge = (
        muted(rng, (62, 94)),
        rgb(rng.uniform(20, 38), rng.uniform(18, 45), rng.uniform(42, 78)),
        rng.uniform(0.5, 0.8),
    )
    pen.box(0, 0, 1, edge, wall)
    if rng.random() < 0.5:
        stripe, step = _near(rng, wall, 0.04), rng.uniform(0.04, 0.12)
        for x in np.arange(0, 1, step):
            pen.box(x, 0, x + step / 2, edge, stripe)
    for _ in range(rng.integers(0, 4)):
        x, y, wide, tall = rng.uniform(0, 0.9), rng.uniform(0.02, 0.3), rng.uniform(0.08, 0.24), rng.uniform(0.08, 0.2)
        pen.box(x, y, x + wide, y + tall, muted(rng, (25, 60)))
        pen.box(x + 0.014, y + 0.014, x + wide - 0.014, y + tall - 0.014, muted(rng))
        pen.polygon(
            [(x + 0.02, y + tall - 0.02), (x + wide / 2, y + tall / 2), (x + wide - 0.02, y + tall - 0.02)], muted(rng)
        )
    pen.box(0, edge, 1, 1, floor)
    if rng.random() < 0.6:
        for x in np.linspace(-1.2, 2.2, int(rng.integers(14, 26))):
            pen.line([(0.5 + (x - 0.5) * 0.6, edge), (x, 1)], 0.003, _near(rng, floor, 0.2))
    if rng.random() < 0.5:
        x, y, size = rng.uniform(0.2, 0.8), rng.uniform(edge + 0.06, 0.98), rng.uniform(0.2, 0.4)
        pen.oval(x, y, size, size * 0.25, muted(rng))
        pen.oval(x, y, size * 0.8, size * 0.19, muted(rng))
    pen.box(0, edge - 0.025, 1, edge, _near(rng, (236, 232, 226), 0.06))


def _meadow(pen: _Pen, rng: np.random.Generator) -> None:
    """Sky, hills, grass with tufts and flowers."""
    edge = rng.uniform(0.25, 0.6)
    _heaven(pen, rng, edge)
    for _ in range(rng.integers(0, 3)):
        pen.oval(
            rng.uniform(0, 1),
            edge + 0.04,
            rng.uniform(0.3, 0.7),
            rng.uniform(0.06, 0.2),
            rgb(rng.uniform(95, 160), 22, 66),
        )
    grass = rgb(rng.uniform(70, 98), rng.uniform(28, 46), rng.uniform(52, 72))
    _fade(pen, grass, _near(rng, grass, 0.2), edge, 1)
    for x, y in rng.uniform((0, edge), (1, 1), (int(rng.integers(30, 90)), 2)):
        size = 0.012 + 0.03 * (y - edge)
        pen.polygon(
            [(x - size * 0.4, y), (x + rng.uniform(-0.5, 0.5) * size, y - 2 * size), (x + size * 0.4, y)],
            _near(rng, grass, 0.22),
        )
    for x, y in rng.uniform((0, edge + 0.03), (1, 1), (int(rng.integers(0, 30)), 2)):
        pen.oval(x, y, 0.006, 0.006, (244, 236, 214) if rng.random() < 0.6 else muted(rng))


def _street(pen: _Pen, rng: np.random.Generator) -> None:
    """A plain wall or the sky, a kerb, a road with dashes, posts."""
    edge = rng.uniform(0.4, 0.65)
    if rng.random() < 0.5:
        _heaven(pen, rng, edge)
        x = -0.1
        while x < 1:
            wide = rng.uniform(0.1, 0.3)
            pen.box(x, edge - rng.uniform(0.06, 0.3), x + wide, edge, muted(rng, (60, 85)))
            x += wide
    else:
        pen.box(0, 0, 1, edge, muted(rng, (55, 88)))
        for y in np.arange(0, edge, rng.uniform(0.08, 0.2)):
            pen.box(0, y, 1, y + 0.006, muted(rng, (50, 80)))
    kerb = edge + rng.uniform(0.05, 0.14)
    pen.box(0, edge, 1, kerb, _near(rng, (172, 170, 164), 0.12))
    for x in np.arange(rng.uniform(0, 0.1), 1, 0.12):
        pen.line([(x, edge), (x - 0.02, kerb)], 0.003, (146, 144, 138))
    pen.box(0, kerb, 1, 1, _near(rng, (102, 104, 110), 0.2))
    pen.box(0, kerb, 1, kerb + 0.012, (206, 204, 198))
    y = (kerb + 1) / 2
    for x in np.arange(rng.uniform(-0.2, 0), 1, 0.26):
        pen.polygon([(x, y), (x + 0.14, y), (x + 0.15, y + 0.022), (x, y + 0.022)], (226, 224, 214))
    for _ in range(rng.integers(0, 3)):
        x = rng.uniform(0, 1)
        pen.box(x, rng.uniform(0, 0.2), x + 0.014, edge + 0.03, (92, 94, 98))


def _shore(pen: _Pen, rng: np.random.Generator) -> None:
    """Sky, sea with waves, perhaps a beach."""
    edge = rng.uniform(0.2, 0.5)
    _heaven(pen, rng, edge)
    sea = rgb(rng.uniform(186, 206), rng.uniform(32, 55), rng.uniform(58, 80))
    _fade(pen, sea, _near(rng, sea, 0.2), edge, 1)
    for _ in range(rng.integers(14, 40)):
        y = rng.uniform(edge + 0.02, 1)
        x, wide = rng.uniform(-0.1, 1), 0.03 + 0.14 * (y - edge)
        tip = [(x + wide * t, y - wide * 0.12 * np.sin(np.pi * t)) for t in (0, 0.25, 0.5, 0.75, 1)]
        pen.line(tip, 0.006, _near(rng, (206, 226, 234) if rng.random() < 0.4 else sea, 0.2))
    if rng.random() < 0.5:
        sand, y = rgb(rng.uniform(36, 46), rng.uniform(22, 36), rng.uniform(82, 94)), rng.uniform(0.72, 0.9)
        bumps = [(x, y + rng.uniform(-0.03, 0.03)) for x in np.linspace(0, 1, 7)]
        pen.polygon([*[(x, b - 0.015) for x, b in bumps], (1, 1), (0, 1)], (232, 240, 240))
        pen.polygon([*bumps, (1, 1), (0, 1)], sand)


def _sky(pen: _Pen, rng: np.random.Generator) -> None:
    """Nothing but sky and clouds."""
    _heaven(pen, rng, 1)
    for _ in range(rng.integers(0, 4)):
        x, y, size = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.05, 0.14)
        grey = _near(rng, (226, 230, 236), 0.08)
        for _ in range(7):
            pen.oval(x + rng.uniform(-2, 2) * size, y + rng.uniform(-0.5, 0.5) * size, size, size * 0.7, grey)


def _tiles(pen: _Pen, rng: np.random.Generator) -> None:
    """Square tiles of up to three tones in no order: alternating they would be a chequered surface."""
    count = int(rng.integers(4, 12))
    tones = [muted(rng, (60, 92)) for _ in range(rng.integers(1, 4))]
    gap, spread = rng.uniform(0.004, 0.012), rng.uniform(0.01, 0.08)
    for row in range(count):
        for column in range(count):
            colour = tones[rng.integers(len(tones))]
            left, top = column / count, row / count
            pen.box(left + gap, top + gap, left + 1 / count, top + 1 / count, _near(rng, colour, spread))


def _bricks(pen: _Pen, rng: np.random.Generator) -> None:
    """A brick wall."""
    rows = int(rng.integers(8, 16))
    tall = 1 / rows
    wide = tall * rng.uniform(1.9, 2.6)
    colour = rgb(rng.uniform(8, 28), rng.uniform(25, 46), rng.uniform(52, 78))
    for row in range(rows):
        for x in np.arange(-wide * (0.5 if row % 2 else 0), 1, wide):
            pen.box(x + 0.005, row * tall + 0.005, x + wide - 0.003, (row + 1) * tall - 0.003, _near(rng, colour, 0.1))


def _planks(pen: _Pen, rng: np.random.Generator) -> None:
    """Wooden boards with their grain."""
    rows = int(rng.integers(4, 9))
    colour = rgb(rng.uniform(24, 36), rng.uniform(25, 48), rng.uniform(52, 84))
    for row in range(rows):
        board = _near(rng, colour, 0.1)
        pen.box(0, row / rows, 1, (row + 1) / rows - 0.006, board)
        for _ in range(4):
            y = (row + rng.uniform(0.1, 0.9)) / rows
            ways = [(x, y + rng.uniform(-0.006, 0.006)) for x in np.linspace(0, 1, 6)]
            pen.line(ways, 0.003, _near(rng, board, 0.16))
        x = rng.uniform(0, 1)
        pen.box(x, row / rows, x + 0.006, (row + 1) / rows, _near(rng, colour, 0.3))


def _shapes(pen: _Pen, rng: np.random.Generator) -> None:
    """Overlapping triangles, discs and bars in faint colours."""
    for _ in range(rng.integers(8, 22)):
        x, y, size = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.06, 0.3)
        colour = muted(rng, (55, 92))
        kind = rng.integers(3)
        if kind == 0:
            pen.oval(x, y, size, size, colour)
        elif kind == 1:
            pen.polygon(np.add(rng.uniform(-size, size, (3, 2)), (x, y)).tolist(), colour)
        else:
            pen.line([(x, y), (x + rng.uniform(-1, 1), y + rng.uniform(-1, 1))], rng.uniform(0.01, 0.08), colour)


def _plaster(pen: _Pen, rng: np.random.Generator) -> None:
    """Rough plaster: many faint blots."""
    colour = muted(rng, (55, 90))
    pen.box(0, 0, 1, 1, colour)
    for x, y in rng.uniform(0, 1, (int(rng.integers(60, 160)), 2)):
        pen.oval(x, y, rng.uniform(0.005, 0.05), rng.uniform(0.005, 0.03), _near(rng, colour, 0.09))


def _hills(pen: _Pen, rng: np.random.Generator) -> None:
    """Dunes or snowy hills under the sky."""
    _heaven(pen, rng, 0.6)
    snow = rng.random() < 0.5
    for row in range(4):
        y = 0.35 + row * 0.16
        colour = rgb(210 if snow else 36, rng.uniform(2, 9) if snow else rng.uniform(26, 40), rng.uniform(78, 94))
        ridge = [(x, y + rng.uniform(-0.08, 0.08)) for x in np.linspace(0, 1, int(rng.integers(4, 8)))]
        pen.polygon([*ridge, (1, 1), (0, 1)], colour)


def _weave(pen: _Pen, rng: np.random.Generator) -> None:
    """Cloth of crossing bands, faint: bold ones would be a chequered surface."""
    colour = muted(rng, (60, 90))
    pen.box(0, 0, 1, 1, colour)
    step, one, other = rng.uniform(0.05, 0.14), _near(rng, colour, 0.1), _near(rng, colour, 0.1)
    for place in np.arange(0, 1, step):
        pen.box(place, 0, place + step * 0.45, 1, one)
    for place in np.arange(0, 1, step):
        pen.box(0, place, 1, place + step * 0.22, other)


GROUNDS: dict[str, Callable[[_Pen, np.random.Generator], None]] = {
    "room": _room,
    "meadow": _meadow,
    "street": _street,
    "shore": _shore,
    "sky": _sky,
    "tiles": _tiles,
    "bricks": _bricks,
    "planks": _planks,
    "shapes": _shapes,
    "plaster": _plaster,
    "hills": _hills,
    "cloth": _weave,
}
