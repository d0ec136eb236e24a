"""Support pictures for one-shot questions: drawn from a truth set, composed and embedded once."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.config import SupportsConfig
from clipseg_ray.evaluation.truth import Scene, TrueMask, TruthSet
from clipseg_ray.model.checkpoint import Checkpoint
from clipseg_ray.queries.modes import parse_mode
from clipseg_ray.queries.prompt_set import embed
from clipseg_ray.queries.query import Query
from clipseg_ray.queries.supports import Support, make_support


@dataclass(frozen=True, eq=False)
class Candidates:
    """The supports of one query: the SHA-256 of each one's image, and its embedding, float32 [n, c]."""

    pictures: tuple[str, ...]
    vectors_nc: np.ndarray

    def asked_with(self, image: str, query_id: str, shots: int, seed: int) -> np.ndarray:
        """What one question is asked with, float32 [1, c]; no row where too few other images can serve."""
        vector_c = self.draw(image, query_id, shots, seed)
        return np.zeros((0, self.vectors_nc.shape[1]), np.float32) if vector_c is None else vector_c[None]

    def draw(self, image: str, query_id: str, shots: int, seed: int) -> np.ndarray | None:
        """The mean embedding of ``shots`` supports for one question, float32 [c]; None where there are too few.

        image: SHA-256 of the image that is asked, which is never a support for itself. The draw is a pure function
        of seed, image and query.
        """
        other = [index for index, candidate in enumerate(self.pictures) if candidate != image]
        if len(other) < shots:
            return None
        chosen = random.Random(f"{seed} {image} {query_id}").sample(other, shots)
        return self.vectors_nc[chosen].mean(axis=0)


def candidates(
    query_ids: Collection[str], truth: TruthSet, settings: SupportsConfig, checkpoint: Checkpoint
) -> dict[str, Candidates]:
    """For each query up to ``pool`` supports, embedded; a query with fewer than ``shots`` is left out.

    Reads the truth set once and keeps the images that may still be drawn. Which are drawn depends on the seed and
    the images, not on their order.
    """
    kept: dict[str, dict[str, Support]] = defaultdict(dict)
    for scene in (scene for shard in truth.shards for scenes in truth.scenes(shard) for scene in scenes):
        for mask in large_enough(scene, query_ids, settings.smallest):
            found, place = kept[mask.query_id], rank(settings.seed, scene.sha256, mask.query_id)
            if place in found or (len(found) == settings.pool and place > max(found)):
                continue
            found[place] = support_of(scene, mask)
            if len(found) > settings.pool:
                del found[max(found)]
    chosen = {
        query_id: [found[place] for place in sorted(found)]
        for query_id, found in sorted(kept.items())
        if len(found) >= settings.shots
    }
    mode = parse_mode(settings.mode)
    queries = [
        Query(query_id=query_id, kind="", texts=(), templates=(), threshold=0.5, supports=(support,), mode=mode)
        for query_id, found in chosen.items()
        for support in found
    ]
    vectors = iter(embed(queries, checkpoint))
    return {
        query_id: Candidates(
            tuple(support.picture_sha256 for support in found), np.stack([next(vectors) for _ in found])
        )
        for query_id, found in chosen.items()
    }


def large_enough(scene: Scene, query_ids: Collection[str], smallest: float) -> Iterator[TrueMask]:
    """The masks of a scene that may serve as supports: those on at least the share ``smallest`` of it."""
    if not any(mask.query_id in query_ids for mask in scene.masks):
        return
    for mask, plane_wh in zip(scene.masks, scene.mask_planes(), strict=True):
        area = np.count_nonzero(plane_wh)
        if mask.query_id in query_ids and area and area >= smallest * scene.height * scene.width:
            yield mask


def support_of(scene: Scene, mask: TrueMask) -> Support:
    """The scene with one of its masks. Raises UserError, naming it, for an image that cannot be read."""
    size = {"size": [scene.height, scene.width], "counts": mask.counts}
    try:
        return make_support(scene.image_id, scene.image, size, None)
    except ValueError as error:
        raise UserError(f"{scene.image_id}: no support picture: {error}") from error


def rank(seed: int, image: str, query_id: str) -> str:
    """The place of a query of an image, by its SHA-256, in the order of drawing."""
    return hashlib.sha256(f"{seed} {image} {query_id}".encode()).hexdigest()
