"""An evaluation, from a configuration to a report: truth read, questions embedded, shards scored on Ray."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clipseg_ray.cluster.capacity import capacity, device_of
from clipseg_ray.cluster.connection import connected, guard_a_local_cluster
from clipseg_ray.evaluation import given
from clipseg_ray.evaluation.answers import Answers
from clipseg_ray.evaluation.config import EvaluateConfig
from clipseg_ray.evaluation.loading import ScoredModel
from clipseg_ray.evaluation.metrics import Metrics
from clipseg_ray.evaluation.protocols import Asking, jobs_of
from clipseg_ray.evaluation.report import Report
from clipseg_ray.evaluation.report_rows import given_rows, model_rows
from clipseg_ray.evaluation.truth import Contents, TruthSet, survey
from clipseg_ray.results import record
from clipseg_ray.sources.base import Shard
from clipseg_ray.storage import Store

if TYPE_CHECKING:
    from clipseg_ray.evaluation.questions import Questions

Item = tuple[str, Shard]
"""A shard to be scored, with the name of its truth set."""


def evaluate(config: EvaluateConfig) -> Report:
    """Score a model or a masks dataset on the Ray cluster at ``RAY_ADDRESS`` or on this machine, and write the report.

    Raises UserError for anything that stops it.
    """
    guard_a_local_cluster()
    with connected():
        report = _of_masks(config) if config.masks is not None else _of_model(config)
    report.write(config.output.url)
    return report


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelSpec:
    """All a worker needs to score a model: questions by truth set, in the order of their jobs."""

    model: ScoredModel
    truth: Mapping[str, TruthSet]
    questions: Mapping[str, Sequence[Questions]]


class ModelWorker:
    """Holds one model; called with one shard at a time."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._scorer = spec.model.scorer()

    def __call__(self, item: Item) -> list[Metrics | Answers]:
        """The counts of each of the set's questions."""
        name, shard = item
        return self._scorer.score(self._spec.truth[name], shard, self._spec.questions[name])


@dataclass(frozen=True)
class MasksSpec:
    """All a worker needs to score a masks dataset, by truth set."""

    truth: Mapping[str, TruthSet]
    masks: Mapping[str, given.GivenMasks]


class MasksWorker:
    """Compares one shard at a time."""

    def __init__(self, spec: MasksSpec) -> None:
        self._spec = spec

    def __call__(self, item: Item) -> Answers:
        """What the shard's images got."""
        name, shard = item
        return self._spec.masks[name].score(self._spec.truth[name], shard)


def _of_model(config: EvaluateConfig) -> Report:
    from clipseg_ray.evaluation.questions import prepare
    from clipseg_ray.evaluation.support_draws import candidates
    from clipseg_ray.model import checkpoint as checkpoints
    from clipseg_ray.model.precision import resolve_precision

    assert config.model is not None
    device = device_of(config.model.device, None, capacity())
    precision, _ = resolve_precision(config.model.precision, device)
    revision = checkpoints.resolve_revision(config.model.checkpoint, config.model.revision)
    checkpoint = checkpoints.load(config.model.checkpoint, revision)
    names = [row.truth for row in config.rows] + ([config.tune] if config.tune else [])
    truth = {name: TruthSet.of(config.truth[name]) for name in dict.fromkeys(names)}
    contents = {name: survey(each) for name, each in truth.items()}
    jobs = jobs_of(config, {name: each.vocabulary for name, each in contents.items()})
    by_picture = {thing.query_id for job in jobs if job.asking.by_picture for thing in job.things}
    pictures, shots, seed = {}, 1, 0
    if (settings := config.supports) is not None:
        pictures = candidates(by_picture, TruthSet.of(config.truth[settings.truth]), settings, checkpoint)
        shots, seed = settings.shots, settings.seed
    questions: dict[str, list[Questions]] = {name: [] for name in truth}
    for job in jobs:
        questions[job.truth].append(prepare(job, checkpoint, pictures, shots=shots, seed=seed))
    model = ScoredModel(
        checkpoint=config.model.checkpoint,
        revision=revision,
        weights_sha256=checkpoint.weights_sha256,
        device=device,
        precision=precision,
    )
    spec = ModelSpec(model=model, truth=truth, questions=questions)
    measured: dict[tuple[str, Asking], Any] = {(job.truth, job.asking): job.asking.counts() for job in jobs}
    for name, found in _scored(config, ModelWorker, spec, truth, device):
        for each, counts in zip(questions[name], found, strict=True):
            measured[name, each.job.asking].merge(counts)
    rows, queries, notes = model_rows(config, measured)
    if unsupported := sorted(by_picture - pictures.keys()):
        notes.append(f"without {shots} support picture(s), so not asked by picture: {', '.join(unsupported)}")
    facts = {
        "model": {
            "checkpoint": config.model.checkpoint,
            "revision": revision,
            "weights_sha256": checkpoint.weights_sha256,
            "precision": precision,
            "device": device,
        },
        "truth": _truth_facts(config, contents),
        "config": config.resolved(),
    }
    notes.append(f"weights {checkpoint.weights_sha256[:12]}…, {precision} on {device}")
    return Report(
        subject=config.model.checkpoint,
        facts=facts,
        rows=rows,
        queries=queries,
        notes=[*_truth_notes(contents), *notes],
    )


