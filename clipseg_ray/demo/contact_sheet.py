"""One sheet to look at: a few images, and what each of some queries found in them, laid over."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from clipseg_ray.masks.rle import decode

_SIDE, _GAP, _HEAD = 176, 6, 22
_TINT = np.array([255, 64, 129], np.float32)

# The images in which most of the queries found something; images that show much first.
_IMAGES = """
SELECT image_id FROM masks WHERE list_contains(?, query_id) AND coverage BETWEEN 0.005 AND 0.5
GROUP BY image_id ORDER BY count(*) DESC, sum(score) DESC, image_id LIMIT ?
"""
_MASKS = "SELECT query_id, height, width, counts, score FROM masks WHERE image_id = ? AND list_contains(?, query_id)"


def write_contact_sheet(
    path: Path, connection: duckdb.DuckDBPyConnection, shards: Path, queries: Sequence[str], images: int = 8
) -> Path:
    """Write a PNG of ``images`` rows: an image of the tars in ``shards``, then the mask of each query over it.

    connection: to the masks dataset, with its views. Each mask carries its score.
    """
    chosen = [row[0] for row in connection.execute(_IMAGES, [list(queries), images]).fetchall()]
    width = (len(queries) + 1) * (_SIDE + _GAP) + _GAP
    sheet = Image.new("RGB", (width, _HEAD + len(chosen) * (_SIDE + _GAP)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, title in enumerate(["", *queries]):
        pen.text((_GAP + column * (_SIDE + _GAP), 4), title, fill="black", font=font)
    for row, image_id in enumerate(chosen):
        image = _image(shards, image_id)
        top = _HEAD + row * (_SIDE + _GAP)
        sheet.paste(image, (_GAP, top))
        found = {query: rest for query, *rest in connection.execute(_MASKS, [image_id, list(queries)]).fetchall()}
        for column, query in enumerate(queries, 1):
            left = _GAP + column * (_SIDE + _GAP)
            if query in found:
                height, across, counts, score = found[query]
                sheet.paste(_overlaid(image, decode([counts], height, across)[0]), (left, top))
                pen.text(
                    (left + 4, top + 2), f"{score:.2f}", fill="white", font=font, stroke_width=2, stroke_fill="black"
                )
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)
    return path


def _image(shards: Path, image_id: str) -> Image.Image:
    """The image of an ``image_id`` as runs name it: ``<tar>/<key>``."""
    shard, _, key = image_id.rpartition("/")
    with tarfile.open(shards / shard) as tar:
        member = tar.extractfile(f"{key}.jpg")
        assert member is not None
        image = Image.open(io.BytesIO(member.read())).convert("RGB")
    return image.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)


def _overlaid(image: Image.Image, mask_hw: np.ndarray) -> Image.Image:
    """The image, grey and darker outside the mask and tinted inside."""
    inside = Image.fromarray(mask_hw.astype(np.uint8) * 255).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    share = np.asarray(inside, np.float32)[..., None] / 255
    pixels = np.asarray(image, np.float32)
    dark = pixels.mean(2, keepdims=True) * 0.45
    tinted = pixels * 0.6 + _TINT * 0.4
    return Image.fromarray((dark + (tinted - dark) * share).clip(0, 255).astype(np.uint8))
