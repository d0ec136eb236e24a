"""A SQL answer as rows for a person, or as CSV, JSON or Parquet for a program."""

from __future__ import annotations

import sys
from typing import Any

import duckdb

from clipseg_ray.errors import UserError
from clipseg_ray.results import reading

SHOWN_ROWS = 100
CELL_CHARACTERS = 60

_OPTIONS = {"csv": "FORMAT csv, HEADER", "json": "FORMAT json, ARRAY true", "parquet": "FORMAT parquet"}


def rows(connection: duckdb.DuckDBPyConnection, statement: str) -> tuple[list[str], list[tuple[str, ...]], bool]:
    """Column names, the first ``SHOWN_ROWS`` rows as text, and whether there are more. Raises UserError."""
    cursor = _run(connection, statement)
    found = cursor.fetchmany(SHOWN_ROWS + 1)
    columns = [column[0] for column in cursor.description or ()]
    return columns, [tuple(map(_cell, row)) for row in found[:SHOWN_ROWS]], len(found) > SHOWN_ROWS


def write(connection: duckdb.DuckDBPyConnection, statement: str, form: str, path: str | None) -> None:
    """Write the whole answer as csv, json or parquet to a local file, or to standard output. Raises UserError."""
    if path is None and form == "parquet" and sys.stdout.isatty():
        raise UserError("--format parquet is nothing to read on a terminal; add -o FILE")
    sys.stdout.flush()
    target = "/dev/stdout" if path is None else path
    _run(connection, f"COPY ({statement.strip().rstrip(';')}\n) TO {reading.literal(target)} ({_OPTIONS[form]})")


def _run(connection: duckdb.DuckDBPyConnection, statement: str) -> duckdb.DuckDBPyConnection:
    try:
        return connection.execute(statement)
    except duckdb.Error as error:
        raise reading.explain(error, connection) from error


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        value = ", ".join(f"{key} {_cell(inner)}" for key, inner in value.items())
    text = str(value)
    return text if len(text) <= CELL_CHARACTERS else text[: CELL_CHARACTERS - 1] + "…"
