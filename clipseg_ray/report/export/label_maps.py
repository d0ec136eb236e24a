"""Label maps: one PNG per image in which a pixel's value is the label of a query, and ``names.json`` beside them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable

import numpy as np
from PIL import Image

from clipseg_ray.errors import UserError
from clipseg_ray.report.export.files import Files
from clipseg_ray.report.export.names import Names
from clipseg_ray.report.export.painting import RULE, labels_of, masks_by_image, resized
from clipseg_ray.report.export.palette import colour, hexadecimal
from clipseg_ray.report.export.walk import ExportChunk, Walk

_MOST_IN_PALETTE, _MOST = 255, 65_535


def write(walk: Walk, chunks: Iterable[ExportChunk], destination: str) -> str:
    """Write ``labels/<image>.png`` for every image that could be read, at its size; returns what was written.

    Labels are 1, 2, … in the order of the chosen queries' numbers; see ``painting`` for who wins a pixel. PNGs have a
    palette as long as 255 labels suffice, else 16 bits a pixel; with phrases that came with the images always 16,
    since nobody knows beforehand how many there are. ``names.json`` says what the labels mean.
    """
    palette: list[int] | None = None
    if not walk.has_phrases and len(walk.categories) <= _MOST_IN_PALETTE:
        numbers = [0, *(category.number for category in walk.categories.values())]
        palette = [channel for number in numbers for channel in colour(number)]
    labels: dict[int, int] = {}
    written = 0
    called = Names(walk.store)
    with Files(destination) as files:
        for chunk in chunks:
            for category in list(walk.categories.values())[len(labels) :]:
                labels[category.number] = len(labels) + 1
            if len(labels) > _MOST:
                raise UserError(f"{walk.store.url}: more than {_MOST:,} labels; choose queries with --where")
            label_of = np.vectorize(labels.__getitem__, otypes=[np.int32])
            for image, masks in masks_by_image(chunk):
                size = (image["height"], image["width"])
                if len(masks):
                    labels_hw = resized(labels_of(masks, label_of(masks["category"].to_numpy())), *size)
                else:
                    labels_hw = np.zeros(size, np.int32)
                files.put(f"labels/{called.of(image, '.png')}", _png(labels_hw, palette))
                written += 1
        files.put("names.json", json.dumps(_names(walk, labels), ensure_ascii=False, indent=1).encode())
    return f"wrote {files.store.url}: {written:,} label maps of {len(labels):,} labels, and names.json"


def _png(labels_hw: np.ndarray, palette: list[int] | None) -> bytes:
    image = Image.fromarray(labels_hw.astype(np.uint16 if palette is None else np.uint8))
    if palette is not None:
        image.putpalette(palette)
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()


def _names(walk: Walk, labels: dict[int, int]) -> dict[str, object]:
    return {
        "rule": RULE,
        "background": 0,
        "labels": [
            {
                "label": label,
                "name": category.name,
                "query_id": category.query_id,
                "words": category.words,
                "kind": category.kind,
                "colour": hexadecimal(category.number),
            }
            for category, label in zip(walk.categories.values(), labels.values(), strict=True)
        ],
    }
