"""A model's evaluation: truth read, questions embedded, episodes drawn, shards scored. Loads torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clipseg_ray.cluster.capacity import capacity, device_of
from clipseg_ray.evaluation import episode_file
from clipseg_ray.evaluation.answers import Answers
from clipseg_ray.evaluation.config import EvaluateConfig
from clipseg_ray.evaluation.episode_sets import Drawn, drawn_episodes, episode_sets, written
from clipseg_ray.evaluation.episode_supports import Key, SupportSpec, SupportWorker, Vectors
from clipseg_ray.evaluation.metrics import Metrics
from clipseg_ray.evaluation.prompt_study import StudySpec, StudyWorker, targets
from clipseg_ray.evaluation.protocols import Asking, Task, jobs_of
from clipseg_ray.evaluation.questions import Questions, prepare
from clipseg_ray.evaluation.report import Report
from clipseg_ray.evaluation.report_rows import model_rows
from clipseg_ray.evaluation.scoring import scorer_of
from clipseg_ray.evaluation.shard_work import Item, scored, truth_facts, truth_notes
from clipseg_ray.evaluation.support_draws import candidates
from clipseg_ray.evaluation.truth import TruthSet, survey
from clipseg_ray.evaluation.worker_checkpoint import Named
from clipseg_ray.inference.finer import Finer
from clipseg_ray.model import checkpoint as checkpoints
from clipseg_ray.model.checkpoint import Checkpoint
from clipseg_ray.model.precision import resolve_precision


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelSpec:
    """All a worker needs to score a model: questions by truth set, in the order of their jobs."""

    checkpoint: Named
    device: str
    precision: str
    label_size: int | None
    finer: Finer
    truth: Mapping[str, TruthSet]
    questions: Mapping[str, Sequence[Questions]]


class ModelWorker:
    """Holds one model; called with one shard at a time."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._scorer = scorer_of(spec.checkpoint, spec.device, spec.precision, spec.label_size, spec.finer)

    def __call__(self, item: Item) -> list[Metrics | Answers]:
        """The counts of each of the set's questions."""
        name, shard = item
        return self._scorer.score(self._spec.truth[name], shard, self._spec.questions[name])


def report_of_model(config: EvaluateConfig) -> Report:
    """Score a model on the connected cluster. Raises UserError for anything that stops it."""
    assert config.model is not None
    device = device_of(config.model.device, None, capacity())
    precision, _ = resolve_precision(config.model.precision, device)
    revision = checkpoints.resolve_revision(config.model.checkpoint, config.model.revision)
    checkpoint = checkpoints.load(config.model.checkpoint, revision)
    named = Named(config.model.checkpoint, revision, checkpoint.weights_sha256)
    names = [row.truth for row in config.rows] + ([config.tune] if config.tune else [])
    truth = {name: TruthSet.of(config.truth[name]) for name in dict.fromkeys(names)}
    shown = {} if config.supports is None else {config.supports.truth: TruthSet.of(config.truth[config.supports.truth])}
    contents = {name: survey(each) for name, each in truth.items()}
    jobs = jobs_of(config, {name: each.vocabulary for name, each in contents.items()})
    measured: dict[tuple[str, Asking], Any] = {(job.truth, job.asking): job.asking.counts() for job in jobs}
    studies = [job for job in jobs if job.asking.compares]
    for job, counts in _studied(config, named, studies, truth):
        measured[job.truth, job.asking].merge(counts)
    asking = [job for job in jobs if not job.asking.compares]
    drawn = drawn_episodes(config, asking, {**shown, **truth})
    questions, notes = _questions(config, asking, checkpoint, named, shown=shown, drawn=drawn)
    spec = ModelSpec(
        checkpoint=named,
        device=device,
        precision=precision,
        label_size=config.label_size,
        finer=Finer.of(config.model.views, *config.model.refinement.values()),
        truth={name: each for name, each in truth.items() if questions.get(name)},
        questions=questions,
    )
    for name, found in scored(config, ModelWorker, spec, spec.truth, device):
        for each, counts in zip(questions[name], found, strict=True):
            measured[name, each.job.asking].merge(counts)
    tables = model_rows(config, measured)
    facts = {
        "model": {
            "checkpoint": config.model.checkpoint,
            "revision": revision,
            "weights_sha256": checkpoint.weights_sha256,
            "precision": precision,
            "device": device,
        },
        "truth": truth_facts(config, contents),
        "config": config.resolved(),
    }
    weights = f"weights {checkpoint.weights_sha256[:12]}…, {precision} on {device}"
    return Report(
        subject=config.model.checkpoint,
        facts=facts,
        rows=tables.rows,
        queries=tables.queries,
        also_at=tables.also_at,
        episodes=written(config, drawn),
        notes=[*truth_notes(contents), *tables.notes, *notes, weights],
    )


