"""Surface patterns: where on an object its second colour shows, and how its light falls."""

from __future__ import annotations

import numpy as np

PATTERNS = ("plain", "striped", "dotted", "chequered", "speckled", "shaded")
_SMALLEST = 60  # an object smaller than this many pixels cannot show a pattern


def pick(rng: np.random.Generator, size: float) -> str:
    """A pattern for an object whose longer side has ``size`` pixels."""
    if size < _SMALLEST:
        return PATTERNS[(0, 5)[rng.integers(2)]]
    return PATTERNS[rng.choice(len(PATTERNS), p=(0.34, 0.15, 0.13, 0.12, 0.1, 0.16))]


def second_share(rng: np.random.Generator, pattern: str, height: int, width: int, size: float) -> np.ndarray | None:
    """float32 [height, width] in 0…1: the second colour's share of each pixel; None where it never shows."""
    if pattern in ("plain", "shaded"):
        return None
    if pattern == "speckled":
        coarse = rng.random((max(2, height // 3), max(2, width // 3)), np.float32)
        rows, columns = np.arange(height) * coarse.shape[0] // height, np.arange(width) * coarse.shape[1] // width
        return (coarse[rows[:, None], columns[None]] < rng.uniform(0.1, 0.2)).astype(np.float32)
    angle = rng.uniform(0, np.pi)
    period = max(13.0, size * rng.uniform(0.11, 0.2))
    y, x = np.ogrid[:height, :width]
    cos, sin, ahead, aside = np.cos(angle), np.sin(angle), rng.uniform(0, period), rng.uniform(0, period)
    along = ((x * cos + y * sin + ahead) / period).astype(np.float32)
    across = ((y * cos - x * sin + aside) / period).astype(np.float32)
    sharpness = np.float32(period)
    if pattern == "striped":
        distance = 0.22 - np.abs(along - np.round(along))
    elif pattern == "dotted":
        row = np.round(across)
        along = along + 0.5 * (row % 2)
        distance = 0.3 - np.hypot(along - np.round(along), across - row)
    else:
        cells = [0.25 - np.abs(value / 2 - np.round(value / 2)) for value in (along, across)]
        distance = np.where(cells[0] * cells[1] > 0, 1, -1) * 2 * np.minimum(np.abs(cells[0]), np.abs(cells[1]))
    return np.clip(distance * sharpness + 0.5, 0, 1)


def light(rng: np.random.Generator, pattern: str, height: int, width: int) -> np.ndarray:
    """float32 [height, width] around 1: the factor of the light on each pixel."""
    strength = rng.uniform(0.28, 0.42) if pattern == "shaded" else rng.uniform(0, 0.12)
    angle = rng.uniform(0, 2 * np.pi)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    slope = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    return 1 - np.float32(strength) * np.clip(slope * 0.8 + 0.2, -0.6, 1)
