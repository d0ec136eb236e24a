"""Table files: CSV, Parquet, YAML or JSONL at any URL, or a shipped one, as rows of plain values."""

import csv
import io
import json
import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipseg_ray import yaml_text
from clipseg_ray.addresses import absolute, without_query
from clipseg_ray.errors import UserError, brief, meant
from clipseg_ray.storage import Store, plain_errors
from clipseg_ray.tables import read_parquet

SHIPPED = Path(__file__).parent / "tables"
"""The folder of the tables that ``builtin:<name>`` names."""

LISTED = ("text", "template", "templates", "image", "mask", "concept", "alpha", "suppress")
"""Columns that may hold several values; in CSV those are separated by ``|``."""

_NUMBERS = ("alpha", "threshold", "weight")
_TEXTS = ("query_id", "kind", "mode", "group", "expression")
_TRUTHS: dict[str, bool] = {"true": True, "false": False}


@dataclass(frozen=True)
class TableRows:
    """A table as it was written: `source` names it, relative pictures lie under the URL `folder`.

    columns: names in order. rows: values by column, absent cells left out; row n of the file is rows[n - 1].
    """

    source: str
    folder: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]


def read_rows(table: str) -> TableRows:
    """Read the table at a URL, a path, or ``builtin:<name>``. Raises UserError when it cannot be read as one."""
    source = table
    if table.startswith("builtin:"):
        table = str(_shipped(table.removeprefix("builtin:")))
    extension = posixpath.splitext(without_query(table))[1].lower()
    read = _READERS.get(extension)
    if read is None:
        raise UserError(
            f"{source}: cannot infer the table's format from {extension or 'a name without extension'}; "
            f"name it {', '.join(sorted(_READERS))}"
        )
    with plain_errors(source):
        data = Store.of(table).get("")
    try:
        rows = read(data)
    except UserError:
        raise
    except Exception as error:  # each parser raises its own kinds
        raise UserError(f"{source}: cannot be read as {extension[1:]} ({brief(error, 200)})") from error
    if not rows:
        raise UserError(f"{source}: the table has no rows; give it at least one query")
    columns = tuple(dict.fromkeys(column for row in rows for column in row))
    kept = tuple({column: value for column, value in row.items() if value is not None} for row in rows)
    return TableRows(source, without_query(absolute(table)).rpartition("/")[0], columns, kept)


def shipped_tables() -> list[str]:
    """The names of the tables that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.csv"))


def _shipped(name: str) -> Path:
    names = shipped_tables()
    if name in names:
        return SHIPPED / f"{name}.csv"
    raise UserError(f"builtin:{name}: no shipped query table of that name; {meant(name, names, 'builtin:{}')}")


def _read_csv(data: bytes) -> list[dict[str, Any]]:
    lines = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    lines = [line for line in lines if line]
    if not lines:
        return []
    header = [name.strip() for name in lines[0]]
    if duplicate := next((name for name in header if header.count(name) > 1), None):
        raise ValueError(f"two columns are named {duplicate!r}")
    if "" in header:
        raise ValueError(f"column {header.index('') + 1} has no name")
    for number, line in enumerate(lines[1:], 1):
        if len(line) > len(header):
            raise ValueError(
                f"row {number} has {len(line)} cells, the header {len(header)}; put cells with commas in quotes"
            )
    rows: list[dict[str, Any]] = [{} for _ in lines[1:]]
    for position, column in enumerate(header):
        cells = [line[position] if position < len(line) else "" for line in lines[1:]]
        for row, value in zip(rows, _csv_values(column, cells), strict=True):
            row[column] = value
    return rows


def _csv_values(column: str, cells: list[str]) -> list[Any]:
    """Cells of one CSV column: empty ones absent, ``|`` between several values, numbers where they are meant."""
    if column in LISTED:
        return [
            [_number(part) if column in _NUMBERS else part for part in cell.split("|")]
            if "|" in cell
            else (_number(cell) if column in _NUMBERS else cell)
            if cell
            else None
            for cell in cells
        ]
    if column in _NUMBERS:
        return [_number(cell) if cell else None for cell in cells]
    if column in _TEXTS:
        return [cell or None for cell in cells]
    if column == "keep":
        return [_TRUTHS.get(cell.strip().casefold(), cell) if cell else None for cell in cells]
    for kind in (int, float):  # further columns are numbers if every cell is one and none loses digits
        try:
            numbers = [kind(cell) if cell else None for cell in cells]
        except ValueError:
            continue
        if kind is float or all(str(number) == cell for number, cell in zip(numbers, cells, strict=True) if cell):
            return numbers
        break
    return [cell or None for cell in cells]


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def _read_parquet(data: bytes) -> list[dict[str, Any]]:
    return read_parquet(data).to_pylist()


def _read_yaml(data: bytes) -> list[dict[str, Any]]:
    return _mappings(yaml_text.load(data.decode("utf-8-sig")) or [])


def _read_jsonl(data: bytes) -> list[dict[str, Any]]:
    return _mappings([json.loads(line) for line in data.decode("utf-8-sig").split("\n") if line.strip()])


def _mappings(content: Any) -> list[dict[str, Any]]:
    if not isinstance(content, list):
        raise ValueError("the table is a list of queries, e.g. '- text: something to sit on'")
    for number, row in enumerate(content, 1):
        if not isinstance(row, dict) or not all(isinstance(column, str) for column in row):
            raise ValueError(f"row {number} is no mapping from column names to values, e.g. text: dog")
    return content


_READERS: dict[str, Callable[[bytes], list[dict[str, Any]]]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
}
