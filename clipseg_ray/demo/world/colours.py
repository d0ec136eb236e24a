"""The named colours, apart enough that a person names each one in any light the scenes have."""

from __future__ import annotations

import colorsys

import numpy as np

from clipseg_ray.demo.world.sketch import RGB, Paint

# Hue in degrees, saturation and value in percent: the range each colour is drawn from.
_RANGES: dict[str, tuple[tuple[int, int], tuple[int, int], tuple[int, int]]] = {
    "red": ((-8, 5), (78, 95), (70, 92)),
    "orange": ((22, 31), (85, 100), (92, 100)),
    "yellow": ((49, 57), (72, 95), (92, 100)),
    "green": ((105, 148), (55, 85), (45, 75)),
    "blue": ((208, 230), (68, 92), (60, 92)),
    "purple": ((266, 285), (50, 75), (48, 75)),
    "pink": ((325, 342), (32, 52), (95, 100)),
    "brown": ((18, 28), (55, 70), (36, 50)),
    "grey": ((200, 240), (0, 7), (46, 62)),
    "black": ((200, 260), (0, 15), (7, 16)),
    "white": ((30, 60), (0, 4), (94, 100)),
}
COLOURS = tuple(_RANGES)

STEEL, TYRE, WOOD, PAPER, EYE = (178, 184, 192), (38, 38, 42), (116, 80, 50), (242, 238, 226), (24, 24, 28)
PANE, NIGHT_PANE, BILL = (184, 214, 232), (70, 84, 104), (238, 160, 36)


def pick(rng: np.random.Generator, name: str) -> np.ndarray:
    """One shade of the named colour: float64 [3], 0…255."""
    hue, saturation, value = (rng.uniform(low, high) for low, high in _RANGES[name])
    return hsv(hue, saturation, value)


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """RGB (float64 [3], 0…255) of a hue in degrees and saturation and value in percent."""
    return np.array(colorsys.hsv_to_rgb(hue % 360 / 360, saturation / 100, value / 100)) * 255


def rgb(hue: float, saturation: float, value: float) -> RGB:
    """The same in whole numbers."""
    red, green, blue = hsv(hue, saturation, value)
    return int(red), int(green), int(blue)


def shade(body: np.ndarray, paint: Paint) -> np.ndarray:
    """The colour (float64 [3], 0…255) of ``paint`` on an object whose own colour is ``body``."""
    if isinstance(paint, tuple):
        return np.asarray(paint, np.float64)
    if paint == "light":
        return body + (255 - body) * 0.35
    if paint == "body":
        return body
    factor = {"dark": 0.72, "deep": 0.48}[paint]
    # Black has nothing darker to shade with.
    return body * factor if body.max() > 60 else body + (255 - body) * (1 - factor) * 0.45


def second(rng: np.random.Generator, body: np.ndarray) -> np.ndarray:
    """The other colour of a patterned surface: far in brightness, so that the first still names the thing."""
    brightness = body @ (0.299, 0.587, 0.114)
    lighter = brightness < 90 or (brightness < 190 and rng.random() < 0.6)
    share = rng.uniform(0.68, 0.85)
    if np.ptp(body) < 0.2 * body.max():
        # Black, grey and white must stay so when half of the surface is of the other colour.
        lighter, share = brightness < 60, rng.uniform(0.28, 0.36) if brightness > 60 else rng.uniform(0.3, 0.4)
    towards = np.full(3, 250.0 if lighter else 20.0)
    return body + (towards - body) * share


def outline(body: np.ndarray) -> np.ndarray:
    """The colour of a contour line around ``body``."""
    return body * 0.3 if body.max() > 60 else np.full(3, 120.0)


def muted(rng: np.random.Generator, brightness: tuple[float, float] = (45, 90)) -> RGB:
    """A colour of no name, for grounds and clutter: never a vivid red, yellow, green or blue."""
    return rgb(rng.uniform(0, 360), rng.uniform(3, 28), rng.uniform(*brightness))
