"""The images in which A and B differ most, as one HTML page: what both have, what A alone and what B alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import duckdb
import pyarrow as pa

from clipseg_ray.comparison.compared import Comparison
from clipseg_ray.redaction import redacted
from clipseg_ray.report import one_page, samples
from clipseg_ray.report.gallery import GRID, MAX_BYTES, encoded_images
from clipseg_ray.report.thumbnails import fitting
from clipseg_ray.results.source_images import SourceImages

IMAGES = 100
A_PICTURE = 6
"""Queries of an image that are drawn: those that differ most."""

_WORST = f"""
SELECT image_id, sum(differing) AS pixels, count(*) AS queries
FROM compared WHERE iou < 1 AND NOT a_lacks AND NOT b_lacks
GROUP BY image_id ORDER BY pixels DESC, image_id LIMIT {IMAGES}
"""

_MASKS = f"""
WITH picked AS (
       SELECT image_id, pair, phrase, iou, differing, number FROM compared JOIN worst USING (image_id)
       WHERE iou < 1 AND NOT a_lacks AND NOT b_lacks
       QUALIFY row_number() OVER (PARTITION BY image_id ORDER BY differing DESC, pair, phrase) <= {A_PICTURE}),
     sides AS (
       SELECT number, pair, phrase, iou, differing, coalesce(a.query_text, b.query_text) AS words,
              a.score AS a_score, b.score AS b_score, a.area > 0 AS in_a, b.area > 0 AS in_b,
              coalesce(a.height, b.height) AS a_height, coalesce(a.width, b.width) AS a_width,
              coalesce(b.height, a.height) AS b_height, coalesce(b.width, a.width) AS b_width,
              a.counts AS a_counts, b.counts AS b_counts
       FROM picked LEFT JOIN (FROM a_rows SEMI JOIN worst USING (image_id)) a USING (image_id, pair, phrase)
            LEFT JOIN (FROM b_rows SEMI JOIN worst USING (image_id)) b USING (image_id, pair, phrase)),
     sized AS (
       SELECT *, greatest(a_height, b_height) AS h, greatest(a_width, b_width) AS w,
              least(1.0, {GRID} / greatest(a_height, a_width, b_height, b_width)) AS scale FROM sides),
     drawn AS (
       SELECT *, greatest(1, round(h * scale))::BIGINT AS height, greatest(1, round(w * scale))::BIGINT AS width
       FROM sized)
SELECT number, pair, words, iou, differing, a_score, b_score, height, width,
       CASE WHEN in_a THEN mask_resize(a_counts, a_height, a_width, height, width) ELSE '' END AS a_counts,
       CASE WHEN in_b THEN mask_resize(b_counts, b_height, b_width, height, width) ELSE '' END AS b_counts
FROM drawn ORDER BY number, differing DESC, pair, phrase
"""


def write(
    connection: duckdb.DuckDBPyConnection, found: Comparison, destination: str, allow_source: Sequence[str]
) -> str:
    """Write the page to a ``.html`` file, or to ``index.html`` in a folder; returns its URL.

    connection: that of `joining.joined`. Shown are up to ``IMAGES`` images, by the share of pixels that differ, summed
    over queries: by IoU those came first in which a mask of three pixels has lost one. Pictures are A's, as small as
    makes the page weigh 10 MB at most.
    """
    worst = connection.execute(_WORST).fetchall()
    numbered = {
        "image_id": pa.array([row[0] for row in worst], pa.string()),
        "number": pa.array(range(len(worst)), pa.int32()),
    }
    connection.register("worst", pa.table(numbered))
    masks = connection.sql(_MASKS).to_arrow_table().to_pylist()
    connection.execute("USE a")
    images = samples.images_of(connection, [row[0] for row in worst])
    content = _content(found, worst, masks, images)
    room = (MAX_BYTES - len(_html(content)) - 64 * len(worst)) * 3 // 4
    encoded = encoded_images(SourceImages(found.a.store, allow_source), images)
    for row, small in zip(images.to_pylist(), fitting(encoded, max(0, room)), strict=True):
        content["images"][row["number"]]["src"] = None if small is None else one_page.data_url(small.webp, "webp")
    return one_page.put(destination, _html(content).encode())


def _content(
    found: Comparison, worst: list[tuple[Any, ...]], masks: list[dict[str, Any]], images: pa.Table
) -> dict[str, Any]:
    shown: list[dict[str, Any]] = [
        {"id": image_id, "pixels": float(f"{pixels:.6g}"), "queries": queries, "masks": []}
        for image_id, pixels, queries in worst
    ]
    for row in images.to_pylist():
        shown[row["number"]] |= {"width": row["width"], "height": row["height"]}
    for mask in masks:
        shown[mask.pop("number")]["masks"].append(mask)
    return {
        "a": redacted(found.a.url),
        "b": redacted(found.b.url),
        "changes": list(found.changes),
        "lacks": list(found.lacks),
        "pairs": [
            {**asdict(each), "name": pair.name, "words": pair.a.words}
            for pair, each in zip(found.pairs, found.agreements, strict=True)
        ],
        "images": shown,
    }


def _html(content: dict[str, Any]) -> str:
    return one_page.document(
        "compare.html", content, title="Two sets of masks compared", styles=("style.css", "compare.css"),
        scripts=("masks.js", "elements.js", "looks.js", "charts.js", "compare.js"),
    )  # fmt: skip
