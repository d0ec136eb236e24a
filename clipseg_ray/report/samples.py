"""Which masks to look at: for each query the best, the borderline and the smallest, for some images all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from clipseg_ray.report.asked import DescribedQuery

GROUPS = ("best", "borderline", "smallest")
PER_GROUP = 8
BORDER = 0.2
"""How far from the threshold a score may be to be called borderline."""
WHOLE_IMAGES = 60
"""Of how many images all masks are shown, at most."""

_COLUMNS = (
    "query_text", "score", "score_mean", "area", "coverage", "bbox", "height", "width", "counts", "presence", "heat",
)  # fmt: skip

_PICKS = """
SELECT asked,
       max({{score: score, mean: coalesce(score_mean, 0), image_id: image_id, query_id: query_id}}, {n})
           FILTER (area > 0) AS best,
       min({{off: abs(score - threshold), image_id: image_id, query_id: query_id}}, {n})
           FILTER (abs(score - threshold) < {border}) AS borderline,
       min({{coverage: coverage, below: -score, image_id: image_id, query_id: query_id}}, {n})
           FILTER (score > threshold) AS smallest
FROM answers JOIN thresholds USING (asked) GROUP BY asked
"""


@dataclass(frozen=True)
class Pick:
    """One mask by its keys; ``asked`` is ``DescribedQuery.query_id``, ``group`` empty for one of a whole image."""

    asked: str
    group: str
    image_id: str
    query_id: str


def picks(connection: duckdb.DuckDBPyConnection, queries: Sequence[DescribedQuery]) -> dict[str, list[list[Pick]]]:
    """For each query, by ``DescribedQuery.query_id``, its picks in three lists in the order of ``GROUPS``.

    best: highest score, then mean inside. borderline: score nearest to the query's threshold, within
    ``BORDER`` on either side.
    smallest: least coverage of those above the threshold. Each mask is in one list, the first that wants it; lists
    are up to ``PER_GROUP`` long. Needs the view ``answers``; reads no masks.
    """
    thresholds = pa.table(
        {
            "asked": pa.array([query.query_id for query in queries], pa.string()),
            "threshold": pa.array([query.threshold for query in queries], pa.float64()),
        }
    )
    connection.register("thresholds", thresholds)
    rows = connection.execute(_PICKS.format(n=len(GROUPS) * PER_GROUP, border=BORDER)).fetchall()
    connection.unregister("thresholds")
    found = {}
    for asked, *lists in rows:
        taken: set[tuple[str, str]] = set()
        chosen = []
        for group, members in zip(GROUPS, lists, strict=True):
            keys = dict.fromkeys((member["image_id"], member["query_id"]) for member in members or ())
            mine = [key for key in keys if key not in taken][:PER_GROUP]
            taken.update(mine)
            chosen.append([Pick(asked, group, *key) for key in mine])
        found[asked] = chosen
    return found


def shortened(chosen: dict[str, list[list[Pick]]], per_group: int) -> list[Pick]:
    """The picks in one list, the first ``per_group`` of each."""
    return [pick for lists in chosen.values() for picked in lists for pick in picked[:per_group]]


def whole_images(
    connection: duckdb.DuckDBPyConnection, image_ids: Sequence[str], most_masks: int
) -> dict[str, list[Pick]]:
    """For the first of these images, by id, that have any: all masks that are not empty.

    Up to ``WHOLE_IMAGES`` images, and ``most_masks`` masks together. Needs the view ``answers``; reads no masks.
    """
    rows = _joined(
        connection,
        {"image_id": list(image_ids)},
        "SELECT image_id, list({asked: asked, query_id: query_id} ORDER BY asked, query_id) AS masks "
        "FROM answers JOIN wanted USING (image_id) WHERE area > 0 "
        f"GROUP BY image_id ORDER BY image_id LIMIT {WHOLE_IMAGES}",
    )
    found: dict[str, list[Pick]] = {}
    for row in rows.to_pylist():
        if (most_masks := most_masks - len(row["masks"])) < 0:
            break
        found[row["image_id"]] = [Pick(each["asked"], "", row["image_id"], each["query_id"]) for each in row["masks"]]
    return found


def masks_of(connection: duckdb.DuckDBPyConnection, wanted: Sequence[Pick]) -> pa.Table:
    """What the page says of masks, for these picks, with ``number``, the pick's index; of rows with equal keys one."""
    columns = [column for column in connection.table("masks").columns if column in _COLUMNS]
    return _joined(
        connection,
        {"image_id": [pick.image_id for pick in wanted], "query_id": [pick.query_id for pick in wanted]},
        f"SELECT DISTINCT ON (number) {', '.join(columns)}, number "
        "FROM masks JOIN wanted USING (image_id, query_id) ORDER BY number",
    )


def images_of(connection: duckdb.DuckDBPyConnection, image_ids: Sequence[str]) -> pa.Table:
    """The rows of ``images`` with these ids, in the order of the table, with ``number``, the id's index."""
    return _joined(
        connection,
        {"image_id": list(image_ids)},
        "SELECT DISTINCT ON (number) images.*, number FROM images JOIN wanted USING (image_id) "
        'ORDER BY shard, chunk, "offset", number',
    )


def _joined(connection: duckdb.DuckDBPyConnection, keys: dict[str, list[str]], query: str) -> pa.Table:
    columns = {name: pa.array(values, pa.string()) for name, values in keys.items()}
    numbers = pa.array(range(len(columns["image_id"])), pa.int64())
    connection.register("wanted", pa.table({**columns, "number": numbers}))
    try:
        return connection.sql(query).to_arrow_table()
    finally:
        connection.unregister("wanted")
