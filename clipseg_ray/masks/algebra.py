"""Algebra on columns of COCO run lengths: union, IoU, resizing, … from runs to runs, without drawing a mask.

    iou = algebra.iou(table["counts"], other["counts"])
    chairs = algebra.union(sofas["counts"], armchairs["counts"])

Every function takes and gives Arrow arrays of P rows; a null in any argument gives null. Two masks of a row must be of
one size. Results are what ``pycocotools.mask`` gives, byte for byte, where it has the operation.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipseg_ray.masks import edges as kernels
from clipseg_ray.masks import rle, run_lengths
from clipseg_ray.masks.arrow import BBOX, struct
from clipseg_ray.masks.edge_columns import (
    Column,
    Edges,
    edges_of,
    nulls,
    one,
    pair,
    refuse_other_width,
    refuse_unequal,
    sized,
)

POINT = pa.struct([pa.field(name, pa.float64()) for name in ("x", "y")])

_UNION, _INTERSECTION, _DIFFERENCE, _XOR = 0b1110, 0b1000, 0b0100, 0b0110


def grid_pixels(counts: Column) -> pa.Array:
    """int64 [P], the pixels of each mask's grid: the sum of its runs."""
    masks = edges_of(counts, nulls(counts))
    return pa.array(masks.pixels_p, mask=masks.null_p)


def area(counts: Column) -> pa.Array:
    """int64 [P], pixels inside."""
    masks = edges_of(counts, nulls(counts))
    area_p = np.empty(len(masks.null_p), np.int64)
    kernels.area(masks.edges, masks.offsets, area_p)
    return pa.array(area_p, mask=masks.null_p)


def bbox(counts: Column, height: Column) -> pa.Array:
    """struct of int32 x, y, w, h [P], in pixels as COCO; zeros for an empty mask."""
    masks, height_p = sized(counts, height)
    bbox_p4 = np.empty((len(height_p), 4), np.int32)
    run_lengths.measure_edges(masks.edges, masks.offsets, height_p, bbox_p4)
    return struct(BBOX, bbox_p4, masks.null_p)


def union(a: Column, b: Column) -> pa.Array:
    """counts of the pixels inside either."""
    return _combined(a, b, _UNION)


def intersection(a: Column, b: Column) -> pa.Array:
    """counts of the pixels inside both."""
    return _combined(a, b, _INTERSECTION)


def difference(a: Column, b: Column) -> pa.Array:
    """counts of the pixels inside ``a`` and not inside ``b``."""
    return _combined(a, b, _DIFFERENCE)


def xor(a: Column, b: Column) -> pa.Array:
    """counts of the pixels inside one and not inside the other."""
    return _combined(a, b, _XOR)


def complement(counts: Column) -> pa.Array:
    """counts of the pixels that are not inside."""
    return edges_of(counts, nulls(counts)).complement().to_counts()


def crop(counts: Column, height: Column, x: Column, y: Column, w: Column, h: Column) -> pa.Array:
    """counts of the masks in a box, whose size is theirs: w × h pixels, x and y from the upper left corner.

    Pixels of the box that lie outside the grid are not inside. Raises UserError for a box without a pixel.
    """
    masks, height_p, *box = sized(counts, height, x, y, w, h)
    for width_of_box, height_of_box in {*zip(box[2].tolist(), box[3].tolist(), strict=True)}:
        rle.check_size(height_of_box, width_of_box)
    offsets = np.empty(len(height_p) + 1, np.int64)
    box_p4 = np.clip(np.stack(box, 1), -(2**31), 2**31)  # a place so far outside is as far as any
    out = kernels.crop(masks.edges, masks.offsets, height_p, box_p4, offsets)
    return Edges(out, offsets, masks.null_p).to_counts()


def union_all(counts: Column) -> pa.Array:
    """counts of the pixels inside any mask of each list (list of string [P]); nulls in a list are passed over.

    Null for a list that is null or holds no mask.
    """
    lists = one(counts)
    flat, row_p = lists.flatten(), pc.list_parent_indices(lists).to_numpy()
    given = flat.is_valid()
    row_p = row_p[given.to_numpy(zero_copy_only=False)]
    masks = edges_of(flat.filter(given), np.zeros(len(row_p), np.bool_))
    groups = np.searchsorted(row_p, np.arange(len(lists) + 1)).astype(np.int64)
    refuse_unequal(masks.pixels_p, masks.pixels_p[groups[row_p]], row_p)
    out, offsets = np.empty(len(masks.edges) + len(lists), np.int32), np.empty(len(lists) + 1, np.int64)
    kernels.unite(masks.edges, masks.offsets, groups, out, offsets)
    return Edges(out, offsets, np.diff(groups) == 0).to_counts()


