"""Overlays: each image with what was found in it painted over it, and a legend below."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw, ImageFont

from clipseg_ray.pixels.opening import ImageError, opened, upright_rgb
from clipseg_ray.report.export.copies import Fetched
from clipseg_ray.report.export.files import Files
from clipseg_ray.report.export.names import Names
from clipseg_ray.report.export.painting import labels_of, masks_by_image, resized
from clipseg_ray.report.export.palette import colour
from clipseg_ray.report.export.walk import ExportChunk, Walk

LONGER_SIDE = 1600
"""Images are made smaller than this, in pixels."""

_OPACITY = 0.45
_PAPER, _INK = (250, 250, 249), (28, 29, 31)


def write(walk: Walk, chunks: Iterable[ExportChunk], destination: str) -> str:
    """Write ``<image>.jpg`` for every image in which a chosen query found something; returns what was written.

    Where masks overlap, the rule of ``painting`` decides which shows. Colours follow the queries' numbers, so that
    they are the same in every export.
    """
    written = 0
    called = Names(walk.store)
    fetched = Fetched(walk.store, walk.allow_source)
    with Files(destination) as files:
        for chunk in chunks:
            some = pa.array(np.unique(chunk.masks["image"].to_numpy()))
            drawn = [each for each in masks_by_image(chunk) if len(each[1])]
            names = {category.number: category.name for category in walk.categories.values()}
            for (image, masks), encoded in zip(drawn, fetched.encoded(chunk.images.take(some)), strict=True):
                if encoded is not None:
                    try:
                        files.put(called.of(str(image["image_id"]), ".jpg"), _overlay(encoded, masks, names))
                        written += 1
                    except ImageError as error:
                        fetched.refuse(error)
    return f"wrote {files.store.url}: {written:,} overlays{fetched.left_out}"


def _overlay(encoded: bytes, masks: pa.Table, names: dict[int, str]) -> bytes:
    with opened(encoded) as image:
        image.draft("RGB", (LONGER_SIDE, LONGER_SIDE))
        rgb, _ = upright_rgb(image)
        rgb.thumbnail((LONGER_SIDE, LONGER_SIDE), Image.Resampling.LANCZOS)
    label_p = masks["category"].to_numpy()
    labels_hw = resized(labels_of(masks, label_p), rgb.height, rgb.width)
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
    entries = [(label, f"{names[label]}  {scores[label]:.2f}") for label in shown]
    sink = io.BytesIO()
    _with_legend(Image.fromarray(pixels_hwc), entries).save(sink, "JPEG", quality=90)
    return sink.getvalue()


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
        pen.rectangle((x, top + size * 0.12, x + size, top + size * 1.12), fill=colour(label))
        pen.text((x + size * 1.5, top), text, fill=_INK, font=font)
    return whole
