"""Probability maps as one byte a pixel, from which a browser draws the mask at any position of its slider, exactly.

A pixel's level is how many of a list of thresholds its probability is above. So the mask at the n-th of them (from 0)
is where the level is above n, the same as if the probability had been compared with it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

STEP = 0.005
"""Of the slider: thresholds that a browser can choose."""

_STEPS = tuple(round(STEP * step, 3) for step in range(1, round(1 / STEP)))


def borders_with(thresholds: Sequence[float]) -> tuple[float, ...]:
    """The thresholds of the slider and these, which a table may have given, ascending; 255 at most."""
    borders = tuple(sorted({*_STEPS, *thresholds}))
    if len(borders) > 255:
        raise ValueError(f"{len(borders)} thresholds do not fit a byte")
    return borders


def levels_of(probability_hw: np.ndarray, borders: Sequence[float]) -> np.ndarray:
    """float32 [h, w] → uint8 [h, w]: by how many of the borders, which ascend, each is exceeded."""
    return np.searchsorted(np.asarray(borders, np.float32), probability_hw.astype(np.float32)).astype(np.uint8)


def packed(levels_hw: np.ndarray) -> bytes:
    """Levels, row by row, as a zlib stream (RFC 1950), which browsers call deflate."""
    return zlib.compress(np.ascontiguousarray(levels_hw).data, 1)
