"""Table files, CSV, TSV, Parquet, YAML, JSONL or a list of prompts at any URL or shipped, as rows of plain values."""

import json
import math
import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from clipseg_ray import json_text, yaml_text
from clipseg_ray.addresses import absolute, without_query
from clipseg_ray.errors import UserError, brief, meant
from clipseg_ray.plain_text import text_of
from clipseg_ray.queries.columns import ASKING, COLUMNS, MEANT
from clipseg_ray.queries.table_text import csv_rows, lines, prompt_rows, tsv_rows
from clipseg_ray.storage import Store, plain_errors
from clipseg_ray.tables import plain_id, plain_rows, read_parquet, twice
from clipseg_ray.written_numbers import WrittenFloat, WrittenInt

SHIPPED = Path(__file__).parent / "tables"
"""The folder of the tables that ``builtin:<name>`` names."""


@dataclass(frozen=True)
class TableRows:
    """A table as it was written: `source` names it, relative pictures lie under the URL `folder`.

    columns: names in order. rows: values by column, absent cells left out; row n of the file is rows[n - 1].
    """

    source: str
    folder: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]

    @cached_property
    def spelt(self) -> frozenset[str]:
        """Further columns with a number of which only its text says how it was written, 1.10, or that no JSON has."""
        further = {column for column in self.columns if column not in COLUMNS}
        return frozenset(
            column for row in self.rows for column, value in row.items() if column in further and _is_spelt(value)
        )


def read_rows(table: str) -> TableRows:
    """Read the table at a URL, a path, or ``builtin:<name>``. Raises UserError when it cannot be read as one."""
    source = table
    if table.startswith("builtin:"):
        table = str(_shipped(table.removeprefix("builtin:")))
    extension = posixpath.splitext(without_query(table))[1].lower()
    if extension not in _READERS and extension != _PARQUET:
        raise UserError(
            f"{source}: cannot infer the table's format from {extension or 'a name without extension'}; "
            f"name it {', '.join(sorted([*_READERS, _PARQUET]))}"
        )
    with plain_errors(source):
        data = Store.of(table).get("")
    return parsed_rows(source, extension, data, without_query(absolute(table)).rpartition("/")[0])


def parsed_rows(source: str, extension: str, data: bytes, folder: str = "") -> TableRows:
    """The rows in a table file's bytes; ``extension``: one of a table's, with its dot. Raises UserError as above."""
    try:
        rows = _parquet_rows(data) if extension == _PARQUET else _READERS[extension](text_of(data))
    except UserError:
        raise
    except Exception as error:  # each parser raises its own kinds
        raise UserError(f"{source}: cannot be read as {extension[1:]} ({brief(error, 200)})") from error
    if not rows:
        raise UserError(f"{source}: the table has no rows; give it at least one query")
    columns = tuple(dict.fromkeys(column for row in rows for column in row))
    if not set(ASKING) & set(columns):
        raise UserError(f"{source}: {_nothing_asked(columns)}")
    kept = tuple({column: value for column, value in row.items() if value is not None} for row in rows)
    return TableRows(source, folder, columns, kept)


def shipped_tables() -> list[str]:
    """The names of the tables that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.csv"))


def _nothing_asked(columns: Sequence[str]) -> str:
    """Which columns a table has where none of them asks anything, and which were meant."""
    plain = {column.strip().casefold(): column for column in columns}
    meant_as = {
        column: next((plain[name] for name in (column, *others) if name in plain), None)
        for column, others in MEANT.items()
    }
    shown = ", ".join(columns)[:200]
    has = f"none of its columns is {', '.join(ASKING[:-1])} or {ASKING[-1]}; they are, by its first line: {shown}"
    if meant_as["text"] is None and meant_as["image"] is None:
        return f"{has}. Name the columns there, e.g. query_id,text"
    changes = [f"{found} to {column}" for column, found in meant_as.items() if found is not None and found != column]
    return f"{has}. Rename {', '.join(changes)}"


def _is_spelt(value: Any) -> bool:
    return isinstance(value, WrittenInt | WrittenFloat) or (isinstance(value, float) and not math.isfinite(value))


def _shipped(name: str) -> Path:
    names = shipped_tables()
    if name in names:
        return SHIPPED / f"{name}.csv"
    raise UserError(f"builtin:{name}: no shipped query table of that name; {meant(name, names, 'builtin:{}')}")


def _parquet_rows(data: bytes) -> list[dict[str, Any]]:
    table = read_parquet(data)
    if (name := twice(table.column_names)) is not None:
        raise ValueError(f"two columns are named {name!r}")
    rows = plain_rows(table)
    for row in rows:
        row |= {column: plain_id(row[column]) for column in ("query_id", "group") if column in row}
    return rows


def _yaml_rows(text: str) -> list[dict[str, Any]]:
    return mappings(yaml_text.load(text, yaml_text.WrittenLoader) or [])


def _json_rows(text: str) -> list[dict[str, Any]]:
    return mappings([_json_row(number, line) for number, line in enumerate(lines(text), 1)])


def _json_row(number: int, line: str) -> Any:
    try:
        return json_text.load(line)
    except ValueError as error:
        raise ValueError(f"row {number}: {error}") from error


def mappings(content: Any) -> list[dict[str, Any]]:
    """A list of rows as YAML, JSON lines or a program give it. Raises ValueError, worded for a person, for others."""
    if not isinstance(content, list):
        raise ValueError("the table is a list of queries, e.g. '- text: something to sit on'")
    for number, row in enumerate(content, 1):
        if not isinstance(row, dict) or not all(isinstance(column, str) for column in row):
            raise ValueError(f"row {number} is no mapping from column names to values, e.g. text: dog")
        if half := re.search("[\ud800-\udfff]", json.dumps(row, ensure_ascii=False, default=str)):
            raise ValueError(f"row {number} has {half[0]!a}, half a character; write the whole one")
    return content


_READERS: dict[str, Callable[[str], list[dict[str, Any]]]] = {
    ".csv": csv_rows,
    ".tsv": tsv_rows,
    ".txt": prompt_rows,
    ".yaml": _yaml_rows,
    ".yml": _yaml_rows,
    ".jsonl": _json_rows,
    ".ndjson": _json_rows,
}
"""Of tables that are text, by their endings."""

_PARQUET = ".parquet"
