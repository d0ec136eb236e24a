"""What one prompt set asks of some images, as the model is to be asked it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from clipseg_ray.masks.competition import Competition
from clipseg_ray.queries.phrase_set import PhraseSet, phrase_id
from clipseg_ray.queries.prompt_set import PromptSet


@dataclass(frozen=True, kw_only=True)
class SetQuestions:
    """What one prompt set asks of the images of a chunk.

    ``name``: the set's. ``prompts``: the model's own form of the conditionals. ``prompt_ids``: the query that each is
    of. ``threshold_logits_q``: float32 [q], of the queries that have masks. ``query_texts``: the phrase where it came
    with the image, else null. ``pairs``: (image_index_p, query_index_p) where not every query is put to every image,
    else None. ``competition``: where queries are not their prompts alone; they are put to every image then, and
    ``pairs`` are those of which rows are kept.
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

    def only(self, asked: Sequence[Collection[str]]) -> SetQuestions:
        """The same where each image is asked the queries of these ids alone; ids that the set lacks are others'."""
        ids = self.query_ids.to_pylist()
        places = [[place for place, query_id in enumerate(ids) if query_id in own] for own in map(frozenset, asked)]
        image_index_p = np.repeat(np.arange(len(places)), [len(own) for own in places])
        return replace(self, pairs=(image_index_p, np.array(list(chain(*places)), np.int64)))

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
