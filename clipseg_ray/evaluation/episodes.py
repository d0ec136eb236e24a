"""Episodes of one-shot protocols: an image, the query it is asked for and the supports it is asked with, all drawn.

- ``images``: one for each image that has some of the queries; which of them is drawn (PFENet's, for Pascal-5i).
- ``classes``: so many times a query is drawn, each as likely, and then an image that has it (HSNet's, for COCO-20i).

Supports are drawn among the other images with the query. Every draw is a pure function of the seed and of the images'
bytes, not of their names, their order or how they lie in shards.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from clipseg_ray.evaluation.support_draws import large_enough
from clipseg_ray.evaluation.truth import TruthSet


@dataclass(frozen=True)
class Episodes:
    """A way to draw: ``how`` as above; of ``number`` only ``classes`` takes notice. kinds, queries: a row's choice."""

    how: str
    number: int
    kinds: tuple[str, ...] | None
    queries: tuple[str, ...] | None

    def __str__(self) -> str:
        return "an episode an image" if self.how == "images" else f"{self.number} episodes"


@dataclass(frozen=True, order=True)
class Shown:
    """An image: the SHA-256 of its bytes, in hex, and its id."""

    sha256: str
    image_id: str


@dataclass(frozen=True)
class Episode:
    """One question: ``image`` is asked for ``query_id``, shown ``supports``."""

    query_id: str
    image: Shown
    supports: tuple[Shown, ...]


Gallery = Mapping[str, Sequence[Shown]]
"""The images that have each query, in order, each of them once."""


def gallery(truth: TruthSet, query_ids: Collection[str], smallest: float) -> dict[str, list[Shown]]:
    """Read a truth set once for the images that have each of ``query_ids`` on at least the share ``smallest``."""
    found: dict[str, dict[str, Shown]] = defaultdict(dict)
    for scene in (scene for shard in truth.shards for scenes in truth.scenes(shard) for scene in scenes):
        shown = Shown(scene.sha256, scene.image_id)
        for query_id in {mask.query_id for mask in large_enough(scene, query_ids, smallest)}:
            known = found[query_id].setdefault(shown.sha256, shown)
            found[query_id][shown.sha256] = min(known, shown)
    return {query_id: sorted(shown.values()) for query_id, shown in sorted(found.items())}


def draw(episodes: Episodes, *, asked: Gallery, supports: Gallery, shots: int, seed: int) -> list[Episode]:
    """The episodes of the queries of ``asked``, with ``shots`` different supports each.

    An image is asked for a query only where ``supports`` has enough others. Of ``classes`` none where no image is.
    """
    possible = {
        query_id: found
        for query_id, shown in sorted(asked.items())
        if (found := [image for image in shown if _enough(supports.get(query_id, ()), image, shots)])
    }
    if episodes.how == "images":
        queries = defaultdict[Shown, list[str]](list)
        for query_id, shown in possible.items():
            for image in shown:
                queries[image].append(query_id)
        chosen = [
            (rng := random.Random(f"{seed} {image.sha256}"), rng.choice(queries[image]), image)
            for image in sorted(queries)
        ]
    else:
        chosen = []
        for number in range(episodes.number if possible else 0):
            rng = random.Random(f"{seed} {number}")
            query_id = rng.choice(list(possible))
            chosen.append((rng, query_id, rng.choice(possible[query_id])))
    return [
        Episode(query_id, image, tuple(rng.sample(_others(supports[query_id], image), shots)))
        for rng, query_id, image in chosen
    ]


def times(episodes: Iterable[Episode], query_id: str) -> dict[str, int]:
    """How often each image, by its SHA-256, is asked for a query."""
    return dict(Counter(each.image.sha256 for each in episodes if each.query_id == query_id))


def _others(shown: Sequence[Shown], image: Shown) -> list[Shown]:
    return [each for each in shown if each.sha256 != image.sha256]


def _enough(shown: Sequence[Shown], image: Shown, shots: int) -> bool:
    return len(shown) > shots or len(_others(shown, image)) >= shots
