"""A drawing as a list of filled shapes: every one is polygons, a paint and the part of the object it belongs to.

Coordinates are free units, x to the right and y down, usually 0…100; the raster scales a sketch by its own bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RGB = tuple[int, int, int]
# A shade of the object's own colour ("body", "dark", "deep", "light"), or a fixed colour for a detail.
Paint = str | RGB
Points = Sequence[tuple[float, float]]

_CIRCLE = np.linspace(0, 2 * np.pi, 32, endpoint=False)


@dataclass(frozen=True)
class Shape:
    """Polygons (float64 [n, 2] each, x and y) filled with one paint; ``part`` names the part they show, if any."""

    polygons: tuple[np.ndarray, ...]
    paint: Paint
    part: str | None


class Sketch:
    """Shapes from back to front."""

    def __init__(self) -> None:
        self.shapes: list[Shape] = []

    def polygon(self, points: Points | np.ndarray, paint: Paint = "body", part: str | None = None) -> None:
        """A polygon with straight sides."""
        self.shapes.append(Shape((np.asarray(points, np.float64),), paint, part))

    def box(
        self,
        left: float,
        top: float,
        right: float,
        bottom: float,
        paint: Paint = "body",
        part: str | None = None,
        *,
        rounding: float = 0,
    ) -> None:
        """An upright rectangle with corners of radius ``rounding``."""
        if rounding <= 0:
            self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], paint, part)
            return
        radius = min(rounding, abs(right - left) / 2, abs(bottom - top) / 2)
        centres = [
            (right - radius, bottom - radius),
            (left + radius, bottom - radius),
            (left + radius, top + radius),
            (right - radius, top + radius),
        ]
        points = []
        for quarter, (x, y) in enumerate(centres):
            angles = np.linspace(quarter * np.pi / 2, (quarter + 1) * np.pi / 2, 5)
            points.append(np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1))
        self.polygon(np.concatenate(points), paint, part)

    def ellipse(
        self,
        x: float,
        y: float,
        across: float,
        down: float | None = None,
        paint: Paint = "body",
        part: str | None = None,
        *,
        turn: float = 0,
    ) -> None:
        """An ellipse around (x, y) with radii ``across`` and ``down`` (a circle without), turned by degrees."""
        self.polygon(_ellipse(x, y, across, across if down is None else down, turn), paint, part)

    def discs(
        self, places: Sequence[tuple[float, float, float, float]], paint: Paint = "body", part: str | None = None
    ) -> None:
        """Ellipses (x, y, across, down) that together are one shape, with a contour around them all."""
        self.shapes.append(Shape(tuple(_ellipse(*place, 0) for place in places), paint, part))

    def ring(
        self,
        x: float,
        y: float,
        across: float,
        down: float,
        width: float,
        paint: Paint = "body",
        part: str | None = None,
        *,
        turn: float = 0,
    ) -> None:
        """An elliptic ring; what lies behind shows through its hole."""
        outer = _ellipse(x, y, across, down, turn)
        inner = _ellipse(x, y, across - width, down - width, turn)
        # Out and back along one seam: the even-odd rule leaves the inside empty.
        self.polygon(np.concatenate([outer, outer[:1], inner[:1], inner[::-1]]), paint, part)

    def blob(self, points: Points, paint: Paint = "body", part: str | None = None) -> None:
        """The smooth closed outline through ``points``."""
        self.polygon(_spline(np.asarray(points, np.float64), closed=True), paint, part)

    def limb(
        self,
        points: Points | np.ndarray,
        width: float,
        end: float | None = None,
        paint: Paint = "body",
        part: str | None = None,
    ) -> None:
        """Straight strokes through ``points`` with round ends, from ``width`` at the first to ``end`` at the last."""
        way = np.asarray(points, np.float64)
        widths = np.linspace(width, width if end is None else end, len(way)) / 2
        self.shapes.append(Shape(tuple(map(_stroke, way, way[1:], widths, widths[1:])), paint, part))

    def curve(
        self, points: Points, width: float, end: float | None = None, paint: Paint = "body", part: str | None = None
    ) -> None:
        """A bent stroke: as ``limb``, along the smooth line through ``points``."""
        self.limb(_spline(np.asarray(points, np.float64), closed=False), width, end, paint, part)

    def turned(
        self, profile: Points, x: float = 0, paint: Paint = "body", part: str | None = None, *, smooth: bool = True
    ) -> None:
        """What a lathe makes, seen from the side: ``profile`` gives (half width, y) from top to bottom."""
        right = np.asarray(profile, np.float64)
        if smooth:
            right = _spline(right, closed=False)
        self.polygon(np.add(np.concatenate([right, right[::-1] * (-1, 1)]), (x, 0)), paint, part)


def _ellipse(x: float, y: float, across: float, down: float, turn: float) -> np.ndarray:
    along, aside = across * np.cos(_CIRCLE), down * np.sin(_CIRCLE)
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return np.stack([x + along * cos - aside * sin, y + along * sin + aside * cos], 1)


def _spline(points: np.ndarray, *, closed: bool, steps: int = 6) -> np.ndarray:
    """Catmull-Rom through all points."""
    if closed:
        before, here, there, after = (np.roll(points, shift, 0) for shift in (1, 0, -1, -2))
    else:
        padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
        before, here, there, after = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    before, here, there, after = before[:, None], here[:, None], there[:, None], after[:, None]
    curve = 0.5 * (
        2 * here
        + (there - before) * t
        + (2 * before - 5 * here + 4 * there - after) * t**2
        + (3 * here - before - 3 * there + after) * t**3
    )
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, points[-1:]])


def _stroke(start: np.ndarray, stop: np.ndarray, width: float, end: float) -> np.ndarray:
    """A straight stroke with half widths ``width`` and ``end`` and round ends."""
    angle = np.arctan2(stop[1] - start[1], stop[0] - start[0])
    half = np.linspace(-np.pi / 2, np.pi / 2, 7)
    front = stop + end * np.stack([np.cos(angle + half), np.sin(angle + half)], 1)
    back = start + width * np.stack([np.cos(angle + np.pi + half), np.sin(angle + np.pi + half)], 1)
    return np.concatenate([front, back])
