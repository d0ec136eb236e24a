"""Blocks of masks from the engine, gathered into rows of the masks table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipseg_ray.errors import UserError
from clipseg_ray.masks.columns import columns
from clipseg_ray.masks.resize import encode_at_size
from clipseg_ray.masks.rle import Rles, area_of_bits, concatenate, encode_bits
from clipseg_ray.queries.prompt_set import PromptSet
from clipseg_ray.results import schema


@dataclass(frozen=True)
class Asked:
    """Several prompt sets put to the model at once, their queries one after the other.

    ``film``: the engine's own form of the conditionals. ``threshold_logits_q``: float32 [q]. ``bounds``: where each
    set begins and ends among the queries.
    """

    film: Any
    threshold_logits_q: np.ndarray
    query_ids: pa.Array
    bounds: tuple[int, ...]

    @classmethod
    def of(cls, wanted: Sequence[PromptSet], film: Callable[[np.ndarray], Any]) -> Asked:
        """Join the sets; ``film`` is ``Engine.film``."""
        counts = [len(prompt_set.queries) for prompt_set in wanted]
        return cls(
            film(np.concatenate([prompt_set.conditionals_qc for prompt_set in wanted])),
            np.concatenate([prompt_set.threshold_logits_q for prompt_set in wanted]).astype(np.float32),
            pa.array([query.query_id for prompt_set in wanted for query in prompt_set.queries], pa.string()),
            tuple(np.cumsum([0, *counts]).tolist()),
        )


class MaskRows:
    """The rows of one chunk's masks, one table per prompt set.

    ``images``: rows of the images table with status ok, in the order the pixels were given to the engine.
    """

    def __init__(self, grid: tuple[int, int], images: pa.Table, asked: Asked, at_image_size: bool) -> None:
        self._grid = grid
        self._asked = asked
        self._at_image_size = at_image_size
        self._image_ids = images.column("image_id").combine_chunks()
        self._heights = images.column("height").to_numpy()
        self._widths = images.column("width").to_numpy()
        self._tables: list[list[pa.Table]] = [[] for _ in asked.bounds[1:]]

    def add(self, block: Any) -> None:
        """Encode one ``model.engine.Block``. Raises UserError naming the query whose logits are not finite."""
        image_p, query_p = block.image_index_p, block.query_index_p
        finite_p = np.isfinite(block.max_logit_p)
        if not finite_p.all():
            bad = int(np.flatnonzero(~finite_p)[0])
            raise UserError(
                f"query {self._asked.query_ids[int(query_p[bad])].as_py()!r}: logits are not finite on image "
                f"{self._image_ids[int(image_p[bad])].as_py()!r}; try model.precision: fp32 in another output"
            )
        heights, widths = self._heights[image_p], self._widths[image_p]
        threshold_p = self._asked.threshold_logits_q[query_p]
        if self._at_image_size:
            rles = _at_image_size(block, heights, widths, threshold_p)
            size_p: tuple[np.ndarray, np.ndarray] = (heights, widths)
            grid_area_p = area_of_bits(block.bits_pn)
        else:
            rles = encode_bits(block.bits_pn, *self._grid, block.max_logit_p > threshold_p)
            size_p = (np.full(len(image_p), self._grid[0]), np.full(len(image_p), self._grid[1]))
            grid_area_p = None
        table = pa.table(
            {
                "image_id": self._image_ids.take(pa.array(image_p)),
                "query_id": self._asked.query_ids.take(pa.array(query_p)),
                "query_text": pa.nulls(len(image_p), pa.string()),
                **columns(rles, *size_p, block.max_logit_p, block.probability_sum_p, grid_area_p),
                "height": pa.array(size_p[0], pa.int32()),
                "width": pa.array(size_p[1], pa.int32()),
                "image_height": pa.array(heights, pa.int32()),
                "image_width": pa.array(widths, pa.int32()),
            }
        ).select(schema.MASKS.names)
        for number, rows in enumerate(self._tables):
            low, high = self._asked.bounds[number : number + 2]
            inside = (query_p >= low) & (query_p < high)
            if inside.all():
                rows.append(table)
            elif inside.any():
                rows.append(table.filter(pa.array(inside)))

    def tables(self, keep_empty: bool) -> list[pa.Table]:
        """One table per set, with every (image, query) row, or only those with an area."""
        joined = [pa.concat_tables(rows) if rows else schema.MASKS.empty_table() for rows in self._tables]
        if keep_empty:
            return joined
        return [table.filter(pc.greater(table.column("area"), 0)) for table in joined]


def _at_image_size(block: Any, heights: np.ndarray, widths: np.ndarray, threshold_p: np.ndarray) -> Rles:
    """The block's masks, each at its image's size; rows of one image stand together and share it."""
    changes = np.flatnonzero(np.diff(block.image_index_p)) + 1
    found = []
    for rows in np.split(np.arange(len(threshold_p)), changes):
        height, width = int(heights[rows[0]]), int(widths[rows[0]])
        inside_k = (block.logits_row_k >= rows[0]) & (block.logits_row_k <= rows[-1])
        row_k = block.logits_row_k[inside_k]
        encoded = encode_at_size(block.logits_kwh[inside_k], height, width, threshold_p[row_k])
        empty = encode_bits(np.zeros((1, (height * width + 7) // 8), np.uint8), height, width, np.zeros(1, np.bool_))
        # Row 0 of the joined pair is the empty mask; rows without logits point at it.
        pick = np.zeros(len(rows), np.int64)
        pick[row_k - rows[0]] = 1 + np.arange(len(row_k))
        joined = concatenate([empty, encoded])
        found.append(Rles(joined.counts.take(pa.array(pick)), joined.area[pick], joined.bbox[pick]))
    return concatenate(found)
