"""From counts to the rows of the report: thresholds chosen, groups pooled, conditions said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from itertools import groupby
from typing import Any

import pyarrow as pa

from clipseg_ray.evaluation.answers import Answers
from clipseg_ray.evaluation.config import EvaluateConfig, RowConfig
from clipseg_ray.evaluation.metrics import AskedQuery, Chosen, Metrics
from clipseg_ray.evaluation.protocols import Asking, holds
from clipseg_ray.evaluation.report import ReportRow
from clipseg_ray.evaluation.scores import COLUMNS, Scores

Measured = Mapping[tuple[str, Asking], Metrics]
"""By truth set and way of asking."""

QUERIES = pa.schema(
    [pa.field(name, pa.string(), name == "query_id") for name in ("row", "truth", "asked", "kind", "query_id")]
    + COLUMNS
)
"""The columns of ``evaluation-queries.parquet``: each row's kinds (query_id null) and queries, each at its kind's
threshold."""


def model_rows(config: EvaluateConfig, measured: Measured) -> tuple[list[ReportRow], pa.Table, list[str]]:
    """A model's rows, the table of each row's queries, and notes on thresholds."""
    rows, queries, notes = [], [], [_threshold_note(config)]
    for row in config.rows:
        asking, present_only = Asking.of(row), row.pictures == "present"
        metrics = measured[row.truth, asking]
        thresholds, undecided = _thresholds(config, row, measured)
        if undecided:
            notes.append(f"{row.name}: no true pixel to choose a threshold by for {', '.join(undecided)}: 0.5 is used")
        scores = metrics.scores(partial(holds, row), thresholds, present_only=present_only)
        rows.append(
            ReportRow(
                name=row.name,
                truth=row.truth,
                asked=str(asking),
                pictures=row.pictures,
                thresholds=thresholds,
                scores=scores,
            )
        )
        for kind, query_id, chosen in _parts(row, metrics.counts):
            own = metrics.scores(chosen, thresholds, present_only=present_only)
            queries.append(_part(rows[-1], kind, query_id, own))
    return rows, pa.Table.from_pylist(queries, QUERIES), notes


def given_rows(config: EvaluateConfig, answers: Mapping[str, Answers]) -> tuple[list[ReportRow], pa.Table]:
    """A masks dataset's rows, and the table of each row's queries; answers by truth set."""
    rows, queries = [], []
    for row in config.rows:
        given, present_only = answers[row.truth], row.pictures == "present"
        scores = given.scores(partial(holds, row), present_only=present_only)
        rows.append(
            ReportRow(
                name=row.name,
                truth=row.truth,
                asked="masks as given",
                pictures=row.pictures,
                thresholds={},
                scores=scores,
            )
        )
        for kind, query_id, chosen in _parts(row, given.answers):
            own = given.scores(chosen, present_only=present_only)
            queries.append(_part(rows[-1], kind, query_id, own))
    return rows, pa.Table.from_pylist(queries, QUERIES)


def _parts(row: RowConfig, asked: Iterable[AskedQuery]) -> Iterator[tuple[str, str | None, Chosen]]:
    """A row's kinds, each followed by its queries."""
    own = sorted(filter(partial(holds, row), asked))
    for kind, queries in groupby(own, key=lambda each: each.kind):
        yield kind, None, partial(holds, row.model_copy(update={"kinds": [kind]}))
        for query in queries:
            yield kind, query.query_id, partial(AskedQuery.__eq__, query)


def _part(row: ReportRow, kind: str, query_id: str | None, scores: Scores) -> dict[str, Any]:
    return {
        "row": row.name,
        "truth": row.truth,
        "asked": row.asked,
        "kind": kind,
        "query_id": query_id,
        **asdict(scores),
    }


def _thresholds(config: EvaluateConfig, row: RowConfig, measured: Measured) -> tuple[dict[str, float], list[str]]:
    """The threshold of each kind in a row, and the kinds for which none could be chosen."""
    asking = Asking.of(row)
    kinds = sorted({asked.kind for asked in measured[row.truth, asking].counts if holds(row, asked)})
    if config.threshold is not None:
        return dict.fromkeys(kinds, config.threshold), []
    # With a set of its own to choose on, a kind's threshold is that of all its queries; else of the row's.
    where = row.model_copy(update={"queries": None}) if config.tune is not None else row
    by = measured[config.tune or row.truth, asking]
    found = {
        kind: by.best_threshold(
            partial(holds, where.model_copy(update={"kinds": [kind]})), present_only=row.pictures == "present"
        )
        for kind in kinds
    }
    undecided = [kind for kind, best in found.items() if best is None]
    return {kind: 0.5 if best is None else best for kind, best in found.items()}, undecided


def _threshold_note(config: EvaluateConfig) -> str:
    if config.threshold is not None:
        return f"threshold {config.threshold:g} for all, as configured"
    if config.tune is not None:
        return f"the threshold of each kind is the one with the greatest IoU_FG on the truth set {config.tune!r}"
    return (
        "the threshold of each kind is the one with the greatest IoU_FG on the measured set itself, which flatters; "
        "name another set under tune"
    )
