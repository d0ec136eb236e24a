"""The queries of a table put to images whose truth is known: which threshold gives each the best masks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from clipseg_ray.evaluation.protocols import Asking, Task
from clipseg_ray.evaluation.questions import Questions
from clipseg_ray.evaluation.scoring import scorer_of
from clipseg_ray.evaluation.truth import Thing
from clipseg_ray.evaluation.tuning.labelled_images import LabelledImages
from clipseg_ray.evaluation.tuning.matching import things_of
from clipseg_ray.evaluation.tuning.resampling import ResampledCounts, weights_of
from clipseg_ray.evaluation.worker_checkpoint import Named
from clipseg_ray.model import checkpoint as checkpoints
from clipseg_ray.model.precision import resolve_precision
from clipseg_ray.queries.others import only
from clipseg_ray.queries.prompt_set import PromptSet, embed
from clipseg_ray.queries.query import Query

Found = dict[str, ResampledCounts]
"""By query_id."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TuningSpec:
    """All that a worker needs. Pickles to workers."""

    checkpoint: Named
    device: str
    precision: str
    images: LabelledImages
    questions: Questions


class TuningWorker:
    """Holds one model; called with one lot of images at a time."""

    def __init__(self, spec: TuningSpec) -> None:
        self._spec = spec
        self._scorer = scorer_of(spec.checkpoint, spec.device, spec.precision)

    def __call__(self, lot: Any) -> Found:
        """The counts of every query on the images of a lot of which it is known whether they have the thing."""
        questions = self._spec.questions
        assert questions.prompt_set is not None
        own = {query.query_id: query.threshold for query in questions.prompt_set.queries}
        found: Found = {}
        for scenes in self._spec.images.scenes(lot):
            weights = [weights_of(scene.sha256) for scene in scenes]
            ignored = [scene.ignored() for scene in scenes]
            answers = self._scorer.of_table(
                questions,
                questions.prompt_set,
                scenes,
                planes=[scene.planes() for scene in scenes],
                features=self._scorer.encode(scenes),
            )
            for pair, probability_wh, _ in answers:
                query_id = pair.thing.query_id
                counts = found.setdefault(query_id, ResampledCounts(own=own[query_id]))
                counts.update(probability_wh, pair.label_wh, ignored[pair.scene], weights[pair.scene])
        return found


def count(queries: Sequence[Query], table: str, images: LabelledImages, checkpoint: str) -> Found:
    """Ask every query of a table that has a truth; the counts of each that met an image of which it is known.

    One lot of images is counted here, several on the Ray cluster at ``RAY_ADDRESS`` or on this machine. ``table`` names
    it in errors. Raises UserError for anything that stops it.
    """
    things = tuple(things_of(queries, images.contents.vocabulary))
    spec_on = partial(_spec, queries=queries, table=table, images=images, things=things, name=checkpoint)
    if len(images.lots) == 1:
        spec = spec_on("cuda" if torch.cuda.is_available() else "cpu")
        return TuningWorker(spec)(images.lots[0])

    from clipseg_ray.cluster.connection import connected, guard_a_local_cluster

    guard_a_local_cluster()  # before Ray is imported

    from clipseg_ray.cluster.capacity import capacity, device_of
    from clipseg_ray.cluster.shard_map import map_shards

    total: Found = {}
    with connected():
        cluster = capacity()
        device = device_of("auto", None, cluster)
        spec = spec_on(device)
        kind, cpus, gpus = ("GPU", 0.0, 1.0) if device == "cuda" else ("CPU", 1.0, 0.0)
        workers = max(1, int(cluster.now.get(kind, 1)))
        lots = map_shards(TuningWorker, spec, images.lots, workers=workers, cpus=cpus, gpus=gpus)
        for number, (_, found) in enumerate(lots, 1):
            print(f"scored {number}/{len(images.lots)}", file=sys.stderr, flush=True)
            for query_id, counts in found.items():
                total[query_id] = total[query_id] + counts if query_id in total else counts
    return total


def _spec(
    device: str,
    *,
    queries: Sequence[Query],
    table: str,
    images: LabelledImages,
    things: tuple[Thing, ...],
    name: str,
) -> TuningSpec:
    precision, _ = resolve_precision("auto", device)
    revision = checkpoints.resolve_revision(name, None)
    checkpoint = checkpoints.load(name, revision)
    asked = only(queries, {thing.query_id for thing in things})
    questions = Questions(
        job=Task("truth", Asking(protocol="table", table=table), things, everywhere=True),
        things=things,
        texts_wc=None,
        pictures=None,
        alpha=1.0,
        prompt_set=PromptSet.of(asked, embed(asked, checkpoint)),
    )
    named = Named(name, revision, checkpoint.weights_sha256)
    return TuningSpec(checkpoint=named, device=device, precision=precision, images=images, questions=questions)
