"""Which masks an export has: those sure enough and large enough, and whether a mask of several regions is several."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipseg_ray.masks import algebra, regions
from clipseg_ray.report.export.walk import ExportChunk


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What of a chunk is kept.

    min_score: the least ``score``, a probability. instances: each connected region (of 8 neighbours, on the mask's own
    grid) becomes a mask of its own, the largest first, with its mask's scores. min_area: the least pixels of a mask, or
    region, at image size.
    """

    min_score: float = 0.0
    min_area: int = 0
    instances: bool = False

    def of(self, chunk: ExportChunk) -> ExportChunk:
        """The chunk with the masks that are kept; ``absent`` stays what the model did not find."""
        masks = chunk.masks
        if self.min_score:
            masks = masks.filter(pc.greater_equal(masks["score"], self.min_score))
        if self.instances:
            masks = _regions(masks)
        if self.min_area:
            masks = masks.filter(pc.greater_equal(area_at_image_size(chunk, masks), self.min_area))
        return replace(chunk, masks=masks)


def area_at_image_size(chunk: ExportChunk, masks: pa.Table) -> pa.Array:
    """int64 [P], pixels of masks of the chunk's images, once resized to these."""
    return algebra.area(counts_at_image_size(chunk, masks))


def counts_at_image_size(chunk: ExportChunk, masks: pa.Table) -> pa.Array:
    """counts of masks of the chunk's images at the images' size, every pixel that of the nearest centre."""
    sizes = chunk.images.select(["height", "width"]).take(masks["image"])
    return algebra.resize(masks["counts"], masks["height"], masks["width"], sizes["height"], sizes["width"])


def _regions(masks: pa.Table) -> pa.Table:
    found = regions.components(masks["counts"], masks["height"], pa.repeat(np.int64(1), len(masks)))
    own = masks.take(pc.list_parent_indices(found))
    flat = found.flatten()
    for name in ("counts", "area"):
        own = own.set_column(own.column_names.index(name), name, flat.field(name))
    return own
