"""The learning curve as a plot: the loss of every step, smoothed, and what validation measured."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 900, 420, 76, 220, 20, 52
_COLOURS = ("#1b6ca8", "#c8553d", "#588157", "#8e6c88", "#d4a373", "#495057", "#2a9d8f", "#e76f51")
_POINTS = 300  # of the loss, each the mean of the steps around it
_STEP_TICKS, _LOSS_TICKS = 8, 10
_SOFT = "#495057"

Point = tuple[float, float]


def draw_curve(records: Sequence[dict[str, Any]]) -> bytes:
    """PNG of the training log's records over steps: loss on the left axis (logarithmic), IoU of each kind on 0…1."""
    image = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(12)
    last = max((record["step"] for record in records), default=1)
    loss = _smoothed([(record["step"], record["bce"]) for record in records])
    values = [value for _, value in loss if value > 0] or [0.1, 1.0]
    losses = loss_ticks(min(values), max(values))
    low, high = losses[0], losses[-1]
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
        pen.text((x(last) + 8, y(tenth / 10)), f"{tenth / 10:.1f}", _SOFT, font, anchor="lm")
    for value in losses:
        pen.line([(x(0) - 4, y(of_loss(value))), (x(0), y(of_loss(value)))], fill="black")
        pen.text((x(0) - 8, y(of_loss(value))), f"{value:g}", "black", font, anchor="rm")
    for step in step_ticks(last):
        pen.line([(x(step), y(0)), (x(step), y(0) + 4)], fill="black")
        pen.text((x(step), y(0) + 8), f"{step:,}", "black", font, anchor="ma")
    pen.line([(x(0), y(1)), (x(0), y(0)), (x(last), y(0))], fill="black")
    pen.text(((x(0) + x(last)) / 2, _HEIGHT - 8), "training steps", "black", font, anchor="md")
    _upwards(image, (8, round(y(0.5))), "loss (BCE, log scale)", "black", font)
    _upwards(image, (round(x(last)) + 36, round(y(0.5))), "IoU_FG on validation", _SOFT, font)
    if len(loss) > 1:
        pen.line([(x(step), y(of_loss(value))) for step, value in loss], fill="black", width=2)
    for number, (kind, points) in enumerate(sorted(ious.items())):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [(x(step), y(value)) for step, value in points]
        if len(places) > 1:
            pen.line(places, fill=colour, width=2)
        for left, top in places:
            pen.ellipse((left - 3, top - 3, left + 3, top + 3), fill=colour)
        pen.text((x(last) + 64, _TOP + 18 * number), f"{kind} {points[-1][1]:.3f}", colour, font)
    sink = io.BytesIO()
    image.save(sink, "PNG", optimize=True)
    return sink.getvalue()


def step_ticks(last: int) -> list[int]:
    """Round steps from 0 to at most ``last``, at 1, 2 or 5 times a power of ten."""
    decades = (times * 10**power for power in range(len(str(last)) + 1) for times in (1, 2, 5))
    apart = next(each for each in decades if last / each <= _STEP_TICKS)
    return list(range(0, last + 1, apart))


def loss_ticks(low: float, high: float) -> list[float]:
    """Round values around ``low`` to ``high`` (both above 0), at least two: 1, 2 and 5 times powers of ten."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    for times in ((1, 2, 5), (1,)):
        ticks = [float(f"{each}e{power}") for power in powers for each in times]
        below = max(tick for tick in ticks if tick <= low)
        above = min(tick for tick in ticks if tick > high)
        kept = [tick for tick in ticks if below <= tick <= above]
        if len(kept) <= _LOSS_TICKS:
            break
    return kept


def _upwards(image: Image.Image, middle: tuple[int, int], text: str, colour: str, font: Any) -> None:
    """Write a text that is read from below, its left edge and middle at ``middle``."""
    width, height = math.ceil(font.getlength(text)) + 2, 18
    line = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(line).text((1, 1), text, colour, font)
    turned = line.transpose(Image.Transpose.ROTATE_90)
    image.paste(turned, (middle[0], middle[1] - turned.height // 2))


def _smoothed(points: Sequence[Point]) -> list[Point]:
    size = max(1, len(points) // _POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], math.fsum(value for _, value in group) / len(group)) for group in groups]
