"""Masks grown, shrunk and smoothed by a distance, their borders, and how far two are from each other.

    table_edge = morphology.boundary(regions.fill_holes(counts, height), height, pa.repeat(1, rows))

Columns go in and come out as in :mod:`clipseg_ray.masks.algebra`. Distances are in pixels, whole or not, Euclidean and
between the centres of pixels: 1 are the four neighbours, 1.5 the eight. The grid's border is none of a mask's: what
lies beyond it is neither inside nor outside, so nothing shrinks from there. References are ``distance_transform_edt``
of ``scipy.ndimage``, and its ``binary_dilation`` with a disc.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from clipseg_ray.masks import algebra
from clipseg_ray.masks import morphology_kernel as kernels
from clipseg_ray.masks.edge_columns import Column, Edges, distances, edges_of, heights, nulls, pair
from clipseg_ray.masks.parts import pieces_by_rows


def dilate(counts: Column, height: Column, radius: Column) -> pa.Array:
    """counts of the pixels no farther than ``radius`` from one inside."""
    return _dilated(*_given(counts, height, radius)).to_counts()


def erode(counts: Column, height: Column, radius: Column) -> pa.Array:
    """counts of the pixels inside that are farther than ``radius`` from every pixel that is not."""
    return _eroded(*_given(counts, height, radius)).to_counts()


def opening(counts: Column, height: Column, radius: Column) -> pa.Array:
    """counts of the mask eroded and then dilated: without what is thinner than a disc of this radius."""
    masks, height_p, radius_p = _given(counts, height, radius)
    return _dilated(_eroded(masks, height_p, radius_p), height_p, radius_p).to_counts()


def closing(counts: Column, height: Column, radius: Column) -> pa.Array:
    """counts of the mask dilated and then eroded: with the gaps that no disc of this radius fits into."""
    masks, height_p, radius_p = _given(counts, height, radius)
    return _eroded(_dilated(masks, height_p, radius_p), height_p, radius_p).to_counts()


def boundary(counts: Column, height: Column, distance: Column) -> pa.Array:
    """counts of the pixels inside that are no farther than ``distance`` from one that is not."""
    return algebra.difference(counts, erode(counts, height, distance))


def border_iou(a: Column, b: Column, height: Column, distance: Column) -> pa.Array:
    """float64 [P], intersection over union of both masks' boundaries; null where neither has one.

    Boundary IoU (https://arxiv.org/abs/2103.16562) by Euclidean distance and without the image's own border.
    """
    null_p = nulls(a, b, height, distance)
    first, second = (boundary(mask, height, distance) for mask in (a, b))
    either = algebra.area(algebra.union(first, second))
    either_p = either.fill_null(0).to_numpy(zero_copy_only=False)
    iou_p = algebra.iou(first, second).fill_null(0).to_numpy(zero_copy_only=False)
    return pa.array(iou_p, mask=null_p | (either_p == 0))


def distance(a: Column, b: Column, height: Column) -> pa.Array:
    """float64 [P], pixels from the nearest pixel inside a to the nearest inside b; 0 where they overlap.

    Null where either mask is empty.
    """
    first, second = pair(a, b, height)
    height_p = heights(first, height)
    distance_p = np.empty(len(height_p))
    for (rows, *of_a), (_, *of_b) in zip(
        pieces_by_rows(first, height_p), pieces_by_rows(second, height_p), strict=True
    ):
        kernels.distance(*of_a, *of_b, height_p[rows], first.pixels_p[rows], distance_p[rows])
    return pa.array(distance_p, mask=first.null_p | np.isnan(distance_p))


def _given(counts: Column, height: Column, distance: Column) -> tuple[Edges, np.ndarray, np.ndarray]:
    masks = edges_of(counts, nulls(counts, height, distance))
    return masks, heights(masks, height), distances(distance, masks.null_p)


def _dilated(masks: Edges, height_p: np.ndarray, radius_p: np.ndarray) -> Edges:
    blocks = []
    for rows, *pieces in pieces_by_rows(masks, height_p):
        offsets = np.empty(rows.stop - rows.start + 1, np.int64)
        edges = kernels.dilate(*pieces, height_p[rows], masks.pixels_p[rows], radius_p[rows], offsets)
        blocks.append(Edges(edges, offsets, masks.null_p[rows]))
    return Edges.joined(blocks)


def _eroded(masks: Edges, height_p: np.ndarray, radius_p: np.ndarray) -> Edges:
    return _dilated(masks.complement(), height_p, radius_p).complement()