def iou(a: Column, b: Column) -> pa.Array:
    """float64 [P], pixels inside both / pixels inside either; 0 where both are empty, as pycocotools has it."""
    both_p, either_p, null_p = _overlap(a, b)
    return pa.array(both_p / np.maximum(either_p, 1), mask=null_p)


def overlap(a: Column, b: Column) -> pa.Array:
    """int64 [P], pixels inside both: the area of the intersection, without making it."""
    both_p, _, null_p = _overlap(a, b)
    return pa.array(both_p, mask=null_p)


def box_coverage(counts: Column, height: Column, x: Column, y: Column, w: Column, h: Column) -> pa.Array:
    """float64 [P], the share of a box's pixels that are inside; null where the box has no pixel in the grid.

    The box is whole pixels, x and y from the upper left corner; what of it lies outside the grid does not count.
    """
    masks, height_p, x_p, y_p, w_p, h_p = sized(counts, height, x, y, w, h)
    width_p = masks.pixels_p // height_p
    left_p, top_p = np.clip(x_p, 0, width_p), np.clip(y_p, 0, height_p)
    right_p, bottom_p = np.clip(x_p + w_p, left_p, width_p), np.clip(y_p + h_p, top_p, height_p)
    box_p4 = np.stack([left_p, top_p, right_p - left_p, bottom_p - top_p], 1)
    inside_p = np.empty(len(height_p), np.int64)
    kernels.area_in_box(masks.edges, masks.offsets, height_p, box_p4, inside_p)
    pixels_p = box_p4[:, 2] * box_p4[:, 3]
    return pa.array(inside_p / np.maximum(pixels_p, 1), mask=masks.null_p | (pixels_p == 0))


def centroid(counts: Column, height: Column) -> pa.Array:
    """struct of float64 x, y [P], mean column and row index of the pixels inside; null for an empty mask."""
    masks, height_p = sized(counts, height)
    xy_p2 = np.empty((len(height_p), 2))
    kernels.centroid(masks.edges, masks.offsets, height_p, xy_p2)
    return struct(POINT, xy_p2, masks.null_p | np.isnan(xy_p2[:, 0]))


def resize(counts: Column, height: Column, width: Column, new_height: Column, new_width: Column) -> pa.Array:
    """counts of the masks at another size: every new pixel is the old one in which its centre lies.

    Exact in integers: torch's ``nearest-exact`` is the same but for the rounding of its float32 scale.
    """
    masks, height_p, width_p, new_height_p, new_width_p = sized(counts, height, width, new_height, new_width)
    refuse_other_width(masks, height_p, width_p)
    for new_height, new_width in {*zip(new_height_p.tolist(), new_width_p.tolist(), strict=True)}:
        rle.check_size(new_height, new_width)
    offsets = np.empty(len(height_p) + 1, np.int64)
    out = kernels.resize(masks.edges, masks.offsets, height_p, width_p, new_height_p, new_width_p, offsets)
    return Edges(out, offsets, masks.null_p).to_counts()


def pixels(counts: Column, height: Column, width: Column) -> pa.Array:
    """binary [P], the mask row by row, one byte a pixel: 1 inside, 0 outside."""
    masks, height_p, width_p = sized(counts, height, width)
    refuse_other_width(masks, height_p, width_p)
    counts = one(counts)
    drawn = [
        None if null else rle.decode(counts.slice(row, 1), height, width)[0].tobytes()
        for row, (null, height, width) in enumerate(
            zip(masks.null_p.tolist(), height_p.tolist(), width_p.tolist(), strict=True)
        )
    ]
    return pa.array(drawn, pa.binary())


def _combined(a: Column, b: Column, table: int) -> pa.Array:
    first, second = pair(a, b)
    out = np.empty(len(first.edges) + len(second.edges), np.int32)
    offsets = np.empty(len(first.offsets), np.int64)
    kernels.combine(first.edges, first.offsets, second.edges, second.offsets, table, out, offsets)
    return Edges(out, offsets, first.null_p).to_counts()


def _overlap(a: Column, b: Column) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first, second = pair(a, b)
    both_p, either_p = np.empty(len(first.null_p), np.int64), np.empty(len(first.null_p), np.int64)
    kernels.overlap(first.edges, first.offsets, second.edges, second.offsets, both_p, either_p)
    return both_p, either_p, first.null_p
