"""What hangs together in a mask: its parts as masks of their own, and its holes filled.

    chairs = regions.components(table["counts"], table["height"], pa.repeat(20, len(table)))

Columns go in and come out as in :mod:`clipseg_ray.masks.algebra`. Parts are those of ``scipy.ndimage.label``, holes
those of ``scipy.ndimage.binary_fill_holes``.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from clipseg_ray.masks.arrow import BBOX, array, lists, struct
from clipseg_ray.masks.edge_columns import Column, Edges, sized
from clipseg_ray.masks.parts import Parts, parts_by_rows

COMPONENT = pa.struct([pa.field("counts", pa.string()), pa.field("area", pa.int64()), pa.field("bbox", BBOX)])


def components(counts: Column, height: Column, min_area: Column, connectivity: int = 8) -> pa.Array:
    """The parts of each mask of at least ``min_area`` pixels: list of struct of counts, area and bbox [P].

    The largest comes first, of those of one area the one whose first pixel does, column by column. Counts are of
    the mask's own size, area is in pixels, bbox as COCO. ``connectivity``: 8 where pixels that touch by a corner hang
    together, 4 where they do not. A mask without such a part gives an empty list. Raises ValueError for another
    connectivity.
    """
    if connectivity not in (4, 8):
        raise ValueError(f"connectivity {connectivity}: must be 4 or 8")
    masks, height_p, min_area_p = sized(counts, height, min_area)
    number_p, found = np.zeros(len(height_p), np.int64), [pa.array([], COMPONENT)]
    for rows, parts in parts_by_rows(masks, height_p, diagonal=connectivity == 8):
        number_p[rows], structs = _largest_first(parts, min_area_p[rows])
        found.append(structs)
    return lists(number_p, pa.concat_arrays(found), masks.null_p)


def components_4(counts: Column, height: Column, min_area: Column) -> pa.Array:
    """`components` that hang together by the sides of pixels."""
    return components(counts, height, min_area, 4)


def fill_holes(counts: Column, height: Column) -> pa.Array:
    """counts of the masks and of what they enclose: whence no way over sides of pixels leads to the grid's border."""
    masks, height_p = sized(counts, height)
    outside = []
    for rows, parts in parts_by_rows(masks.complement(), height_p, diagonal=False):
        target_k = np.where(_reach_the_border(parts), parts.mask_k, -1)
        outside.append(parts.gathered(target_k, parts.pixels_p, masks.null_p[rows]))
    return Edges.joined(outside).complement().to_counts()


def _largest_first(parts: Parts, min_area_p: np.ndarray) -> tuple[np.ndarray, pa.StructArray]:
    """int64 [P], how many parts of each mask are large enough, and these."""
    area_k, bbox_k4 = parts.measured()
    mask_k = parts.mask_k
    order = np.lexsort((-area_k, mask_k))
    order = order[area_k[order] >= min_area_p[mask_k[order]]]
    target_k = np.full(len(area_k), -1, np.int64)
    target_k[order] = np.arange(len(order))
    own = parts.gathered(target_k, parts.pixels_p[mask_k[order]], np.zeros(len(order), np.bool_))
    structs = pa.StructArray.from_arrays(
        [own.to_counts(), array(area_k[order]), struct(BBOX, bbox_k4[order])], fields=list(COMPONENT)
    )
    return np.bincount(mask_k[order], minlength=len(min_area_p)), structs


def _reach_the_border(parts: Parts) -> np.ndarray:
    """bool [K]."""
    _, bbox_k4 = parts.measured()
    height_k, pixels_k = parts.height_p[parts.mask_k], parts.pixels_p[parts.mask_k]
    x, y, w, h = bbox_k4.T
    return (x == 0) | (y == 0) | (x + w == pixels_k // height_k) | (y + h == height_k)
