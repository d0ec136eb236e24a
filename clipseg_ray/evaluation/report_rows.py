"""From counts to the rows of the report: thresholds chosen, groups pooled, conditions said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any

import pyarrow as pa

from clipseg_ray.errors import UserError, meant
from clipseg_ray.evaluation.answers import Answers
from clipseg_ray.evaluation.config import WITHOUT_THRESHOLD, EvaluateConfig, RowConfig
from clipseg_ray.evaluation.counts import THRESHOLDS, Counts
from clipseg_ray.evaluation.metrics import AskedQuery, Chosen, Metrics
from clipseg_ray.evaluation.protocols import Asking, Counted, holds
from clipseg_ray.evaluation.report import ReportRow
from clipseg_ray.evaluation.scores import COLUMNS, Scores

Measured = Mapping[tuple[str, Asking], Counted]
"""By truth set and way of asking."""

QUERIES = pa.schema(
    [pa.field(name, pa.string(), name == "query_id") for name in ("row", "truth", "asked", "kind", "query_id")]
    + COLUMNS
)
"""The columns of ``evaluation-queries.parquet``: each row's kinds (query_id null) and queries, each at its kind's
threshold."""


@dataclass(frozen=True, kw_only=True)
class Tables:
    """A model's rows, the table of each row's queries, the rows at further thresholds, and notes on thresholds."""

    rows: list[ReportRow]
    queries: pa.Table
    also_at: list[ReportRow]
    notes: list[str]


def model_rows(config: EvaluateConfig, measured: Measured) -> Tables:
    """What an evaluation of a model gives."""
    rows, also_at = list[ReportRow](), list[ReportRow]()
    choosing = any(row.protocol not in WITHOUT_THRESHOLD and row.tune_on is None for row in config.rows)
    notes = [_threshold_note(config)] if choosing else []
    queries: list[dict[str, Any]] = []
    for row in config.rows:
        asking = Asking.of(row, config.supports)
        counts = measured[row.truth, asking]
        if not isinstance(counts, Metrics):
            rows.append(_whole(row, str(asking), counts.scores, {}, counts.answers))
            queries += _parts(row, str(asking), counts.scores, counts.answers)
            continue
        thresholds, undecided = _thresholds(config, row, counts, measured)
        if row.tune_on is not None:
            notes.append(f"{row.name}: the threshold of each kind is the one that is best for {', '.join(row.tune_on)}")
        if undecided:
            notes.append(f"{row.name}: no true pixel to choose a threshold by for {', '.join(undecided)}: 0.5 is used")
        scored = partial(counts.scores, thresholds=thresholds)
        rows.append(_whole(row, str(asking), scored, thresholds, counts.counts))
        queries += _parts(row, str(asking), scored, counts.counts)
        for threshold in config.also_at:
            fixed = dict.fromkeys(thresholds, threshold)
            at = partial(counts.scores, thresholds=fixed)
            also_at.append(_whole(row, str(asking), at, fixed, counts.counts))
    return Tables(rows=rows, queries=pa.Table.from_pylist(queries, QUERIES), also_at=also_at, notes=notes)


def given_rows(config: EvaluateConfig, answers: Mapping[str, Answers]) -> tuple[list[ReportRow], pa.Table]:
    """A masks dataset's rows, and the table of each row's queries; answers by truth set."""
    rows = []
    queries: list[dict[str, Any]] = []
    for row in config.rows:
        given = answers[row.truth]
        rows.append(_whole(row, "masks as given", given.scores, {}, given.answers))
        queries += _parts(row, "masks as given", given.scores, given.answers)
    return rows, pa.Table.from_pylist(queries, QUERIES)


def _whole(
    row: RowConfig,
    asked: str,
    scored: Callable[..., Scores],
    thresholds: dict[str, float],
    queries: Iterable[AskedQuery],
) -> ReportRow:
    """A row of the report. scored: (chosen queries, present_only) → their measures.

    Raises UserError for an unseen query that was not asked.
    """
    scores = scored(partial(holds, row), present_only=row.pictures == "present")
    if row.unseen is not None:
        names = sorted({query.query_id for query in queries if holds(row, query)})
        if unknown := [name for name in row.unseen if name not in names]:
            raise UserError(f"row {row.name!r}: unseen: {unknown[0]!r} is not asked; {meant(unknown[0], names)}")
        seen, unseen = (
            scored(partial(_of, row, names), present_only=row.pictures == "present").miou
            for names in (set(names) - set(row.unseen), set(row.unseen))
        )
        scores = replace(
            scores,
            miou_seen=seen,
            miou_unseen=unseen,
            miou_harmonic=_harmonic(seen, unseen),
        )
    return ReportRow(
        name=row.name,
        truth=row.truth,
        asked=asked,
        pictures=row.pictures,
        thresholds=thresholds,
        scores=scores,
    )


def _harmonic(a: float | None, b: float | None) -> float | None:
    if a is None or b is None:
        return None
    return 2 * a * b / (a + b) if a + b else 0.0


def _of(row: RowConfig, names: set[str], query: AskedQuery) -> bool:
    return holds(row, query) and query.query_id in names


def _parts(
    row: RowConfig, asked: str, scored: Callable[..., Scores], queries: Iterable[AskedQuery]
) -> Iterator[dict[str, Any]]:
    """A row's kinds, each followed by its queries, as rows of QUERIES."""
    for kind, own in groupby(sorted(filter(partial(holds, row), queries)), key=lambda each: each.kind):
        of_kind: Chosen = partial(holds, row.model_copy(update={"kinds": [kind]}))
        for query_id, chosen in [
            (None, of_kind),
            *((query.query_id, partial(AskedQuery.__eq__, query)) for query in own),
        ]:
            yield {
                "row": row.name,
                "truth": row.truth,
                "asked": asked,
                "kind": kind,
                "query_id": query_id,
                **asdict(scored(chosen, present_only=row.pictures == "present")),
            }