def _of_masks(config: EvaluateConfig) -> Report:
    settings = config.masks
    assert settings is not None
    made = record.require(Store.of(settings.url), "masks.url")
    names = dict.fromkeys(row.truth for row in config.rows)
    truth = {name: TruthSet.of(config.truth[name], made.input["root"], made.input["id_field"]) for name in names}
    contents = {name: survey(each) for name, each in truth.items()}
    masks = {
        name: given.GivenMasks(settings.url, given.truth_of(settings, each.vocabulary), made.masks["keep_empty"])
        for name, each in contents.items()
    }
    given.check_rows(config.rows, masks)
    answers = {name: Answers() for name in names}
    for name, found in _scored(config, MasksWorker, MasksSpec(truth, masks), truth, "cpu"):
        answers[name].merge(found)
    notes = _truth_notes(contents)
    for name, found in answers.items():
        if found.images_missing == contents[name].images:
            raise given.nothing_matches(truth[name], settings.url)
        if found.images_missing or found.masks_missing:
            notes.append(
                f"{name}: not counted, for the dataset has no masks of them: {found.images_missing} images, and "
                f"{found.masks_missing} queries of single images"
            )
    rows, queries = given_rows(config, answers)
    facts = {"masks": settings.url, "truth": _truth_facts(config, contents), "config": config.resolved()}
    return Report(subject=settings.url, facts=facts, rows=rows, queries=queries, notes=notes)


def _scored(
    config: EvaluateConfig, worker: Any, spec: Any, truth: Mapping[str, TruthSet], device: str
) -> Iterator[tuple[str, Any]]:
    """The result of every shard with its truth set's name; reports progress on the terminal."""
    import ray

    from clipseg_ray.cluster.shard_map import map_shards

    items = [(name, shard) for name, each in truth.items() for shard in each.shards]
    items.sort(key=lambda item: -item[1].size)  # the largest first, so that none is waited for alone at the end
    cluster = ray.cluster_resources()
    workers = config.workers.max or max(1, int(cluster.get("GPU" if device == "cuda" else "CPU", 1)))
    cpus, gpus = (0.0, 1.0) if device == "cuda" else (1.0, 0.0)
    scored = map_shards(worker, spec, items, workers=workers, cpus=cpus, gpus=gpus)
    for number, ((name, shard), result) in enumerate(scored, 1):
        print(f"scored {number}/{len(items)}: {name} {shard.path}", file=sys.stderr, flush=True)
        yield name, result


def _truth_facts(config: EvaluateConfig, contents: Mapping[str, Contents]) -> dict[str, Any]:
    return {
        name: {"url": config.truth[name], "images": each.images, "queries": len(each.vocabulary)}
        for name, each in contents.items()
    }


def _truth_notes(contents: Mapping[str, Contents]) -> list[str]:
    return [
        "truth: "
        + "; ".join(
            f"{name}, {each.images} images with {len(each.vocabulary)} queries" for name, each in contents.items()
        )
    ]
