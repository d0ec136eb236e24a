"""P masks taken apart into what hangs together, and put together again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from clipseg_ray.masks import pieces as kernels
from clipseg_ray.masks.edge_columns import Edges

Pieces: TypeAlias = tuple[slice, np.ndarray, np.ndarray, np.ndarray]

_AT_ONCE = 4096
"""Masks taken apart at a time: a full one, of a single run, has a piece for every column."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The K parts of P masks, in order of masks and of their first pixels column by column. See `pieces`.

    starts, ends, part: int32 [N], the pieces and the part each belongs to.
    piece_offsets, part_offsets: int64 [P + 1], where each mask's pieces and parts begin.
    height_p, pixels_p: int64 [P], the height and the pixels of each mask's grid.
    """

    starts: np.ndarray
    ends: np.ndarray
    part: np.ndarray
    piece_offsets: np.ndarray
    part_offsets: np.ndarray
    height_p: np.ndarray
    pixels_p: np.ndarray

    @property
    def mask_k(self) -> np.ndarray:
        """int64 [K], the mask that each part is of."""
        return np.repeat(np.arange(len(self.height_p)), np.diff(self.part_offsets))

    def measured(self) -> tuple[np.ndarray, np.ndarray]:
        """int64 [K] pixels of each part, and int32 [K, 4] its box: x, y, w, h."""
        area_k = np.empty(self.part_offsets[-1], np.int64)
        bbox_k4 = np.empty((len(area_k), 4), np.int32)
        kernels.measure(self.starts, self.ends, self.piece_offsets, self.height_p, self.part, area_k, bbox_k4)
        return area_k, bbox_k4

    def gathered(self, target_k: np.ndarray, pixels_m: np.ndarray, null_m: np.ndarray) -> Edges:
        """M masks of the parts: ``target_k`` (int64 [K]) says which each part goes into, -1 for none.

        pixels_m: int64 [M], the pixels of their grids. null_m: bool [M], rows that are null.
        """
        offsets = np.empty(len(pixels_m) + 1, np.int64)
        edges = kernels.gather(self.starts, self.ends, target_k[self.part], pixels_m, offsets)
        return Edges(edges, offsets, null_m)


def pieces_by_rows(masks: Edges, height_p: np.ndarray) -> Iterator[Pieces]:
    """Some thousand masks at a time: which rows they are, their pieces' starts and ends, where each one's begin."""
    for start in range(0, len(height_p), _AT_ONCE):
        rows = slice(start, min(start + _AT_ONCE, len(height_p)))
        block = masks.rows(rows)
        offsets = np.empty_like(block.offsets)
        starts, ends = kernels.split(block.edges, block.offsets, height_p[rows], offsets)
        yield rows, starts, ends, offsets


def parts_by_rows(masks: Edges, height_p: np.ndarray, *, diagonal: bool) -> Iterator[tuple[slice, Parts]]:
    """The same with their parts. ``diagonal``: whether pixels that touch by a corner hang together."""
    for rows, starts, ends, piece_offsets in pieces_by_rows(masks, height_p):
        part_offsets = np.empty_like(piece_offsets)
        part = kernels.parts(starts, ends, piece_offsets, height_p[rows], diagonal, part_offsets)
        yield (
            rows,
            Parts(
                starts=starts,
                ends=ends,
                part=part,
                piece_offsets=piece_offsets,
                part_offsets=part_offsets,
                height_p=height_p[rows],
                pixels_p=masks.pixels_p[rows],
            ),
        )
