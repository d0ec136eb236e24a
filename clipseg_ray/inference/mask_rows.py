"""Blocks of masks from the engine, gathered into rows of the masks table."""

from __future__ import annotations

import copy
from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipseg_ray.errors import UserError
from clipseg_ray.masks.columns import columns
from clipseg_ray.masks.rle import area_of_bits, encode_bits
from clipseg_ray.model.block import Block
from clipseg_ray.model.image_size import encode_at_image_size
from clipseg_ray.model.stage import FILLERS
from clipseg_ray.queries.set_questions import SetQuestions
from clipseg_ray.results.optional_columns import masks_schema


class MaskRows:
    """The rows of one chunk's masks for one prompt set.

    ``images``: rows of the images table with status ok, in the order the pixels were given to the engine.
    ``optional``: the names of the dataset's optional columns.
    """

    def __init__(
        self,
        images: pa.Table,
        asked: SetQuestions,
        *,
        at_image_size: bool,
        optional: Collection[str] = (),
    ) -> None:
        self._asked = asked
        self._at_image_size = at_image_size
        self._schema = masks_schema(optional)
        self._image_ids = images.column("image_id").combine_chunks()
        self._heights = images.column("height").to_numpy()
        self._widths = images.column("width").to_numpy()
        self._kept_bq = None
        if asked.competition is not None and asked.pairs is not None:
            self._kept_bq = np.zeros((images.num_rows, len(asked.query_ids)), np.bool_)
            self._kept_bq[asked.pairs] = True
        self._tables: list[pa.Table] = []

    def add(self, block: Block) -> None:
        """Encode one ``Block``. Raises UserError naming the query whose logits are not finite."""
        image_p, query_p = block.image_index_p, block.query_index_p
        finite_p = np.isfinite(block.max_logit_p)
        if not finite_p.all():
            bad = int(np.flatnonzero(~finite_p)[0])
            query = (
                self._asked.query_ids[int(query_p[bad])].as_py()
                if block.unsound_prompt is None
                else self._asked.prompt_ids[block.unsound_prompt]
            )
            raise UserError(
                f"query {query!r}: logits are not finite on image "
                f"{self._image_ids[int(image_p[bad])].as_py()!r}; try model.precision: fp32 in another output"
            )
        heights, widths = self._heights[image_p], self._widths[image_p]
        threshold_p = self._asked.threshold_logits_q[query_p]
        if self._at_image_size:
            rles = encode_at_image_size(block, heights, widths, threshold_p)
            size_p: tuple[np.ndarray, np.ndarray] = (heights, widths)
            grid_area_p = area_of_bits(block.bits_pn)
        else:
            rles = encode_bits(block.bits_pn, *block.grid, block.max_logit_p > threshold_p)
            size_p = (np.full(len(image_p), block.grid[0]), np.full(len(image_p), block.grid[1]))
            grid_area_p = None
        table = pa.table(
            {
                "image_id": self._image_ids.take(pa.array(image_p)),
                "query_id": self._asked.query_ids.take(pa.array(query_p)),
                "query_text": self._asked.query_texts.take(pa.array(query_p)),
                **columns(rles, *size_p, block.max_logit_p, block.probability_sum_p, grid_area_p),
                "height": pa.array(size_p[0], pa.int32()),
                "width": pa.array(size_p[1], pa.int32()),
                "image_height": pa.array(heights, pa.int32()),
                "image_width": pa.array(widths, pa.int32()),
                "prompt_set": pa.repeat(self._asked.name, len(query_p)),
                **{name: FILLERS[name].column(values) for name, values in block.optional.items()},
            }
        ).select(self._schema.names)
        self._tables.append(table if self._kept_bq is None else table.filter(pa.array(self._kept_bq[image_p, query_p])))

    def anew(self) -> MaskRows:
        """An empty one for the same images and set."""
        other = copy.copy(self)
        other._tables = []
        return other

    def table(self, keep_empty: bool) -> pa.Table:
        """Every (image, query) row, or only those with an area."""
        joined = pa.concat_tables(self._tables) if self._tables else self._schema.empty_table()
        return joined if keep_empty else joined.filter(pc.greater(joined.column("area"), 0))
