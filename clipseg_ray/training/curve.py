"""The learning curve as a plot: the loss of every step, smoothed, and what validation measured."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 900, 420, 60, 200, 30, 40
_COLOURS = ("#1b6ca8", "#c8553d", "#588157", "#8e6c88", "#d4a373", "#495057", "#2a9d8f", "#e76f51")
_POINTS = 300  # of the loss, each the mean of the steps around it

Point = tuple[float, float]


def draw_curve(records: Sequence[dict[str, Any]]) -> bytes:
    """PNG of the training log's records: loss on the left axis (logarithmic), IoU of each kind on 0…1."""
    image = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(12)
    last = max((record["step"] for record in records), default=1)
    loss = _smoothed([(record["step"], record["bce"]) for record in records])
    low = min((value for _, value in loss), default=0.1) * 0.9
    high = max((value for _, value in loss), default=1.0) * 1.1
    ious: dict[str, list[Point]] = {}
    for record in records:
        for kind, scores in record.get("validation", {}).items():
            if scores["iou_fg"] is not None:
                ious.setdefault(kind, []).append((record["step"], scores["iou_fg"]))

    def x(step: float) -> float:
        return _LEFT + step / last * (_WIDTH - _LEFT - _RIGHT)

    def y(share: float) -> float:
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def of_loss(value: float) -> float:
        return math.log(max(value, low) / low) / math.log(high / low)

    for tenth in range(0, 11, 2):
        pen.line([(x(0), y(tenth / 10)), (x(last), y(tenth / 10))], fill="#dddddd")
        pen.text((_WIDTH - _RIGHT + 6, y(tenth / 10) - 7), f"{tenth / 10:.1f}", "#495057", font)
        value = low * (high / low) ** (tenth / 10)
        pen.text((8, y(tenth / 10) - 7), f"{value:.3f}", "black", font)
    for quarter in range(5):
        step = round(last * quarter / 4)
        pen.text((x(step), _HEIGHT - _BOTTOM + 6), f"{step:,}", "black", font, anchor="ma")
    pen.text((8, 8), "loss (BCE, left, log scale) and IoU_FG on validation (right), by step", "black", font)
    if len(loss) > 1:
        pen.line([(x(step), y(of_loss(value))) for step, value in loss], fill="black", width=2)
    for number, (kind, points) in enumerate(sorted(ious.items())):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [(x(step), y(value)) for step, value in points]
        if len(places) > 1:
            pen.line(places, fill=colour, width=2)
        for left, top in places:
            pen.ellipse((left - 3, top - 3, left + 3, top + 3), fill=colour)
        pen.text((_WIDTH - _RIGHT + 40, _TOP + 18 * number), f"{kind} {points[-1][1]:.3f}", colour, font)
    sink = io.BytesIO()
    image.save(sink, "PNG", optimize=True)
    return sink.getvalue()


def _smoothed(points: Sequence[Point]) -> list[Point]:
    size = max(1, len(points) // _POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], math.fsum(value for _, value in group) / len(group)) for group in groups]
