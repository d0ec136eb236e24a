"""The supports of drawn episodes, embedded side by side on the cluster's cores: as a run embeds them, to the bit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from clipseg_ray.evaluation.episodes import Episode
from clipseg_ray.evaluation.support_draws import large_enough, support_of
from clipseg_ray.evaluation.truth import Scene, TrueMask, TruthSet
from clipseg_ray.evaluation.worker_checkpoint import Named
from clipseg_ray.queries.modes import parse_mode
from clipseg_ray.queries.prompt_set import embed
from clipseg_ray.queries.query import Query
from clipseg_ray.sources.base import Shard

Key: TypeAlias = tuple[str, str]
"""A query and the SHA-256 of an image with it."""

Vectors: TypeAlias = Mapping[Key, np.ndarray]
"""Embeddings of supports, float32 [c]."""


@dataclass(frozen=True, kw_only=True)
class SupportSpec:
    """All that embedding supports needs besides a shard: which are ``wanted``, and how they are made. Pickles."""

    checkpoint: Named
    truth: TruthSet
    mode: str
    smallest: float
    wanted: frozenset[Key]


class SupportWorker:
    """Embeds the supports of one shard at a time, which comes with its truth set's name, on one thread."""

    def __init__(self, spec: SupportSpec) -> None:
        self._spec = spec
        self._checkpoint = spec.checkpoint.load()
        self._queries = {query_id for query_id, _ in spec.wanted}

    def __call__(self, item: tuple[str, Shard]) -> dict[Key, np.ndarray]:
        """Of an image with two masks of a query the first is shown. Raises UserError for an image that cannot be
        read."""
        found: dict[Key, np.ndarray] = {}
        for scenes in self._spec.truth.scenes(item[1]):
            some = dict(self._wanted(scenes))
            found |= zip(some, embed(list(some.values()), self._checkpoint), strict=True)
        return found

    def _wanted(self, scenes: Iterable[Scene]) -> Iterator[tuple[Key, Query]]:
        taken = set[Key]()
        for scene in scenes:
            for mask in large_enough(scene, self._queries, self._spec.smallest):
                key = (mask.query_id, scene.sha256)
                if key in self._spec.wanted and key not in taken:
                    taken.add(key)
                    yield key, shown_as(scene, mask, self._spec.mode)


def shown_as(scene: Scene, mask: TrueMask, mode: str) -> Query:
    """A query that is a scene with one of its masks alone."""
    return Query(
        query_id=mask.query_id,
        kind="",
        texts=(),
        templates=(),
        threshold=0.5,
        supports=(support_of(scene, mask),),
        mode=parse_mode(mode),
    )


def wanted(episodes: Iterable[Episode]) -> frozenset[Key]:
    """What must be embedded for some episodes."""
    return frozenset((each.query_id, support.sha256) for each in episodes for support in each.supports)


@dataclass(frozen=True, eq=False)
class Posed:
    """A query's episodes by the SHA-256 of the image that is asked: the mean embeddings of each one's supports,
    float32 [e, c]."""

    vectors: Mapping[str, np.ndarray]

    def asked_with(self, image: str, query_id: str, shots: int, seed: int) -> np.ndarray:
        """float32 [e, c]; no row where the image is not asked. What was drawn is not drawn again."""
        width = next((each.shape[1] for each in self.vectors.values()), 0)
        return self.vectors.get(image, np.zeros((0, width), np.float32))


def posed(episodes: Sequence[Episode], vectors: Vectors) -> dict[str, Posed]:
    """Of each query that is asked."""
    found: dict[str, dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    for each in episodes:
        shown = [vectors[each.query_id, support.sha256] for support in each.supports]
        found[each.query_id][each.image.sha256].append(np.stack(shown).mean(axis=0))
    return {
        query_id: Posed({image: np.stack(rows) for image, rows in images.items()}) for query_id, images in found.items()
    }
