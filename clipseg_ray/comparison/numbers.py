"""How much the two sides agree, for each pair of queries."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from clipseg_ray.comparison.pairing import Pair
from clipseg_ray.report.statistics import quantile

SHARES = (0.05, 0.5, 0.95)
BINS = 20
"""Bins of the histogram of IoU, equally wide over 0…1."""

_STEPS = 1000

_PAIRS = """
SELECT pair, count(*), count(iou), avg(iou), count(*) FILTER (iou = 1), count(*) FILTER (in_b AND NOT in_a),
       count(*) FILTER (in_a AND NOT in_b), avg(drift), max(abs(drift))
FROM compared WHERE NOT a_lacks AND NOT b_lacks GROUP BY pair
"""

_LACKING = """
SELECT pair, count(DISTINCT image_id) FILTER (of_a), count(DISTINCT image_id) FILTER (NOT of_a),
       count(DISTINCT image_id)
FROM (SELECT pair, image_id, true AS of_a FROM compared WHERE a_lacks
      UNION ALL SELECT pair, image_id, false FROM compared WHERE b_lacks
      UNION ALL SELECT pair, image_id, true FROM a_gaps SEMI JOIN (FROM photos WHERE compared) USING (image_id)
      UNION ALL SELECT pair, image_id, false FROM b_gaps SEMI JOIN (FROM photos WHERE compared) USING (image_id))
GROUP BY pair
"""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """One pair of queries over the images that both sides answered.

    masks: answers compared, empty ones among them: one an image, or one a phrase that came with it. either: those not
    empty on both sides; over these are ``iou`` (mean), ``quantiles`` (by share, to 0.001) and ``bins``. A mask that
    one side alone has found counts with an IoU of 0. Without any, ``iou`` is None. same: of IoU 1. found: in B alone.
    lost: in A alone. drift: mean of score in B − score in A, ``drift_quantiles`` to 0.001, ``drift_most`` its greatest
    size; None without scores. lacks_a, lacks_b: images that this side has no answer for.
    """

    masks: int
    either: int
    iou: float | None
    quantiles: dict[float, float]
    bins: tuple[int, ...]
    same: int
    found: int
    lost: int
    drift: float | None
    drift_quantiles: dict[float, float]
    drift_most: float | None
    lacks_a: int
    lacks_b: int


def agreements(connection: duckdb.DuckDBPyConnection, pairs: Sequence[Pair]) -> list[Agreement]:
    """One a pair, in their order, from the tables of `joining.joined`."""
    counted = {row[0]: row[1:] for row in connection.execute(_PAIRS).fetchall()}
    lacking = {row[0]: row[1:] for row in connection.execute(_LACKING).fetchall()}
    ious, drifts = _binned(connection, "iou"), _binned(connection, "drift")
    (images,) = connection.execute("SELECT count(*) FILTER (compared) FROM photos").fetchall()[0]
    return [
        _agreement(
            images=None if pair.a.from_images else images,
            counted=counted.get(number, (0, 0, None, 0, 0, 0, None, None)),
            lacking=lacking.get(number, (0, 0, 0)),
            ious=ious.get(number, []),
            drifts=drifts.get(number, []),
        )
        for number, pair in enumerate(pairs)
    ]


_Bins = list[tuple[int, int]]


def _binned(connection: duckdb.DuckDBPyConnection, column: str) -> dict[int, _Bins]:
    """(bin of 0.001, count) in order, by pair."""
    rows = connection.execute(
        f"SELECT pair, floor({column} * {_STEPS})::INT AS bin, count(*) FROM compared "
        f"WHERE {column} IS NOT NULL AND NOT a_lacks AND NOT b_lacks GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    return {
        pair: [(step, count) for _, step, count in own] for pair, own in itertools.groupby(rows, key=lambda row: row[0])
    }


def _agreement(
    *, images: int | None, counted: tuple, lacking: tuple[int, int, int], ious: _Bins, drifts: _Bins
) -> Agreement:
    rows, either, iou, same, found, lost, drift, most = counted
    lacks_a, lacks_b, lacks_any = lacking
    bins = [0] * BINS
    for step, count in ious:
        bins[min(step * BINS // _STEPS, BINS - 1)] += count
    return Agreement(
        # Where neither side keeps empty masks, an image that both find empty has no row.
        masks=rows if images is None else images - lacks_any,
        either=either,
        iou=iou,
        quantiles={share: quantile(ious, share) / _STEPS for share in SHARES} if ious else {},
        bins=tuple(bins),
        same=same,
        found=found,
        lost=lost,
        drift=drift,
        drift_quantiles={share: quantile(drifts, share) / _STEPS for share in SHARES} if drifts else {},
        drift_most=most,
        lacks_a=lacks_a,
        lacks_b=lacks_b,
    )
