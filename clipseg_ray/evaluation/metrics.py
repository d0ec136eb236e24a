"""Metrics over a whole set, streaming and mergeable: per query, per kind, per any group of queries.

    metrics = Metrics()
    metrics.update("sit-on", probability_hw, label_hw, kind="affordance")   # once per image and query
    metrics.merge(those_of_another_worker)
    metrics.scores(lambda asked: asked.kind == "affordance").iou_fg         # at its best threshold
    metrics.to_table()                                                      # a row per query, per kind, and overall

Nothing but integers is kept, so the order of updates and merges never matters. What each measure means stands in
``scores`` and ``tally``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import reduce
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from clipseg_ray.evaluation.counts import THRESHOLDS, Counts, index_of
from clipseg_ray.evaluation.scores import COLUMNS, Scores


class AskedQuery(NamedTuple):
    """What counts are kept for: a query of a kind."""

    kind: str
    query_id: str


Chosen = Callable[[AskedQuery], bool]
"""Which queries are meant."""

Thresholds = float | Mapping[str, float]
"""One of THRESHOLDS for all, or one for each kind."""

SCHEMA = pa.schema(
    [
        pa.field("level", pa.string(), nullable=False),
        pa.field("kind", pa.string()),
        pa.field("query_id", pa.string()),
        *COLUMNS,
    ]
)
"""The columns of ``Metrics.to_table``: level is "query", "kind" or "all"; then the fields of ``Scores``."""


def _all(asked: AskedQuery) -> bool:
    return True


class Metrics:
    """Counts of every query asked so far, 80 KB each."""

    def __init__(self) -> None:
        self.counts: dict[AskedQuery, Counts] = {}

    def update(
        self,
        query_id: str,
        probability_hw: np.ndarray,
        label_hw: np.ndarray | None,
        ignore_hw: np.ndarray | None = None,
        *,
        kind: str = "",
        score: float | None = None,
    ) -> None:
        """Count one image's answer to one query.

        probability_hw: float32 [h, w] within 0…1, at the label's size. label_hw: bool [h, w]; None where the thing is
        not in the image. ignore_hw: bool [h, w], pixels that count for nothing; an image all ignored does not count.
        score: the greatest probability before any resizing, for what is measured per image; default: the greatest
        of ``probability_hw`` outside ``ignore_hw``.

        Raises ValueError for other dtypes, shapes and values, NaN among them.
        """
        self.counts.setdefault(AskedQuery(kind, query_id), Counts()).update(probability_hw, label_hw, ignore_hw, score)

    def merge(self, other: Metrics) -> None:
        """Add what another has counted."""
        for asked, counts in other.counts.items():
            mine = self.counts.setdefault(asked, Counts())
            mine += counts

    def best_threshold(self, chosen: Chosen = _all, *, present_only: bool = False) -> float | None:
        """The threshold with the greatest pooled IoU_FG; None if the chosen queries have no true pixel."""
        best = self.pooled(chosen, present_only=present_only).best
        return None if best is None else THRESHOLDS[best]

    def pooled(self, chosen: Chosen = _all, *, present_only: bool = False) -> Counts:
        """The chosen queries' counts, added together."""
        return _pooled(self._chosen(chosen, present_only))

    def scores(
        self, chosen: Chosen = _all, thresholds: Thresholds | None = None, *, present_only: bool = False
    ) -> Scores:
        """The chosen queries' measures.

        thresholds: default and for kinds not named: the chosen queries' common best, 0.5 where that is undefined.
        present_only: count only images that have the thing, as most published protocols do.
        """
        return _scores(self._chosen(chosen, present_only), thresholds)

    def to_table(self, thresholds: Thresholds | None = None) -> pa.Table:
        """Every measure as a table of SCHEMA: a row per query, per kind, and one over all.

        Without a threshold a row is measured at its own best.
        """
        every = sorted(self.counts)
        groups: list[tuple[dict[str, str], list[AskedQuery]]] = [
            *(({"level": "query", **asked._asdict()}, [asked]) for asked in every),
            *(({"level": "kind", "kind": kind}, list(own)) for kind, own in groupby(every, lambda asked: asked.kind)),
            *([({"level": "all"}, every)] if every else []),
        ]
        rows = [
            {**names, **asdict(_scores({asked: self.counts[asked] for asked in own}, thresholds))}
            for names, own in groups
        ]
        return pa.Table.from_pylist(rows, SCHEMA)

    def _chosen(self, chosen: Chosen, present_only: bool) -> dict[AskedQuery, Counts]:
        return {
            asked: counts.where_present() if present_only else counts
            for asked, counts in self.counts.items()
            if chosen(asked)
        }


def _pooled(counts: Mapping[AskedQuery, Counts]) -> Counts:
    return reduce(operator.iadd, counts.values(), Counts())


def _scores(counts: Mapping[AskedQuery, Counts], thresholds: Thresholds | None) -> Scores:
    total = _pooled(counts)
    best = total.best
    common = 0.5 if best is None else THRESHOLDS[best]
    if isinstance(thresholds, float | int):
        at = dict.fromkeys(counts, index_of(thresholds))
    else:
        at = {asked: index_of((thresholds or {}).get(asked.kind, common)) for asked in counts}
    return Scores.of(
        [counts[asked].at(at[asked]) for asked in counts],
        threshold=THRESHOLDS[next(iter(at.values()))] if len(set(at.values())) == 1 else None,
        best_threshold=None if best is None else THRESHOLDS[best],
        ap=total.average_precision,
        each_ap=(each.average_precision for each in counts.values()),
        ap_clipseg=total.published_ap,
        ap_images=total.average_precision_images,
    )
