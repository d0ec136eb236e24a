"""Blocks of masks from the engine, gathered into rows of the masks table."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipseg_ray.errors import UserError
from clipseg_ray.masks.columns import columns
from clipseg_ray.masks.competition import Competition
from clipseg_ray.masks.rle import area_of_bits, encode_bits
from clipseg_ray.model.block import Block
from clipseg_ray.model.image_size import encode_at_image_size
from clipseg_ray.model.stage import FILLERS
from clipseg_ray.queries.phrase_set import PhraseSet, phrase_id
from clipseg_ray.queries.prompt_set import PromptSet
from clipseg_ray.results.optional_columns import masks_schema


@dataclass(frozen=True, kw_only=True)
class SetQuestions:
    """What one prompt set asks of the images of a chunk.

    ``name``: the set's. ``prompts``: the model's own form of the conditionals. ``prompt_ids``: the query that each is
    of. ``threshold_logits_q``: float32 [q], of the queries that have masks. ``query_texts``: the phrase where it came
    with the image, else null. ``pairs``: (image_index_p, query_index_p) where not every query is put to every image,
    else None. ``competition``: where queries are not their prompts alone.
    """

    name: str
    prompts: Any
    prompt_ids: Sequence[str]
    threshold_logits_q: np.ndarray
    query_ids: pa.Array
    query_texts: pa.Array
    pairs: tuple[np.ndarray, np.ndarray] | None = None
    competition: Competition | None = None

    @classmethod
    def of_queries(cls, prompt_set: PromptSet, to_prompts: Callable[[np.ndarray], Any]) -> SetQuestions:
        """Every query put to every image; ``to_prompts`` is ``Engine.embed``."""
        ids = [query.query_id for query in prompt_set.queries]
        return cls(
            name=prompt_set.name,
            prompts=to_prompts(prompt_set.conditionals_qc),
            prompt_ids=[query.query_id for query in prompt_set.prompts],
            threshold_logits_q=prompt_set.threshold_logits_q,
            query_ids=pa.array(ids, pa.string()),
            query_texts=pa.nulls(len(ids), pa.string()),
            competition=prompt_set.competition,
        )

    @classmethod
    def of_phrases(
        cls,
        phrase_set: PhraseSet,
        phrases: Sequence[Sequence[str]],
        embed: Callable[[Sequence[str]], np.ndarray],
        to_prompts: Callable[[np.ndarray], Any],
    ) -> SetQuestions:
        """Each image's own ``phrases`` put to it alone; equal phrases share a conditional."""
        texts = list(dict.fromkeys(text for own in phrases for text in own))
        place = {text: index for index, text in enumerate(texts)}
        ids = [phrase_id(text) for text in texts]
        return cls(
            name=phrase_set.name,
            prompts=to_prompts(embed(texts)),
            prompt_ids=ids,
            threshold_logits_q=np.full(len(texts), phrase_set.threshold_logit, np.float32),
            query_ids=pa.array(ids, pa.string()),
            query_texts=pa.array(texts, pa.string()),
            pairs=(
                np.repeat(np.arange(len(phrases)), [len(own) for own in phrases]),
                np.array([place[text] for own in phrases for text in own], np.int64),
            ),
        )


class MaskRows:
    """The rows of one chunk's masks for one prompt set.

    ``images``: rows of the images table with status ok, in the order the pixels were given to the engine.
    ``optional``: the names of the dataset's optional columns.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        images: pa.Table,
        asked: SetQuestions,
        *,
        at_image_size: bool,
        optional: Collection[str] = (),
    ) -> None:
        self._grid = grid
        self._asked = asked
        self._at_image_size = at_image_size
        self._schema = masks_schema(optional)
        self._image_ids = images.column("image_id").combine_chunks()
        self._heights = images.column("height").to_numpy()
        self._widths = images.column("width").to_numpy()
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
            rles = encode_bits(block.bits_pn, *self._grid, block.max_logit_p > threshold_p)
            size_p = (np.full(len(image_p), self._grid[0]), np.full(len(image_p), self._grid[1]))
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
        self._tables.append(table)

    def anew(self) -> MaskRows:
        """An empty one for the same images and set."""
        other = copy.copy(self)
        other._tables = []
        return other

    def table(self, keep_empty: bool) -> pa.Table:
        """Every (image, query) row, or only those with an area."""
        joined = pa.concat_tables(self._tables) if self._tables else self._schema.empty_table()
        return joined if keep_empty else joined.filter(pc.greater(joined.column("area"), 0))
