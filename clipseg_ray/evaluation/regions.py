"""Where in an image a present thing's mask is looked at besides the whole: near its true border, and by its size.

The border is looked at as Kohli, Ladický and Torr do ("Robust Higher Order Potentials", 2009): the pixels within some
distance of it, of whichever side, as if there were no others.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clipseg_ray.evaluation.border import near_border

BORDER = 6.0
"""Pixels of the truth from its border, at most."""
DIAGONAL = 0.01
"""The same as a share of the image's diagonal; a pixel at least."""
SMALL, LARGE = 0.02, 0.1
"""Shares of the image: a thing of less than the first is small, of the second or more is large."""

REGIONS = ("border", "border_diagonal", "small", "medium", "large")
"""Their names, in the order of every array of them."""


def size_of(true: int, size: int) -> int:
    """Which of REGIONS a thing of ``true`` pixels in an image of ``size`` counts for as a whole."""
    share = true / size
    return REGIONS.index("small" if share < SMALL else "medium" if share < LARGE else "large")


def bands(label_hw: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Which of REGIONS, and the pixels near the border of a thing's true pixels: bool [h, w] each."""
    diagonal = float(np.hypot(*label_hw.shape))
    for name, distance in (("border", BORDER), ("border_diagonal", max(1.0, DIAGONAL * diagonal))):
        near_hw = np.empty(label_hw.shape, np.bool_)
        near_border(np.ascontiguousarray(label_hw), distance, near_hw)
        yield REGIONS.index(name), near_hw
