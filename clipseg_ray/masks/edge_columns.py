"""Columns of COCO run lengths as the edges that kernels work on, further arguments, and what is refused of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipseg_ray.errors import UserError
from clipseg_ray.masks import edges as kernels
from clipseg_ray.masks import parsing, run_lengths
from clipseg_ray.masks.arrow import string_array

Column: TypeAlias = pa.Array | pa.ChunkedArray


@dataclass(frozen=True)
class Edges:
    """P masks as `clipseg_ray.masks.edges` has them. ``null_p`` marks rows that are null, whose masks may be any."""

    edges: np.ndarray
    offsets: np.ndarray
    null_p: np.ndarray

    @property
    def pixels_p(self) -> np.ndarray:
        """int64 [P], height·width of each."""
        return self.edges[self.offsets[1:] - 1].astype(np.int64)

    @classmethod
    def joined(cls, blocks: Sequence[Edges]) -> Edges:
        """The masks of all blocks in their order."""
        edges = np.concatenate([np.zeros(0, np.int32), *(block.edges for block in blocks)])
        lengths = np.concatenate([np.zeros(1, np.int64), *(np.diff(block.offsets) for block in blocks)])
        null_p = np.concatenate([np.zeros(0, np.bool_), *(block.null_p for block in blocks)])
        return cls(edges, np.cumsum(lengths), null_p)

    def rows(self, rows: slice) -> Edges:
        """Some of the masks that lie beside each other."""
        offsets = self.offsets[rows.start : rows.stop + 1]
        return Edges(self.edges[offsets[0] : offsets[-1]], offsets - offsets[0], self.null_p[rows])

    def complement(self) -> Edges:
        """The pixels that are not inside."""
        out, offsets = np.empty(len(self.edges) + len(self.null_p), np.int32), np.empty_like(self.offsets)
        kernels.complement(self.edges, self.offsets, out, offsets)
        return Edges(out, offsets, self.null_p)

    def to_counts(self) -> pa.Array:
        """COCO's compressed counts, string [P]."""
        offsets = np.empty(len(self.offsets), np.int64)
        characters = run_lengths.counts_of_edges(self.edges, self.offsets, offsets)
        return null_where(self.null_p, string_array(offsets, characters))


def one(column: Column) -> pa.Array:
    """The column in one piece."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def nulls(*columns: Column) -> np.ndarray:
    """bool [P], the rows that are null in any column."""
    null_p = np.zeros(len(columns[0]), np.bool_)
    for column in columns:
        null_p |= one(column.is_null()).to_numpy(zero_copy_only=False)
    return null_p


def null_where(null_p: np.ndarray, array: pa.Array) -> pa.Array:
    """The array, null in those rows."""
    return pc.if_else(pa.array(null_p), pa.scalar(None, array.type), array) if null_p.any() else array


def edges_of(counts: Column, null_p: np.ndarray) -> Edges:
    """The masks, those of null rows with 0 pixels. Raises UserError for what is no counts."""
    column = one(counts).cast(pa.large_string())
    if null_p.any():
        column = pc.if_else(pa.array(null_p), pa.scalar("", pa.large_string()), column)
    _, offsets_buffer, data = column.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64, len(column) + 1, 8 * column.offset)
    characters = np.frombuffer(data or b"", np.uint8)
    used = int(offsets[-1] - offsets[0])
    edges, starts = np.empty(used + len(column), np.int32), np.empty(len(column) + 1, np.int64)
    bad = parsing.edges_of_counts(characters, offsets, edges, starts)
    masks = Edges(edges, starts, null_p)
    if bad < 0 and (without := np.flatnonzero(~null_p & (masks.pixels_p == 0))).size:
        bad = int(without[0])
    if bad >= 0:
        raise UserError(f"{column[bad].as_py()[:40]!r} is no COCO run-length encoding; give the column counts")
    return masks


def pair(a: Column, b: Column, *more: Column) -> tuple[Edges, Edges]:
    """Both masks of each row, which must be of as many pixels (UserError); null where any column is null."""
    null_p = nulls(a, b, *more)
    first, second = edges_of(a, null_p), edges_of(b, null_p)
    refuse_unequal(first.pixels_p, second.pixels_p, np.arange(len(null_p)))
    return first, second


def sized(counts: Column, height: Column, *numbers: Column) -> tuple[Any, ...]:
    """The masks, their heights and further numbers as int64 [P]; where any is null, all are null and numbers are 1.

    Raises UserError for a mask without such a height.
    """
    masks = edges_of(counts, nulls(counts, height, *numbers))
    height_p = heights(masks, height)
    return masks, height_p, *(whole(column, masks.null_p) for column in numbers)


def heights(masks: Edges, height: Column) -> np.ndarray:
    """int64 [P], 1 in null rows. Raises UserError for a mask without such a height."""
    height_p = whole(height, masks.null_p)
    remainder_p = masks.pixels_p % np.maximum(height_p, 1)
    if (bad := np.flatnonzero((height_p < 1) | (remainder_p != 0))).size:
        raise UserError(f"row {bad[0]}: a mask of {masks.pixels_p[bad[0]]} pixels has no height of {height_p[bad[0]]}")
    return height_p


def whole(column: Column, null_p: np.ndarray) -> np.ndarray:
    """int64 [P], 1 in null rows."""
    return np.where(null_p, 1, one(column).cast(pa.int64()).fill_null(1).to_numpy(zero_copy_only=False))


def distances(column: Column, null_p: np.ndarray) -> np.ndarray:
    """float64 [P], pixels; 0 in null rows. Raises UserError for what is below 0 or no number."""
    distance_p = np.where(null_p, 0.0, one(column).cast(pa.float64()).fill_null(0).to_numpy(zero_copy_only=False))
    if (bad := np.flatnonzero(~(distance_p >= 0))).size:
        raise UserError(f"row {bad[0]}: a distance of {distance_p[bad[0]]:g} pixels; it must be 0 or more")
    return distance_p


def refuse_other_width(masks: Edges, height_p: np.ndarray, width_p: np.ndarray) -> None:
    """UserError where a mask has another number of pixels than its height times its width."""
    if (bad := np.flatnonzero(~masks.null_p & (height_p * width_p != masks.pixels_p))).size:
        row = bad[0]
        raise UserError(f"row {row}: a mask of {masks.pixels_p[row]} pixels is not {height_p[row]}×{width_p[row]}")


def refuse_unequal(a: np.ndarray, b: np.ndarray, row_p: np.ndarray) -> None:
    """UserError, with the number of its row, for the first pair of masks of different numbers of pixels."""
    if (bad := np.flatnonzero(a != b)).size:
        first = bad[0]
        raise UserError(
            f"row {row_p[first]}: masks of {a[first]} and {b[first]} pixels; resize one to the other's height and width"
        )
