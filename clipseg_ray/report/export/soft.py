"""Soft masks: a grey PNG for each query and image, in which a pixel is a probability, 255 for 1.

PIL.Image.open("DEST/chair/0001.png")
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable

from PIL import Image

from clipseg_ray.masks.moving import probabilities_at
from clipseg_ray.report.export.files import Files, one_name
from clipseg_ray.report.export.names import Names
from clipseg_ray.report.export.painting import masks_by_image
from clipseg_ray.report.export.walk import ExportChunk, Walk


def write(walk: Walk, chunks: Iterable[ExportChunk], destination: str) -> str:
    """Write ``<query>/<image>.png`` for every mask that is not empty, at the image's size, and ``names.json``.

    Returns what was written, for a person. The map that was kept with the mask (``masks.heat``) is interpolated
    bilinearly, in logits, as those of the model are; pixels below the threshold have their probability too.
    """
    written = 0
    called = Names(walk.store)
    with Files(destination) as files:
        for chunk in chunks:
            folders = _folders(walk)
            for image, masks in masks_by_image(chunk):
                name = called.of(image, ".png")
                for row in masks.select(["category", "heat"]).to_pylist():
                    grey_hw = probabilities_at(row["heat"], image["height"], image["width"])
                    sink = io.BytesIO()
                    Image.fromarray(grey_hw).save(sink, "PNG")
                    files.put(f"{folders[row['category']]}/{name}", sink.getvalue())
                    written += 1
        folders = _folders(walk)
        names = {
            folders[each.number]: {"query_id": each.query_id, "name": each.name, "words": each.words, "kind": each.kind}
            for each in walk.categories.values()
        }
        files.put("names.json", json.dumps(names, ensure_ascii=False, indent=1).encode())
    return f"wrote {files.store.url}: {written:,} soft masks of {len(names):,} queries, and names.json"


def _folders(walk: Walk) -> dict[int, str]:
    """What the folder of each category is called: its query's id as one name."""
    return {each.number: one_name(each.query_id) for each in walk.categories.values()}
