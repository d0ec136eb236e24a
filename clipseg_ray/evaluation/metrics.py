"""Metrics over a whole set, streaming and mergeable: per query, per kind, per any group of queries.

    metrics = Metrics()
    metrics.update("sit-on", probability_hw, label_hw, kind="affordance")   # once per picture and query
    metrics.merge(those_of_another_worker)
    metrics.scores(lambda query: query.kind == "affordance").iou_fg         # at its best threshold
    metrics.to_table()                                                      # a row per query, per kind, and overall

Nothing but integers is kept, so the order of updates and merges never matters. What each measure means stands in
``counts``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from clipseg_ray.evaluation.counts import THRESHOLDS, Counts


class Asked(NamedTuple):
    """What counts are kept for: a query of a kind."""

    kind: str
    query_id: str


@dataclass(frozen=True)
class Scores:
    """The measures of a group of queries at one threshold; None where undefined."""

    queries: int
    """Queries asked."""
    images_present: int
    """(picture, query) pairs where the thing is there."""
    images_absent: int
    """(picture, query) pairs where it is not."""
    threshold: float
    """Probability above which a pixel is inside, of THRESHOLDS."""
    best_threshold: float | None
    """The one with the greatest IoU_FG."""
    iou_fg: float | None
    """IoU of the foreground, pixels pooled over pictures and queries."""
    iou_bin: float | None
    """Mean of IoU of foreground and background, pixels pooled."""
    miou: float | None
    """Mean over the queries of each one's IoU_FG, at this same threshold."""
    iou_per_image: float | None
    """Mean over the present (picture, query) pairs of each one's own IoU (PhraseCut's mIoU)."""
    ap: float | None
    """Average precision over pixels, pooled."""
    map: float | None
    """Mean over the queries of each one's AP."""
    precision: float | None
    """Share of predicted pixels that are true, pooled."""
    recall: float | None
    """Share of true pixels that are predicted, pooled."""
    absent_silent: float | None
    """Share of the absent pairs whose score is not above the threshold: no mask, rightly."""
    present_found: float | None
    """Share of the present pairs whose score is above the threshold."""
    ap_images: float | None
    """Average precision of the score as a sign that the thing is there, over the pairs."""


SCHEMA = pa.schema(
    [
        pa.field("level", pa.string(), nullable=False),
        pa.field("kind", pa.string()),
        pa.field("query_id", pa.string()),
        *(
            pa.field(name, pa.int64() if name == "queries" or name.startswith("images") else pa.float64())
            for name in Scores.__dataclass_fields__
        ),
    ]
)
"""The columns of ``Metrics.to_table``: level is "query", "kind" or "all"; then the fields of ``Scores``."""


class Metrics:
    """Counts of every query asked so far. Pickles small: 64 KB a query."""

    def __init__(self) -> None:
        self.counts: dict[Asked, Counts] = {}

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
        """Count one picture's answer to one query.

        probability_hw: float32 [h, w] within 0…1, at the label's size. label_hw: bool [h, w]; None where the thing is
        not in the picture. ignore_hw: bool [h, w], pixels that count for nothing; a picture all ignored does not count.
        score: the greatest probability before any resizing, for what is measured per picture; default: the greatest
        of ``probability_hw`` outside ``ignore_hw``.

        Raises ValueError for other dtypes, shapes and values, NaN among them.
        """
        self.counts.setdefault(Asked(kind, query_id), Counts()).update(probability_hw, label_hw, ignore_hw, score)

    def merge(self, other: Metrics) -> None:
        """Add what another has counted."""
        for asked, counts in other.counts.items():
            mine = self.counts.setdefault(asked, Counts())
            mine += counts

    def pooled(self, chosen: Callable[[Asked], bool] = lambda asked: True) -> Counts:
        """The counts of the chosen queries added together."""
        total = Counts()
        for asked, counts in self.counts.items():
            if chosen(asked):
                total += counts
        return total

    def best_threshold(self, chosen: Callable[[Asked], bool] = lambda asked: True) -> float | None:
        """The threshold with the greatest pooled IoU_FG; None if the chosen queries have no true pixel."""
        best = self.pooled(chosen).best
        return None if best is None else THRESHOLDS[best]

    def scores(self, chosen: Callable[[Asked], bool] = lambda asked: True, threshold: float | None = None) -> Scores:
        """The chosen queries' measures at one of THRESHOLDS; default: their best (0.5 where that is undefined)."""
        each = [counts for asked, counts in self.counts.items() if chosen(asked)]
        return _scores(each, threshold)

    def to_table(self, thresholds: Mapping[str, float] | None = None) -> pa.Table:
        """Every measure as a table of SCHEMA: a row per query, per kind, and one over all.

        thresholds: by kind; a query is measured at its kind's. Without one a row is measured at its own best.
        """
        given = thresholds or {}
        rows = []
        for asked in sorted(self.counts):
            scores = _scores([self.counts[asked]], given.get(asked.kind))
            rows.append({"level": "query", "kind": asked.kind, "query_id": asked.query_id, **asdict(scores)})
        for kind in sorted({asked.kind for asked in self.counts}):
            each = [counts for asked, counts in self.counts.items() if asked.kind == kind]
            rows.append({"level": "kind", "kind": kind, "query_id": None, **asdict(_scores(each, given.get(kind)))})
        if rows:
            rows.append({"level": "all", "kind": None, "query_id": None, **asdict(self.scores())})
        return pa.Table.from_pylist(rows, SCHEMA)


def _scores(each: list[Counts], threshold: float | None) -> Scores:
    total = Counts()
    for counts in each:
        total += counts
    best = total.best
    at = _index(threshold) if threshold is not None else _index(0.5) if best is None else best
    silent_absent_t, silent_present_t = total.silent_t
    absent, present = total.images
    return Scores(
        queries=len(each),
        images_present=present,
        images_absent=absent,
        threshold=THRESHOLDS[at],
        best_threshold=None if best is None else THRESHOLDS[best],
        iou_fg=_at(total.iou_fg_t, at),
        iou_bin=_at(total.iou_bin_t, at),
        miou=_mean(_at(counts.iou_fg_t, at) for counts in each),
        iou_per_image=_at(total.iou_per_image_t, at),
        ap=total.average_precision,
        map=_mean(counts.average_precision for counts in each),
        precision=_at(total.precision_t, at),
        recall=_at(total.recall_t, at),
        absent_silent=_at(silent_absent_t, at),
        present_found=_at(1 - silent_present_t, at),
        ap_images=total.average_precision_images,
    )


def _index(threshold: float) -> int:
    for index, known in enumerate(THRESHOLDS):
        if abs(known - threshold) < 1e-9:
            return index
    raise ValueError(f"threshold {threshold:g} is none of 0.02, 0.04, … 0.98")


def _at(values_t: np.ndarray | None, index: int) -> float | None:
    if values_t is None or np.isnan(values_t[index]):
        return None
    return float(values_t[index])


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
