"""What each query found, in numbers: counts, means, quantiles and histograms of score and coverage.

One pass over four small columns, whatever the size of the dataset: quantiles come from fine bins, so that memory
follows the number of queries and not of masks, and the same dataset always gives the same numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from clipseg_ray.report.asked import DescribedQuery
from clipseg_ray.results.mean_coverage import MEAN_COVERAGE
from clipseg_ray.results.reading import literal

SCORE_BINS = 20
"""Bins of the score histogram, equally wide over 0…1."""
COVERAGE_DECADES = 4
"""Decades of the coverage histogram: 0.01 % … 100 %; what is smaller counts in the first bin."""
BINS_A_DECADE = 5

_SCORE_STEPS = 1000
_COVERAGE_STEPS = 200  # a decade: 1.2 % of the value


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """One query over all images that were asked.

    images: rows, empty masks among them where the dataset keeps them. found: masks that are not empty. coverage: its
    mean over the found, as `results.mean_coverage` has it; 0 where there are none. score_quantiles: of ``score`` over
    all rows, to 0.001, by share. coverage_quantiles: of ``coverage`` over the found, to 1.2 % of the value.
    score_bins: rows by score, ``SCORE_BINS`` equal bins. coverage_bins: the found by coverage, ``BINS_A_DECADE``
    logarithmic bins a decade over ``COVERAGE_DECADES``.
    """

    images: int
    found: int
    coverage: float
    score_quantiles: dict[float, float]
    coverage_quantiles: dict[float, float]
    score_bins: tuple[int, ...]
    coverage_bins: tuple[int, ...]


NOTHING = Statistics(
    images=0,
    found=0,
    coverage=0.0,
    score_quantiles={},
    coverage_quantiles={},
    score_bins=(0,) * SCORE_BINS,
    coverage_bins=(0,) * (COVERAGE_DECADES * BINS_A_DECADE),
)

SHARES = (0.05, 0.5, 0.95)


def view_answers(connection: duckdb.DuckDBPyConnection, asked: Sequence[DescribedQuery]) -> None:
    """Add the view ``answers`` to a connection of ``results.reading``: ``masks`` with the column ``asked``.

    ``asked`` is ``DescribedQuery.query_id``: the query's own id, or that which stands for the phrases of a prompt set.
    """
    connection.execute(f"CREATE OR REPLACE TEMP VIEW answers AS SELECT *, {asked_of_row(asked)} AS asked FROM masks")


def asked_of_row(asked: Sequence[DescribedQuery]) -> str:
    """``DescribedQuery.query_id`` of a row of ``masks``, as SQL."""
    phrases = {query.prompt_set: query.query_id for query in asked if query.from_images}
    cases = "".join(f" WHEN {literal(name)} THEN {literal(query_id)}" for name, query_id in phrases.items())
    return f"CASE prompt_set{cases} ELSE query_id END" if cases else "query_id"


def by_query(connection: duckdb.DuckDBPyConnection) -> dict[str, Statistics]:
    """Statistics by ``asked``, from the view ``answers``."""
    scores = _binned(
        connection.execute(
            f"SELECT asked, least(floor(score * {_SCORE_STEPS}), {_SCORE_STEPS - 1})::INT AS bin, count(*) "
            "FROM answers GROUP BY ALL ORDER BY ALL"
        ).fetchall()
    )
    coverages = _binned(
        connection.execute(
            f"SELECT asked, floor({_COVERAGE_STEPS} * log10(coverage))::INT AS bin, count(*) "
            "FROM answers WHERE area > 0 GROUP BY ALL ORDER BY ALL"
        ).fetchall()
    )
    means = dict(connection.execute(f"SELECT asked, {MEAN_COVERAGE} FROM answers GROUP BY asked").fetchall())
    return {name: _statistics(rows, coverages.get(name, []), means[name] or 0.0) for name, rows in scores.items()}


_Bins = list[tuple[int, int]]


def _binned(rows: list[tuple[str, int, int]]) -> dict[str, _Bins]:
    found: dict[str, _Bins] = {}
    for name, step, count in rows:
        found.setdefault(name, []).append((step, count))
    return found


def _statistics(scores: _Bins, coverages: _Bins, mean_coverage: float) -> Statistics:
    images = sum(count for _, count in scores)
    score_bins = [0] * SCORE_BINS
    for step, count in scores:
        score_bins[step * SCORE_BINS // _SCORE_STEPS] += count
    coverage_bins = [0] * (COVERAGE_DECADES * BINS_A_DECADE)
    for step, count in coverages:
        place = len(coverage_bins) + math.floor(step * BINS_A_DECADE / _COVERAGE_STEPS)
        coverage_bins[min(max(place, 0), len(coverage_bins) - 1)] += count
    return Statistics(
        images=images,
        found=sum(count for _, count in coverages),
        coverage=mean_coverage,
        score_quantiles={share: (quantile(scores, share) + 0.5) / _SCORE_STEPS for share in SHARES},
        coverage_quantiles={
            share: min(1.0, 10 ** ((quantile(coverages, share) + 0.5) / _COVERAGE_STEPS)) if coverages else 0.0
            for share in SHARES
        },
        score_bins=tuple(score_bins),
        coverage_bins=tuple(coverage_bins),
    )


def quantile(bins: Sequence[tuple[int, int]], share: float) -> int:
    """Of (bin, count) in order, the bin that holds the value at ``share`` of the sorted values."""
    rank = share * (sum(count for _, count in bins) - 1)
    seen = itertools.accumulate(count for _, count in bins)
    return next((step for (step, _), up_to in zip(bins, seen, strict=True) if up_to > rank), bins[-1][0])
