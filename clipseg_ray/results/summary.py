"""A first look at a dataset: some rows, and what each query found."""

from __future__ import annotations

from typing import Any

from clipseg_ray.errors import UserError
from clipseg_ray.results import reading
from clipseg_ray.results.mean_coverage import MEAN_COVERAGE
from clipseg_ray.storage import Store

_QUERIES = f"""
SELECT m.query_id,
       any_value(coalesce({{expression}}array_to_string(q.texts, ' | '), m.query_text)) AS texts,
       count(*) AS images,
       count(*) FILTER (area > 0) AS found_in,
       {MEAN_COVERAGE} AS mean_coverage,
       max(score) AS best_score
FROM masks m LEFT JOIN queries q USING (query_id)
GROUP BY m.query_id ORDER BY found_in DESC, m.query_id
"""

_STATUSES = "SELECT status, count(*) AS images, any_value(error) AS example FROM images GROUP BY status ORDER BY 2 DESC"

_ROWS = """
SELECT image_id, query_id, score, area, coverage, bbox, counts
FROM masks WHERE area > 0 ORDER BY score DESC, image_id, query_id LIMIT ?
"""


def tables(output: str, rows: int) -> list[tuple[str, list[str], list[tuple[Any, ...]]]]:
    """(title, column names, rows) for: images by status, queries, and the best-scored masks."""
    with reading.connect(Store.of(output)) as connection:
        present = {
            row[0] for row in connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        }
        if not {"images", "masks"} <= present:
            raise UserError(f"{output}: nothing has been written yet; see clipseg-ray status {output}")
        expression = "q.expression, " if "expression" in reading.columns(connection, "queries") else ""
        found = []
        for title, query, arguments in (
            ("images", _STATUSES, []),
            ("queries", _QUERIES.format(expression=expression), []),
            (f"the {rows} best masks", _ROWS, [rows]),
        ):
            cursor = connection.execute(query, arguments)
            found.append((title, [column[0] for column in cursor.description or ()], cursor.fetchall()))
    return found
