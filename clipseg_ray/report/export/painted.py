"""An image with what was found in it painted over it, and a legend below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw, ImageFont

from clipseg_ray.report.export.painting import labels_of, resized
from clipseg_ray.report.export.palette import colour

LONGER_SIDE = 1600
"""Images are made smaller than this, in pixels."""

_OPACITY = 0.45
_PAPER, _INK = (250, 250, 249), (28, 29, 31)


def painted(image: Image.Image, masks: pa.Table, label_p: np.ndarray, names: Mapping[int, str]) -> Image.Image:
    """An image, RGB, with a legend of scores below; where masks overlap, the rule of ``painting`` decides which shows.

    masks: rows that are not empty, with the columns height, width, counts, score and score_mean, all on one grid.
    label_p: int [P], above 0, rising: the numbers that ``names`` and colours go by.
    """
    rgb = image.copy()
    rgb.thumbnail((LONGER_SIDE, LONGER_SIDE), Image.Resampling.LANCZOS)
    found_hw = labels_of(masks, label_p) if masks.num_rows else np.zeros((1, 1), np.int32)
    labels_hw = resized(found_hw, rgb.height, rgb.width)
    pixels_hwc = np.array(rgb)
    scores = dict(zip(label_p.tolist(), masks["score"].to_pylist(), strict=True))
    shown = [label for label in np.unique(labels_hw).tolist() if label]
    rim_hw = _rim(labels_hw, max(1, round(max(rgb.size) / 400)))
    for label in shown:
        inside_hw = labels_hw == label
        soft_hw = inside_hw & ~rim_hw
        paint = np.array(colour(label), np.float32)
        pixels_hwc[soft_hw] = (pixels_hwc[soft_hw] * (1 - _OPACITY) + paint * _OPACITY).astype(np.uint8)
        pixels_hwc[inside_hw & rim_hw] = colour(label)
    shown.sort(key=lambda label: -scores[label])
    entries = [(label, f"{names[label]}  {scores[label]:.2f}") for label in shown] or [(0, "nothing found")]
    return _with_legend(Image.fromarray(pixels_hwc), entries)


def _rim(labels_hw: np.ndarray, reach: int) -> np.ndarray:
    """bool [h, w]: pixels with another label within ``reach`` rows or columns of them."""
    rim_hw = np.zeros(labels_hw.shape, np.bool_)
    rim_hw[reach:] |= labels_hw[reach:] != labels_hw[:-reach]
    rim_hw[:-reach] |= labels_hw[reach:] != labels_hw[:-reach]
    rim_hw[:, reach:] |= labels_hw[:, reach:] != labels_hw[:, :-reach]
    rim_hw[:, :-reach] |= labels_hw[:, reach:] != labels_hw[:, :-reach]
    return rim_hw


def _with_legend(image: Image.Image, entries: Sequence[tuple[int, str]]) -> Image.Image:
    """The image with a strip below it: a swatch and a line of text per entry, as many side by side as fit."""
    size = max(11, round(max(image.size) / 55))
    font = ImageFont.load_default(size)
    pad, line = size // 2, round(size * 1.7)
    places: list[tuple[int, int]] = []
    x = y = pad
    for _, text in entries:
        width = min(image.width - 2 * pad, round(font.getlength(text)) + 2 * size + pad)
        if x > pad and x + width > image.width - pad:
            x, y = pad, y + line
        places.append((x, y))
        x += width + pad
    whole = Image.new("RGB", (image.width, image.height + y + line), _PAPER)
    whole.paste(image)
    pen = ImageDraw.Draw(whole)
    for (label, text), (x, y) in zip(entries, places, strict=True):
        top = image.height + y
        if label:
            pen.rectangle((x, top + size * 0.12, x + size, top + size * 1.12), fill=colour(label))
        pen.text((x + (size * 1.5 if label else 0), top), text, fill=_INK, font=font)
    return whole
