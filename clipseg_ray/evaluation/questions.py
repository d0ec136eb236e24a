"""The questions of one job as the decoder takes them: conditionals for every image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from clipseg_ray.evaluation.episode_supports import Posed
from clipseg_ray.evaluation.protocols import Asking, Task, table_queries
from clipseg_ray.evaluation.support_draws import Candidates
from clipseg_ray.evaluation.truth import Scene, Thing
from clipseg_ray.model.checkpoint import Checkpoint
from clipseg_ray.queries.others import only
from clipseg_ray.queries.prompt_set import PromptSet, embed
from clipseg_ray.queries.query import Query


@dataclass(frozen=True, eq=False, kw_only=True)
class Questions:
    """What is asked of every image of a truth set in one way. Pickles to workers.

    texts_wc: for each thing its wordings' embeddings, float32 [w, c], w ≥ 1; None where words are no part of it.
    pictures: for each thing its supports; None where these are no part of it. alpha: the supports' share.
    times: for each thing how often each image, by its SHA-256, is asked; None where each is asked once.
    prompt_set: of a query table, and then all there is: its written queries are the things, and it holds what they
    need besides.
    """

    job: Task
    things: tuple[Thing, ...]
    texts_wc: tuple[np.ndarray, ...] | None
    pictures: tuple[Candidates | Posed, ...] | None
    times: tuple[Mapping[str, int], ...] | None = None
    alpha: float
    shots: int = 1
    seed: int = 0
    prompt_set: PromptSet | None = None

    def conditionals(self, index: int, image: str) -> np.ndarray:
        """The conditionals to be asked for thing ``index`` of the image with this SHA-256: float32 [w, c].

        One row a wording, of each episode; no row where too few other images can serve as supports, or none is drawn.
        """
        if self.pictures is None:
            assert self.texts_wc is not None
            asked = 1 if self.times is None else self.times[index].get(image, 0)
            return np.tile(self.texts_wc[index], (asked, 1))
        shown_ec = self.pictures[index].asked_with(image, self.things[index].query_id, self.shots, self.seed)
        if self.texts_wc is None:
            return shown_ec
        texts_wc = self.texts_wc[index]
        blended_ewc = self.alpha * shown_ec[:, None] + (1 - self.alpha) * texts_wc
        return blended_ewc.reshape(-1, texts_wc.shape[1])

    def concern(self, scene: Scene) -> bool:
        """Whether some of them may be put to a scene: what none concerns need not be encoded."""
        if self.times is not None:
            return any(scene.sha256 in times for times in self.times)
        if self.job.everywhere:
            return True
        return any(mask.query_id in self._names or not self._names.isdisjoint(mask.texts) for mask in scene.masks)

    @cached_property
    def _names(self) -> frozenset[str]:
        """Of what holds where one of the things does."""
        return frozenset(name for thing in self.things for name in (thing.query_id, *thing.concept))


def prepare(
    job: Task,
    checkpoint: Checkpoint,
    pictures: Mapping[str, Candidates | Posed],
    times: Mapping[str, Mapping[str, int]] | None = None,
    *,
    shots: int = 1,
    seed: int = 0,
) -> Questions:
    """Embed a job's words. Things that need supports and have none in ``pictures``, or are asked for in no episode and
    so are not in ``times``, are left out of ``things``."""
    asking = job.asking
    things = tuple(
        thing
        for thing in job.things
        if (not asking.by_picture or thing.query_id in pictures) and (times is None or thing.query_id in times)
    )
    return Questions(
        job=job,
        things=things,
        prompt_set=None if asking.table is None else _of_table(asking.table, things, checkpoint),
        texts_wc=_texts(asking, things, checkpoint) if asking.by_text else None,
        pictures=tuple(pictures[thing.query_id] for thing in things) if asking.by_picture else None,
        times=None if times is None else tuple(times[thing.query_id] for thing in things),
        alpha=1.0 if asking.alpha is None else asking.alpha,
        shots=shots,
        seed=seed,
    )


def _of_table(table: str, things: tuple[Thing, ...], checkpoint: Checkpoint) -> PromptSet:
    queries = only(table_queries(table), {thing.query_id for thing in things})
    return PromptSet.of(queries, embed(queries, checkpoint))


def _texts(asking: Asking, things: tuple[Thing, ...], checkpoint: Checkpoint) -> tuple[np.ndarray, ...]:
    wordings = [asking.wordings(thing) for thing in things]
    rows_rc = embed(
        [
            Query(
                query_id=thing.query_id,
                kind=thing.kind,
                texts=(text,),
                templates=asking.templates or ("{}",),
                threshold=0.5,
            )
            for thing, texts in zip(things, wordings, strict=True)
            for text in texts
        ],
        checkpoint,
    )
    ends = np.cumsum([len(texts) for texts in wordings])
    return tuple(np.split(rows_rc, ends[:-1]))
