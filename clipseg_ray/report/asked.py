"""What was asked in a dataset: its queries, in an order that later runs only add to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clipseg_ray.errors import UserError
from clipseg_ray.queries.naming import FROM
from clipseg_ray.queries.selection import select
from clipseg_ray.queries.table_file import TableRows
from clipseg_ray.results import layout, sets
from clipseg_ray.storage import Store, plain_errors
from clipseg_ray.tables import parquet_table


@dataclass(frozen=True, kw_only=True)
class DescribedQuery:
    """One query of a dataset, or all phrases that came with the images under one field.

    number: from 1, in the order the prompt sets came to be and, within a set, that of the table it was made from, so
    that a query keeps its number when a later run adds others; phrases take none, each gets its own. from_images:
    whether this stands for phrases that came with the images; ``query_id`` is then ``from:<field>``, which no mask
    has. supports: rows of the query's pictures (url, height, width, counts). columns: the query table's further
    columns. among: those of ``suppress``, ``group``, ``weight``, ``expression`` that it has.
    """

    number: int
    query_id: str
    prompt_set: str
    kind: str
    texts: tuple[str, ...]
    templates: tuple[str, ...]
    threshold: float
    supports: tuple[dict[str, Any], ...]
    mode: str | None
    alpha: float | None
    concept: tuple[str, ...]
    columns: dict[str, Any]
    among: dict[str, Any]
    from_images: bool

    @property
    def words(self) -> str:
        """What is asked, in a line: the texts, the pictures' names, the expression."""
        if self.from_images:
            return f"each image's own phrases ({self.query_id.removeprefix(FROM)})"
        pictures = [f"[{support['url'].rpartition('/')[2]}]" for support in self.supports]
        expression = [self.among["expression"]] if "expression" in self.among else []
        return " | ".join([*self.texts, *pictures, *expression])


def described_queries(store: Store) -> list[DescribedQuery]:
    """Every query whose masks are written, in the order of their numbers."""
    found: list[DescribedQuery] = []
    number = 0
    for record in sets.read(store):
        path = layout.queries_file(record.name)
        with plain_errors(store.url):
            if not store.exists(path):
                continue  # claimed by a run that has not embedded it yet: there are no masks either
            table = parquet_table(store.get(path), store.url_of(path))
        phrases = {query_id for query_id, definition in record.definitions.items() if "from" in definition}
        written = [row for row in table.drop_columns(["conditional"]).to_pylist() if row.get("keep", True)]
        rows = {row["query_id"]: row for row in written}
        for row in (rows[query_id] for query_id in record.definitions if query_id in rows):
            from_images = row["query_id"] in phrases
            number += not from_images
            found.append(
                DescribedQuery(
                    number=0 if from_images else number,
                    query_id=row["query_id"],
                    prompt_set=record.name,
                    kind=row["kind"],
                    texts=tuple(row["texts"]),
                    templates=tuple(row["templates"]),
                    threshold=row["threshold"],
                    supports=tuple(row["supports"]),
                    mode=row["mode"],
                    alpha=row["alpha"],
                    concept=tuple(row["concept"]),
                    columns=json.loads(row["columns"]),
                    among=_among(row),
                    from_images=from_images,
                )
            )
    return found


def _among(row: dict[str, Any]) -> dict[str, Any]:
    """What of a row of the queries table says that it competes or combines with others."""
    values = {key: row.get(key) for key in ("suppress", "group", "expression")}
    if values["group"] is not None:
        values["weight"] = row["weight"]
    return {key: value for key, value in values.items() if value}


def chosen(asked: Sequence[DescribedQuery], where: str | None) -> list[DescribedQuery]:
    """Those for which a SQL condition over the query table's columns holds; all of them without one.

    Raises UserError for a condition that DuckDB refuses or that holds for none.
    """
    rows = tuple(
        {
            **query.columns,
            **query.among,
            "query_id": query.query_id,
            "kind": query.kind,
            "text": list(query.texts),
            "template": list(query.templates),
            "image": [support["url"] for support in query.supports],
            "mode": query.mode,
            "alpha": query.alpha,
            "threshold": query.threshold,
            "concept": list(query.concept),
        }
        for query in asked
    )
    columns = tuple(dict.fromkeys(column for row in rows for column in row))
    found = [asked[index] for index in select(TableRows("the dataset's queries", "", columns, rows), where)]
    if not found:
        raise UserError(f"--where {where}: holds for none of the dataset's {len(asked)} queries; loosen it")
    return found
