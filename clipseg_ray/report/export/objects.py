"""The masks of a chunk as other tools have them: at the size of their image, with its areas and boxes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipseg_ray.masks import algebra
from clipseg_ray.report.export.selection import counts_at_image_size
from clipseg_ray.report.export.walk import ExportChunk

_OF_THE_MASK = ("image", "category", "query_id", "query_text", "score", "score_mean")


def objects_of(chunk: ExportChunk) -> pa.Table:
    """The chunk's masks in its order, those left out that have no pixel at the size of a smaller image.

    Columns: image (index in ``chunk.images``), category, query_id, query_text, score, score_mean as the chunk has them;
    height, width of the image; counts, area and bbox of the mask resized to it, every pixel that of the nearest centre.
    """
    sizes = chunk.images.select(["height", "width"]).take(chunk.masks["image"])
    counts = counts_at_image_size(chunk, chunk.masks)
    made = {name: chunk.masks[name] for name in _OF_THE_MASK}
    made |= {"height": sizes["height"], "width": sizes["width"], "counts": counts}
    made |= {"area": algebra.area(counts), "bbox": algebra.bbox(counts, sizes["height"])}
    return pa.table(made).filter(pc.greater(made["area"], 0))


def by_image(chunk: ExportChunk, objects: pa.Table) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """(row of ``images``, its rows of ``objects``) for every image of the chunk; ``objects`` sorted by ``image``."""
    bounds = np.searchsorted(objects["image"].to_numpy(), np.arange(len(chunk.images) + 1))
    for index, row in enumerate(chunk.images.to_pylist()):
        yield row, objects.slice(bounds[index], bounds[index + 1] - bounds[index]).to_pylist()