def _thresholds(
    config: EvaluateConfig, row: RowConfig, counts: Metrics, measured: Measured
) -> tuple[dict[str, float], list[str]]:
    """The threshold of each kind in a row, and the kinds for which none could be chosen."""
    kinds = sorted({asked.kind for asked in counts.counts if holds(row, asked)})
    if config.threshold is not None:
        return dict.fromkeys(kinds, config.threshold), []
    # With a set of its own to choose on, a kind's threshold is that of all its queries; else of the row's.
    where = row.model_copy(update={"queries": None, "truth": config.tune}) if config.tune is not None else row
    by = [where] if row.tune_on is None else [each for each in config.rows if each.name in row.tune_on]
    best = {kind: _pooled(config, by, kind, measured).best for kind in kinds}
    undecided = [kind for kind, place in best.items() if place is None]
    return {kind: 0.5 if place is None else THRESHOLDS[place] for kind, place in best.items()}, undecided


def _pooled(config: EvaluateConfig, rows: Iterable[RowConfig], kind: str, measured: Measured) -> Counts:
    """What some rows counted of a kind, added together."""
    total = Counts()
    for row in rows:
        counts = measured[row.truth, Asking.of(row, config.supports)]
        assert isinstance(counts, Metrics)
        chosen = partial(holds, row.model_copy(update={"kinds": [kind]}))
        total += counts.pooled(chosen, present_only=row.pictures == "present")
    return total


def _threshold_note(config: EvaluateConfig) -> str:
    if config.threshold is not None:
        return f"threshold {config.threshold:g} for all, as configured"
    if config.tune is not None:
        return f"the threshold of each kind is the one with the greatest IoU_FG on the truth set {config.tune!r}"
    return (
        "the threshold of each kind is the one with the greatest IoU_FG on the measured set itself, which flatters; "
        "name another set under tune"
    )
