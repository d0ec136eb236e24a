"""Mask algebra in Polars: importing this gives expressions the namespace ``mask``.

    import clipseg_ray.polars
    frame.with_columns(iou=pl.col("counts").mask.iou("counts_right"))

What each operation computes is in :mod:`clipseg_ray.masks.algebra`, :mod:`~clipseg_ray.masks.regions`,
:mod:`~clipseg_ray.masks.morphology` and :mod:`~clipseg_ray.masks.outlines`; the expression it is called on is
``counts``, other arguments are column names, expressions or numbers. Two masks of a row must be of one size; a null
gives null.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import polars as pl

from clipseg_ray.masks import algebra, morphology, moving, outlines, regions

Argument = str | int | float | pl.Expr

_BOX = pl.Struct(dict.fromkeys("xywh", pl.Int32))
_COMPONENTS = pl.List(pl.Struct({"counts": pl.String, "area": pl.Int64, "bbox": _BOX}))
_POINT = pl.Struct({"x": pl.Float64, "y": pl.Float64})


@pl.api.register_expr_namespace("mask")
class MaskNamespace:
    """Operations on a column of COCO run lengths."""

    def __init__(self, counts: pl.Expr) -> None:
        self._counts = counts

    def area(self) -> pl.Expr:
        """Pixels inside."""
        return self._call(algebra.area, pl.Int64)

    def bbox(self, height: Argument = "height") -> pl.Expr:
        """x, y, w, h as COCO."""
        return self._call(algebra.bbox, _BOX, height)

    def centroid(self, height: Argument = "height") -> pl.Expr:
        """Mean column and row of the pixels inside."""
        return self._call(algebra.centroid, _POINT, height)

    def iou(self, other: Argument) -> pl.Expr:
        """Intersection over union."""
        return self._call(algebra.iou, pl.Float64, other)

    def overlap(self, other: Argument) -> pl.Expr:
        """Pixels inside both."""
        return self._call(algebra.overlap, pl.Int64, other)

    def union(self, other: Argument) -> pl.Expr:
        """counts of the pixels inside either."""
        return self._call(algebra.union, pl.String, other)

    def intersection(self, other: Argument) -> pl.Expr:
        """counts of the pixels inside both."""
        return self._call(algebra.intersection, pl.String, other)

    def difference(self, other: Argument) -> pl.Expr:
        """counts of the pixels inside and not inside the other."""
        return self._call(algebra.difference, pl.String, other)

    def xor(self, other: Argument) -> pl.Expr:
        """counts of the pixels inside one and not inside the other."""
        return self._call(algebra.xor, pl.String, other)

    def complement(self) -> pl.Expr:
        """counts of the pixels that are not inside."""
        return self._call(algebra.complement, pl.String)

    def union_all(self) -> pl.Expr:
        """counts of the pixels inside any mask of a list, as ``group_by(…).agg("counts")`` makes it."""
        return self._call(algebra.union_all, pl.String)

    def box_coverage(self, height: Argument, x: Argument, y: Argument, w: Argument, h: Argument) -> pl.Expr:
        """The share of a box's pixels that are inside."""
        return self._call(algebra.box_coverage, pl.Float64, height, x, y, w, h)

    def resize(self, height: Argument, width: Argument, new_height: Argument, new_width: Argument) -> pl.Expr:
        """counts at another size."""
        return self._call(algebra.resize, pl.String, height, width, new_height, new_width)

    def crop(self, height: Argument, x: Argument, y: Argument, w: Argument, h: Argument) -> pl.Expr:
        """counts of what is in a box, of the box's size."""
        return self._call(algebra.crop, pl.String, height, x, y, w, h)

    def components(
        self, min_area: Argument = 1, height: Argument = "height", connectivity: Literal[4, 8] = 8
    ) -> pl.Expr:
        """What hangs together, the largest first: list of struct of counts, area and bbox."""
        found = partial(regions.components, connectivity=connectivity)
        return self._call(found, _COMPONENTS, height, min_area)

    def fill_holes(self, height: Argument = "height") -> pl.Expr:
        """counts of the mask and of what it encloses."""
        return self._call(regions.fill_holes, pl.String, height)

    def dilate(self, radius: Argument, height: Argument = "height") -> pl.Expr:
        """counts of the pixels no farther than ``radius`` from one inside."""
        return self._call(morphology.dilate, pl.String, height, radius)

    def erode(self, radius: Argument, height: Argument = "height") -> pl.Expr:
        """counts of the pixels inside that are farther than ``radius`` from all that are not."""
        return self._call(morphology.erode, pl.String, height, radius)

    def open(self, radius: Argument, height: Argument = "height") -> pl.Expr:
        """counts of the mask without what is thinner than a disc of this radius."""
        return self._call(morphology.opening, pl.String, height, radius)

    def close(self, radius: Argument, height: Argument = "height") -> pl.Expr:
        """counts of the mask with the gaps that no disc of this radius fits into."""
        return self._call(morphology.closing, pl.String, height, radius)

    def boundary(self, distance: Argument = 1, height: Argument = "height") -> pl.Expr:
        """counts of the pixels inside that are no farther than ``distance`` from one that is not."""
        return self._call(morphology.boundary, pl.String, height, distance)

    def border_iou(self, other: Argument, distance: Argument, height: Argument = "height") -> pl.Expr:
        """Intersection over union of both masks' boundaries."""
        return self._call(morphology.border_iou, pl.Float64, other, height, distance)

    def distance(self, other: Argument, height: Argument = "height") -> pl.Expr:
        """Pixels from the nearest pixel inside one to the nearest inside the other."""
        return self._call(morphology.distance, pl.Float64, other, height)

    def polygons(self, tolerance: Argument = 0, height: Argument = "height") -> pl.Expr:
        """COCO's lists x0, y0, x1, y1, … of the corners of the outline, one for each part."""
        return self._call(outlines.polygons, pl.List(pl.List(pl.Float64)), height, tolerance)

    def wkt(self, tolerance: Argument = 0, height: Argument = "height") -> pl.Expr:
        """The outline as well-known text, a MULTIPOLYGON."""
        return self._call(outlines.wkt, pl.String, height, tolerance)

    def decode(self, height: Argument = "height", width: Argument = "width") -> pl.Expr:
        """Pixels row by row, one byte each, 1 inside."""
        return self._call(algebra.pixels, pl.Binary, height, width)

    def rethreshold(self, threshold: Argument, height: Argument = "height", width: Argument = "width") -> pl.Expr:
        """Of a column ``heat``: counts at another threshold."""

        return self._call(moving.rethreshold, pl.String, height, width, threshold)

    def _call(self, function: Any, returns: Any, *arguments: Argument) -> pl.Expr:
        def run(columns: Sequence[pl.Series]) -> pl.Series:
            rows = len(columns[0])
            whole = [column if len(column) == rows else column.new_from_index(0, rows) for column in columns]
            found = function(*(column.to_arrow() for column in whole))
            return pl.Series(columns[0].name, found, dtype=returns)

        others = [
            pl.col(each) if isinstance(each, str) else each if isinstance(each, pl.Expr) else pl.lit(each)
            for each in arguments
        ]
        return pl.map_batches([self._counts, *others], run, return_dtype=returns)
