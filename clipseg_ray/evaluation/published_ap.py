"""AP as CLIPSeg's authors compute it (``metrics.py`` of github.com/timojl/clipseg), to stand beside published numbers.

It is not the area under the curve. Precision and recall are taken at 49 thresholds, 1 added to each denominator, and
Simpson's rule lays parabolas through these points in order of recall: whatever recall lies below that of the highest
threshold is not counted, and steep pieces over- and undershoot. A perfect answer whose probabilities are all beyond
the thresholds is one point, and has 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Point = tuple[float, float]
"""Recall and precision."""


def published_ap(true_t: np.ndarray, false_t: np.ndarray, foreground: int) -> float | None:
    """true_t, false_t: int64 [T], pixels inside at each threshold, of the thing and not. foreground: pixels of it.

    None where the truth has no foreground or nothing is predicted at any threshold.
    """
    pairs = [(int(true), int(false)) for true, false in zip(true_t, false_t, strict=True) if true + false]
    if not foreground or not pairs:
        return None
    points = {(true / (1 + foreground), true / (1 + true + false)) for true, false in pairs}
    # Points of one recall stay in the order that the set has: so they do with the authors, and it changes the result.
    return simpson(sorted(points, key=lambda point: point[0]))


def simpson(points: Sequence[Point]) -> float:
    """Simpson's rule over points in order of their first number, as ``scipy.integrate.simpson`` has it since 1.11:
    where the points are even in number, Cartwright's correction for the last interval.

    SciPy of the authors' time took the mean of two trapezoids there; published numbers may be off by that.
    """
    if len(points) == 2:
        (x0, y0), (x1, y1) = points
        return (x1 - x0) * (y0 + y1) / 2
    even = len(points) % 2 == 0
    total = sum(_parabola(*points[first : first + 3]) for first in range(0, len(points) - 2 - even, 2))
    return total + _last(*points[-3:]) if even else total


def _parabola(first: Point, middle: Point, last: Point) -> float:
    """The area under the parabola through three points; of equal ones what SciPy makes of them."""
    before, after = middle[0] - first[0], last[0] - middle[0]
    whole, ratio = before + after, _ratio(before, after)
    return (
        whole
        / 6
        * (
            first[1] * (2 - _ratio(1, ratio))
            + middle[1] * whole * _ratio(whole, before * after)
            + last[1] * (2 - ratio)
        )
    )


def _last(first: Point, middle: Point, last: Point) -> float:
    """The area between the last two of three points, under the parabola through all."""
    before, after = middle[0] - first[0], last[0] - middle[0]
    return (
        last[1] * _ratio(2 * after**2 + 3 * before * after, 6 * (before + after))
        + middle[1] * _ratio(after**2 + 3 * before * after, 6 * before)
        - first[1] * _ratio(after**3, 6 * before * (before + after))
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
