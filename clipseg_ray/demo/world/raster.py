"""From a sketch to pixels: polygons drawn as ids at several samples a pixel, coloured by palette, then averaged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from clipseg_ray.demo.world import colours, patterns
from clipseg_ray.demo.world.sketch import Paint, Sketch

_SAMPLES = 3  # a side of each pixel; odd, so that "half covered" is never a tie


@dataclass(frozen=True, kw_only=True)
class Pose:
    """size: the longer side of the drawn object's box in pixels. turn: degrees. lean: shear, x by y. left: mirrored.
    stretch: factor of its width. line: width of the contour in pixels, 0 for none."""

    size: float
    turn: float = 0.0
    lean: float = 0.0
    left: bool = False
    stretch: float = 1.0
    line: float = 0.0


@dataclass(frozen=True)
class Cutout:
    """An object on nothing.

    colour_hwc: float32 [h, w, 3], 0…255, already multiplied by the coverage.
    cover_hw: float32 [h, w], 0…1.
    parts: for each part drawn, bool [h, w]: the pixels at least half of which it covers.
    """

    colour_hwc: np.ndarray
    cover_hw: np.ndarray
    parts: dict[str, np.ndarray]

    @property
    def inside_hw(self) -> np.ndarray:
        """bool [h, w]: the pixels at least half of which the object covers."""
        return self.cover_hw >= 0.5


def render(rng: np.random.Generator, sketch: Sketch, pose: Pose, *, body: np.ndarray, pattern: str) -> Cutout:
    """Draw ``sketch`` with the colour ``body`` (float64 [3], 0…255) in a canvas that just holds it."""
    points, counts = _posed(sketch, pose)
    margin = 1 + pose.line
    low = points.min(0)
    scale = (pose.size - 2 * pose.line) / max(np.ptp(points, 0).max(), 1e-6)
    points = (points - low) * scale + margin
    width, height = (int(np.ceil(extent + margin)) for extent in points.max(0))
    canvas = Image.new("P", (width * _SAMPLES, height * _SAMPLES), 0)
    ids = _draw(canvas, sketch, points * _SAMPLES - 0.5, counts, pose.line * _SAMPLES)

    first = np.zeros((256, 4))
    for (paint, _), number in ids.items():
        first[number] = (*(colours.outline(body) if paint == "line" else colours.shade(body, paint)), 255)
    pixels = _averaged(canvas, first)
    colour_hwc = pixels[..., :3]
    share_hw = patterns.second_share(rng, pattern, height, width, pose.size)
    if share_hw is not None:
        other = colours.second(rng, body)
        for (paint, _), number in ids.items():
            if isinstance(paint, str) and paint != "line":
                first[number, :3] = colours.shade(other, paint)
        colour_hwc = colour_hwc + (_averaged(canvas, first)[..., :3] - colour_hwc) * share_hw[..., None]
    colour_hwc = colour_hwc * patterns.light(rng, pattern, height, width)[..., None]
    return Cutout(colour_hwc, pixels[..., 3] / 255, _parts(canvas, ids))


def _posed(sketch: Sketch, pose: Pose) -> tuple[np.ndarray, list[int]]:
    """All points of all polygons in the pose, and how many each polygon has."""
    polygons = [polygon for shape in sketch.shapes for polygon in shape.polygons]
    points = np.concatenate(polygons)
    cos, sin = np.cos(np.radians(pose.turn)), np.sin(np.radians(pose.turn))
    leaning = np.array([[-pose.stretch if pose.left else pose.stretch, pose.lean], [0, 1]])
    turning = np.array([[cos, -sin], [sin, cos]])
    return points @ (turning @ leaning).T, [len(polygon) for polygon in polygons]


def _draw(
    canvas: Image.Image, sketch: Sketch, points: np.ndarray, counts: list[int], line: float
) -> dict[tuple[Paint, str | None], int]:
    """Fill the shapes with ids, one for each paint and part, and return these."""
    ids: dict[tuple[Paint, str | None], int] = {}
    pen = ImageDraw.Draw(canvas)
    flat = [points[stop - count : stop].ravel().tolist() for stop, count in zip(np.cumsum(counts), counts, strict=True)]
    start = 0
    for shape in sketch.shapes:
        polygons = flat[start : start + len(shape.polygons)]
        start += len(shape.polygons)
        if line:
            number = ids.setdefault(("line", shape.part), len(ids) + 1)
            for polygon in polygons:
                pen.line([*polygon, *polygon[:2]], number, round(2 * line))
        number = ids.setdefault((shape.paint, shape.part), len(ids) + 1)
        for polygon in polygons:
            pen.polygon(polygon, number)
    return ids


def _averaged(canvas: Image.Image, palette: np.ndarray) -> np.ndarray:
    """float32 [h, w, 4]: the mean colour of each pixel's samples; transparent samples count as black."""
    canvas.putpalette(palette.clip(0, 255).astype(np.uint8).tobytes(), "RGBA")
    pixels = np.asarray(canvas.convert("RGBA").reduce(_SAMPLES)).astype(np.float32)
    pixels[..., :3] *= pixels[..., 3:] / 255  # Pillow's colours are those of the covered samples only
    return pixels


def _parts(canvas: Image.Image, ids: dict[tuple[Paint, str | None], int]) -> dict[str, np.ndarray]:
    samples = Image.frombytes("L", canvas.size, canvas.tobytes())
    parts = {}
    for part in dict.fromkeys(part for _, part in ids if part is not None):
        table = [0] * 256
        for (_, other), number in ids.items():
            if other == part:
                table[number] = 255
        parts[part] = np.asarray(samples.point(table).reduce(_SAMPLES)) >= 128
    return parts
