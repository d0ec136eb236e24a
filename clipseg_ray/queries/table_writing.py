"""Rows as a table file that is read as what they were: CSV, TSV, YAML, JSONL or Parquet, by its name's ending."""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import pyarrow as pa

from clipseg_ray import yaml_text
from clipseg_ray.addresses import absolute, is_whole, protocol_of, without_query
from clipseg_ray.errors import UserError, brief
from clipseg_ray.queries.columns import LISTED, NUMBERS
from clipseg_ray.queries.table_checks import Draft, check_row
from clipseg_ray.queries.table_file import TableRows, parsed_rows
from clipseg_ray.storage import Store, plain_errors
from clipseg_ray.tables import parquet_bytes
from clipseg_ray.written_numbers import WrittenFloat, WrittenInt, is_number

Row = dict[str, Any]


def write_table(rows: TableRows, url: str, *, replace: bool = False) -> str:
    """Put the rows at a path or URL, and return where they are; pictures and masks are named as from there.

    replace: whether a file that is there may go. Raises UserError for one that may not, for an ending that is none of
    a table's, and for a row that the format cannot hold.
    """
    url, extension = _named(url)
    moved = TableRows(rows.source, without_query(url).rpartition("/")[0], rows.columns, _moved(rows, url))
    data = _WRITERS[extension](moved.columns, moved.rows)
    _confirm(moved, extension, data, url)
    store = Store.of(url)
    with plain_errors(url):
        if replace:
            store.put("", data)
            return url
        try:
            store.create("", data)
        except FileExistsError as error:
            raise _there(url) from error
    return url


def refuse_existing(url: str) -> None:
    """Raise UserError where ``write_table`` would, for its name or for a file that is there, before anything is done
    for it."""
    url, _ = _named(url)
    with plain_errors(url):
        if Store.of(url).exists(""):
            raise _there(url)


def _named(url: str) -> tuple[str, str]:
    """The absolute path or URL, and its ending."""
    url = absolute(url)
    extension = posixpath.splitext(without_query(url))[1].lower()
    if extension not in _WRITERS:
        raise UserError(f"{url}: a query table is written as {', '.join(_WRITERS)}; give it one of these endings")
    return url, extension


def _there(url: str) -> UserError:
    return UserError(f"{url}: is there already; give another name, or say that it may be replaced")


def _moved(rows: TableRows, url: str) -> tuple[Row, ...]:
    """The rows as plain values, whose relative pictures and masks are the same files seen from the new table."""
    folder = without_query(url).rpartition("/")[0]
    found = []
    for row in rows.rows:
        plain = {column: _plain(value, column, column in rows.spelt) for column, value in row.items()}
        for column in ("image", "mask"):
            if column in plain and folder != rows.folder:
                plain[column] = _from(plain[column], rows.folder, folder)
        found.append(plain)
    return tuple(found)


def _plain(value: Any, column: str, spelt: bool) -> Any:
    """A value that every format can hold: of a number which is a name, or was written in a way of its own, the text."""
    if isinstance(value, list):
        return [_plain(each, column, spelt) for each in value]
    if isinstance(value, WrittenInt | WrittenFloat) and column in NUMBERS:
        return float(value)
    if isinstance(value, WrittenInt | WrittenFloat) or (spelt and is_number(value)):
        return str(value)
    return value


def _from(value: Any, old: str, new: str) -> Any:
    """A path in a table of the folder ``old``, for one in ``new``; masks that are no path are as they were."""
    if isinstance(value, list):
        return [_from(each, old, new) for each in value]
    if not isinstance(value, str) or value.lstrip().startswith(("{", "[")) or not old:
        return value
    if protocol_of(value) != "file" or is_whole(value) or value.startswith("~"):
        return value
    if protocol_of(old) == protocol_of(new) == "file":
        return posixpath.relpath(f"{old}/{value}", new)
    return f"{old}/{value}"


def _confirm(rows: TableRows, extension: str, data: bytes, url: str) -> None:
    """Raise UserError unless the file, read again, says the same of every query."""
    try:
        again = parsed_rows(url, extension, data)
    except UserError as error:
        raise UserError(f"{url}: the table cannot be written as {extension[1:]} ({error}); name it .jsonl") from error
    for number, row in enumerate(rows.rows, 1):
        meant = check_row(number, row, 0.5, rows.spelt)[0]
        found = check_row(number, again.rows[number - 1], 0.5, again.spelt)[0] if number <= len(again.rows) else None
        if (column := _other(meant, found)) is not None:
            raise UserError(
                f"{url}: {extension[1:]} cannot hold row {number}, {column}: it would be read as something else; "
                "name it .jsonl or .yaml"
            )


def _other(meant: Draft, found: Draft | None) -> str | None:
    """The first thing in which two rows differ."""
    if found is None:
        return "which is blank"
    for field in fields(Draft):
        if getattr(meant, field.name) != getattr(found, field.name):
            return {"texts": "text", "images": "image", "masks": "mask", "alphas": "alpha"}.get(field.name, field.name)
    return None


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and not all(is_number(each) for each in value):
        return "|".join(_cell(each) for each in value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return sink.getvalue().encode()


def _tsv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    lines = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines).encode()


def _yaml(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    return yaml_text.dump([dict(row) for row in rows]).encode()


def _jsonl(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _parquet(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    try:
        return parquet_bytes(
            pa.table({column: _arrow(column, [row.get(column) for row in rows]) for column in columns})
        )
    except (pa.ArrowException, OverflowError) as error:
        raise UserError(f"the table cannot be written as parquet ({brief(error, 200)}); name it .jsonl") from error


def _arrow(column: str, values: list[Any]) -> list[Any]:
    """Values of one type: where some are lists of texts, all are; masks that are no path are JSON."""
    if column == "mask":
        values = [
            json.dumps(each) if isinstance(each, dict | list) and not _is_texts(each) else each for each in values
        ]
    if column in LISTED and any(_is_texts(each) for each in values):
        return [[each] if isinstance(each, str) else each for each in values]
    return values


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


_WRITERS: dict[str, Callable[[Sequence[str], Sequence[Mapping[str, Any]]], bytes]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".parquet": _parquet,
}
