"""How well a marked picture says what is meant, without any mask being made: Table 2 of the CLIPSeg paper.

Of an image with several things one is the target. CLIP's image projection of the picture is compared with its text
projections of all the things' names, and the softmax of these cosines, times CLIP's own scale, gives the target a
probability. The measure is how much of it a mode of marking gains over the picture as it is.

``supports.number`` images are drawn, and of each one thing whose mask covers ``supports.smallest`` of it. The tower is
that of the checkpoint, at the size of its images.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clipseg_ray.evaluation.config import SupportsConfig
from clipseg_ray.evaluation.episode_supports import shown_as
from clipseg_ray.evaluation.likelihoods import Likelihoods
from clipseg_ray.evaluation.metrics import AskedQuery
from clipseg_ray.evaluation.protocols import Asking, Task
from clipseg_ray.evaluation.support_draws import large_enough, rank
from clipseg_ray.evaluation.truth import Scene, TrueMask, TruthSet
from clipseg_ray.evaluation.worker_checkpoint import Named
from clipseg_ray.model.checkpoint import Checkpoint
from clipseg_ray.queries.modes import parse_mode
from clipseg_ray.queries.prompt_set import embed
from clipseg_ray.queries.query import Query
from clipseg_ray.queries.supports import make_support
from clipseg_ray.sources.base import Shard

Targets = Mapping[str, str]
"""By the SHA-256 of each image that is drawn, the query that is meant in it."""


def targets(truth: TruthSet, query_ids: Collection[str], settings: SupportsConfig) -> dict[str, str]:
    """Draw images with two things or more, and one of ``query_ids`` in each. Reads the truth set once.

    What is drawn depends on the seed and the images' bytes alone.
    """
    found: dict[str, tuple[str, str]] = {}
    for scene in (scene for shard in truth.shards for scenes in truth.scenes(shard) for scene in scenes):
        if len({mask.query_id for mask in scene.masks}) < 2:
            continue
        image = scene.sha256
        held = {mask.query_id for mask in large_enough(scene, query_ids, settings.smallest)}
        if held:
            target = min(held, key=lambda query_id: rank(settings.seed, image, query_id))
            found[image] = (rank(settings.seed, image, ""), target)
    first = heapq.nsmallest(settings.number, found.items(), key=lambda item: item[1][0])
    return {image: target for image, (_, target) in first}


@dataclass(frozen=True, kw_only=True)
class StudySpec:
    """All that a study needs besides a shard: the ways of marking, ``tasks``, each with its ``targets``. Pickles."""

    checkpoint: Named
    truth: Mapping[str, TruthSet]
    tasks: tuple[Task, ...]
    targets: tuple[Targets, ...]


class StudyWorker:
    """Compares one shard at a time, on one thread."""

    def __init__(self, spec: StudySpec) -> None:
        self._spec = spec
        self._checkpoint = spec.checkpoint.load()

    def __call__(self, item: tuple[str, Shard]) -> list[Likelihoods]:
        """The counts of each task. Raises UserError for an image that cannot be read."""
        name, shard = item
        found = [Likelihoods() for _ in self._spec.tasks]
        for scenes in self._spec.truth[name].scenes(shard):
            for scene in scenes:
                self._compare(name, scene, found)
        return found

    def _compare(self, name: str, scene: Scene, found: Sequence[Likelihoods]) -> None:
        """Count one scene, all ways of marking at once."""
        image = scene.sha256
        tasks = zip(self._spec.tasks, self._spec.targets, found, strict=True)
        asked = [(task, drawn[image], counts) for task, drawn, counts in tasks if task.truth == name and image in drawn]
        if not asked:
            return
        masks = {mask.query_id: mask for mask in reversed(scene.masks)}
        for (_, target, counts), (marked, plain) in zip(
            asked,
            probabilities(scene, [(task.asking, masks[target]) for task, target, _ in asked], self._checkpoint),
            strict=True,
        ):
            counts.update(AskedQuery(masks[target].kind, target), marked, plain)


def probabilities(
    scene: Scene, marks: Sequence[tuple[Asking, TrueMask]], checkpoint: Checkpoint
) -> list[tuple[float, float]]:
    """CLIP's probability of the name of each mask among those of all things in the scene: of the scene with that mask
    marked, and of the scene as it is.

    Each thing's name is its first wording, put into the templates of the asking; things of one name are one.
    """
    things = list(dict.fromkeys(mask.texts[0] for mask in scene.masks))
    pictures = [_plain(scene), *(shown_as(scene, mask, str(asking.mode)) for asking, mask in marks)]
    templates = list(dict.fromkeys(asking.templates or ("{}",) for asking, _ in marks))
    words = [_word(text, each) for each in templates for text in things]
    vectors_qc = embed([*pictures, *words], checkpoint).astype(np.float64)
    vectors_qc /= np.linalg.norm(vectors_qc, axis=1, keepdims=True)
    plain_1c, marked_mc = vectors_qc[:1], vectors_qc[1 : len(pictures)]
    words_tnc = vectors_qc[len(pictures) :].reshape(len(templates), len(things), -1)
    scale = math.exp(float(checkpoint.weights["clip.logit_scale"]))
    found = []
    for (asking, mask), marked_c in zip(marks, marked_mc, strict=True):
        words_nc = words_tnc[templates.index(asking.templates or ("{}",))]
        logits_2n = scale * np.stack([marked_c, plain_1c[0]]) @ words_nc.T
        weights_2n = np.exp(logits_2n - logits_2n.max(axis=1, keepdims=True))
        marked, plain = (weights_2n / weights_2n.sum(axis=1, keepdims=True))[:, things.index(mask.texts[0])].tolist()
        found.append((marked, plain))
    return found


def _plain(scene: Scene) -> Query:
    support = make_support(scene.image_id, scene.image, None, None)
    return Query(
        query_id="", kind="", texts=(), templates=(), threshold=0.5, supports=(support,), mode=parse_mode("whole")
    )


def _word(text: str, templates: tuple[str, ...]) -> Query:
    return Query(query_id=text, kind="", texts=(text,), templates=templates, threshold=0.5)
