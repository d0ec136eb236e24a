"""An evaluation, from a configuration to a report: of a model or of a masks dataset, on Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clipseg_ray.cluster.connection import connected, guard_a_local_cluster
from clipseg_ray.evaluation import given
from clipseg_ray.evaluation.answers import Answers
from clipseg_ray.evaluation.config import EvaluateConfig
from clipseg_ray.evaluation.report import Report
from clipseg_ray.evaluation.report_rows import given_rows
from clipseg_ray.evaluation.shard_work import Item, scored, truth_facts, truth_notes
from clipseg_ray.evaluation.truth import TruthSet, survey
from clipseg_ray.results import record
from clipseg_ray.storage import Store


def evaluate(config: EvaluateConfig) -> Report:
    """Score a model or a masks dataset on the Ray cluster at ``RAY_ADDRESS`` or on this machine, and write the report.

    Raises UserError for anything that stops it.
    """
    guard_a_local_cluster()
    with connected():
        report = _of_masks(config) if config.masks is not None else _of_model(config)
    report.write(config.output.url)
    return report


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
    from clipseg_ray.evaluation.model_evaluation import report_of_model  # torch, which masks do not need

    return report_of_model(config)


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
    for name, found in scored(config, MasksWorker, MasksSpec(truth, masks), truth, "cpu"):
        answers[name].merge(found)
    notes = truth_notes(contents)
    for name, found in answers.items():
        if found.images_missing == contents[name].images:
            raise given.nothing_matches(truth[name], settings.url)
        if found.images_missing or found.masks_missing:
            notes.append(
                f"{name}: not counted, for the dataset has no masks of them: {found.images_missing} images, and "
                f"{found.masks_missing} queries of single images"
            )
    rows, queries = given_rows(config, answers)
    facts = {"masks": settings.url, "truth": truth_facts(config, contents), "config": config.resolved()}
    return Report(subject=settings.url, facts=facts, rows=rows, queries=queries, notes=notes)