def _questions(
    config: EvaluateConfig,
    jobs: Sequence[Task],
    checkpoint: Checkpoint,
    named: Named,
    *,
    shown: Mapping[str, TruthSet],
    drawn: Drawn,
) -> tuple[dict[str, list[Questions]], list[str]]:
    """What is put to each truth set, and notes on what cannot be. shown: the truth set of the supports, by its name."""
    settings = config.supports
    by_picture = {
        thing.query_id for job in jobs if job.asking.by_picture and job.asking.episodes is None for thing in job.things
    }
    pictures, shots, seed = {}, 1, 0
    if settings is not None:
        if by_picture:
            pictures = candidates(by_picture, shown[settings.truth], settings, checkpoint)
        shots, seed = settings.shots, settings.seed

    sets = episode_sets(drawn, jobs, lambda keys: _embedded(config, named, shown, keys))
    questions: dict[str, list[Questions]] = defaultdict(list)
    for job in jobs:
        asked = (pictures, None) if job.asking.episodes is None else sets.of(job)
        questions[job.truth].append(prepare(job, checkpoint, *asked, shots=shots, seed=seed))
    notes = []
    if unsupported := sorted(by_picture - pictures.keys()):
        notes.append(f"without {shots} support picture(s), so not asked by picture: {', '.join(unsupported)}")
    if settings is not None and drawn:
        source = f"as {settings.drawn} has them" if settings.drawn else f"drawn with seed {settings.seed}"
        notes.append(f"{sum(map(len, drawn.values()))} episodes, {source}, in {episode_file.NAME}")
    return questions, notes


def _embedded(config: EvaluateConfig, named: Named, shown: Mapping[str, TruthSet], keys: frozenset[Key]) -> Vectors:
    """The embeddings of supports, of every shard by a core."""
    assert config.supports is not None
    truth = shown[config.supports.truth]
    spec = SupportSpec(
        checkpoint=named,
        truth=truth,
        mode=config.supports.mode,
        smallest=config.supports.smallest,
        wanted=keys,
    )
    found: dict[Key, np.ndarray] = {}
    for _, vectors in scored(config, SupportWorker, spec, {config.supports.truth: truth}, "cpu", done="read"):
        found.update(vectors)
    return found


def _studied(
    config: EvaluateConfig, named: Named, jobs: Sequence[Task], truth: Mapping[str, TruthSet]
) -> Iterator[tuple[Task, Any]]:
    """What CLIP makes of marked pictures, for each job and shard."""
    if not jobs:
        return
    assert config.supports is not None
    drawn = {
        (job.truth, query_ids): targets(truth[job.truth], query_ids, config.supports)
        for job, query_ids in ((job, _ids(job)) for job in jobs)
    }
    spec = StudySpec(
        checkpoint=named, truth=truth, tasks=tuple(jobs), targets=tuple(drawn[job.truth, _ids(job)] for job in jobs)
    )
    asked = {name: each for name, each in truth.items() if any(job.truth == name for job in jobs)}
    for _, found in scored(config, StudyWorker, spec, asked, "cpu", done="compared"):
        yield from zip(jobs, found, strict=True)


def _ids(job: Task) -> frozenset[str]:
    return frozenset(thing.query_id for thing in job.things)
