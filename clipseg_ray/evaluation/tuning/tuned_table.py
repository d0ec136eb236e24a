"""The table with its new thresholds, and what a person should know of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from clipseg_ray.queries.query import Query
from clipseg_ray.queries.table_file import TableRows


@dataclass(frozen=True)
class Tuned:
    """What was found: ``rows`` is the table with it, ``shown`` a line for each query under ``titles``, ``remarks`` what
    else must be known."""

    rows: TableRows
    titles: Sequence[str]
    shown: Sequence[Sequence[str]]
    remarks: Sequence[str]


def with_values(
    rows: TableRows, numbered: Sequence[tuple[int, Query]], column: str, values: Mapping[str, float]
) -> TableRows:
    """The table with a value in ``column`` for each query that has one in ``values``, all else as it was.

    numbered: its queries by row. A row that asks at several shares of its pictures becomes one for each, so that each
    has its own value.
    """
    queries_of: dict[int, list[Query]] = {}
    for place, query in numbered:
        queries_of.setdefault(place, []).append(query)
    found: list[dict[str, Any]] = []
    for number, row in enumerate(rows.rows, 1):
        asked = queries_of.get(number, [])
        if not any(query.query_id in values for query in asked):
            found.append(row)
        elif isinstance(row.get("alpha"), list):
            for query in asked:
                each = {**row, "query_id": query.query_id, "alpha": query.alpha}
                found.append(_with(each, column, values.get(query.query_id)))
        else:
            found.append(_with(row, column, values[asked[0].query_id]))
    columns = tuple(dict.fromkeys((*rows.columns, *(name for row in found for name in row))))
    return replace(rows, columns=columns, rows=tuple(found))


def _with(row: dict[str, Any], column: str, value: float | None) -> dict[str, Any]:
    return row if value is None else {**row, column: value}
