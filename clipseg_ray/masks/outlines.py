"""Masks as polygons: COCO's lists of coordinates, and well-known text.

    segmentation = outlines.polygons(table["counts"], table["height"], pa.repeat(0.0, len(table)))

Columns go in and come out as in :mod:`clipseg_ray.masks.algebra`. Corners are those of pixels: the pixel in
column x and row y reaches from x to x + 1 and from y to y + 1, so that a polygon's area is that of its pixels, and
filling it (``pycocotools.mask.frPyObjects``) gives the same mask. With a tolerance above 0 corners are left out, as
long as no point of an outline moves farther than so many pixels and no line comes to cross another. A ring keeps four
corners.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from clipseg_ray.masks import outlines_kernel, rings_kernel, simplification_kernel
from clipseg_ray.masks.arrow import array, lists, string_array
from clipseg_ray.masks.edge_columns import Column, Edges, distances, edges_of, heights, null_where, nulls
from clipseg_ray.masks.parts import Parts, parts_by_rows


def polygons(counts: Column, height: Column, tolerance: Column) -> pa.Array:
    """COCO's segmentation: list of list of float64 [P], a list x0, y0, x1, y1, … for each 4-connected part.

    Parts are in the order of their first pixels, column by column. COCO's lists know no holes: a slit of no
    width leads from the upper edge of each one to the line above it, so that a part stays one polygon.
    """
    masks = edges_of(counts, nulls(counts, height, tolerance))
    parts_p, lengths, values = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros((0, 2))]
    for rings in _rings(masks, height, tolerance):
        xy_n2 = np.empty((len(rings.corners_n2) + 3 * (len(rings.ring_offsets) - 1), 2))
        offsets = np.empty(len(rings.part_rings), np.int64)
        rings_kernel.cut_open(
            rings.corners_n2, rings.ring_offsets, rings.part_rings, rings.from_the_top(), xy_n2, offsets
        )
        values.append(xy_n2[: offsets[-1]])
        lengths.append(2 * np.diff(offsets))
        parts_p.append(np.diff(rings.mask_parts))
    coordinates = array(np.concatenate(values).reshape(-1))
    return lists(np.concatenate(parts_p), lists(np.concatenate(lengths), coordinates), masks.null_p)


def wkt(counts: Column, height: Column, tolerance: Column) -> pa.Array:
    """Well-known text, string [P]: a valid MULTIPOLYGON, with holes as holes; MULTIPOLYGON EMPTY for an empty mask."""
    masks = edges_of(counts, nulls(counts, height, tolerance))
    texts = [pa.array([], pa.string())]
    for rings in _rings(masks, height, tolerance):
        masks_of_block, points = len(rings.mask_parts) - 1, len(rings.corners_n2) + len(rings.ring_offsets)
        digits = len(str(rings.corners_n2.max(initial=0)))
        text = np.empty(32 * masks_of_block + (2 * digits + 3) * points + 8 * len(rings.ring_offsets), np.uint8)
        offsets = np.empty(masks_of_block + 1, np.int64)
        rings_kernel.spell(rings.corners_n2, rings.ring_offsets, rings.part_rings, rings.mask_parts, text, offsets)
        texts.append(string_array(offsets, text[: offsets[-1]]))
    return null_where(masks.null_p, pa.concat_arrays(texts))


@dataclass(frozen=True)
class _Rings:
    """The rings of some masks, by part, the one around it first.

    corners_n2: int32 [N, 2], x and y. ring_offsets, part_rings, mask_parts: int64, where each ring's corners, each
    part's rings and each mask's parts begin.
    """

    corners_n2: np.ndarray
    ring_offsets: np.ndarray
    part_rings: np.ndarray
    mask_parts: np.ndarray

    def from_the_top(self) -> np.ndarray:
        """int64, the rings of each part: the one around it, then those around its holes, the highest first."""
        if len(self.corners_n2) == 0:
            return np.zeros(0, np.int64)
        top_r = np.minimum.reduceat(self.corners_n2[:, 1], self.ring_offsets[:-1])
        part_r = np.repeat(np.arange(len(self.part_rings) - 1), np.diff(self.part_rings))
        is_hole_r = np.arange(len(top_r)) != self.part_rings[part_r]
        return np.lexsort((top_r, is_hole_r, part_r))


def _rings(masks: Edges, height: Column, tolerance: Column) -> Iterator[_Rings]:
    height_p, tolerance_p = heights(masks, height), distances(tolerance, masks.null_p)
    for rows, parts in parts_by_rows(masks, height_p, diagonal=False):
        rings = _traced(parts)
        yield _simplified(rings, parts, tolerance_p[rows]) if tolerance_p[rows].any() else rings


def _traced(parts: Parts) -> _Rings:
    pieces = len(parts.starts)
    corners_n2 = np.empty((4 * pieces, 2), np.int32)
    offsets, ring_part = np.empty(pieces + 1, np.int64), np.empty(pieces, np.int32)
    count = outlines_kernel.trace(
        parts.starts, parts.ends, parts.piece_offsets, parts.height_p, parts.part, corners_n2, offsets, ring_part
    )
    order = np.argsort(ring_part[:count], kind="stable")
    length = np.diff(offsets[: count + 1])[order]
    ring_offsets = np.concatenate([[0], np.cumsum(length)])
    place = np.arange(ring_offsets[-1]) + np.repeat(offsets[order] - ring_offsets[:-1], length)
    part_rings = np.searchsorted(ring_part[order], np.arange(parts.part_offsets[-1] + 1))
    return _Rings(corners_n2[place], ring_offsets, part_rings, parts.part_offsets)


def _simplified(rings: _Rings, parts: Parts, tolerance_p: np.ndarray) -> _Rings:
    kept_n = np.ones(len(rings.corners_n2), np.bool_)
    simplification_kernel.simplify(
        rings.corners_n2.astype(np.int64),
        rings.ring_offsets,
        rings.part_rings[rings.mask_parts],
        parts.height_p,
        parts.pixels_p,
        tolerance_p,
        kept_n,
    )
    before = np.concatenate([[0], np.cumsum(kept_n)])
    return _Rings(rings.corners_n2[kept_n], before[rings.ring_offsets], rings.part_rings, rings.mask_parts)
