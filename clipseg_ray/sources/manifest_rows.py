"""The rows of a manifest, a table in CSV, TSV, JSON lines or Parquet, as they are written."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from typing import Any

import pyarrow as pa

from clipseg_ray import json_text
from clipseg_ray.delimited_text import csv_lines, tsv_lines, wrong_separator
from clipseg_ray.errors import UserError, brief
from clipseg_ray.pixels import kinds
from clipseg_ray.plain_text import Unread, text_of
from clipseg_ray.sources.cells import plain_records
from clipseg_ray.tables import UNREADABLE, is_bytes, plain_id, read_parquet, twice
from clipseg_ray.written_numbers import WrittenFloat, WrittenInt

JSON_LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")
_AT_ONCE = 4096


def rows(
    data: bytes, shown: str, name: str, *, id_field: str | None = None, asked: Collection[str | None] = ()
) -> Iterator[dict[str, Any]]:
    """Every row in order, by column; the format is known by the ending of ``name``.

    Cells of CSV and TSV are text; TSV has no quotes, so each of its lines is a row. Numbers in the column ``id_field``
    are what was written. Columns of bytes are left out, unless all they hold is text or they are in ``asked``.
    Raises UserError that names the file, as ``shown``.
    """
    name = name.lower()
    if name.endswith(JSON_LINES):
        found = _json_lines(data, shown)
    elif name.endswith(PARQUET):
        found = _parquet(data, shown, asked, id_field)
    else:
        found = _lines(data, shown, tabs=name.endswith(".tsv"))
    for number, row in enumerate(found, 1):
        for column in (each for each in asked if isinstance(row.get(str(each)), Unread)):
            raise UserError(f"{shown}: row {number}, {column}: {row[str(column)]}")
        if isinstance(row.get(str(id_field)), WrittenInt | WrittenFloat):
            row[str(id_field)] = str(row[str(id_field)])
        yield row


def _lines(data: bytes, shown: str, tabs: bool) -> Iterator[dict[str, Any]]:
    """Cells as text: inference would make 7 of the id 007, and of a column what its other rows happen to be."""
    text = _text(data, shown)
    if text.lstrip().startswith("<"):
        raise UserError(f"{shown}: cannot be read as a table (it is HTML or XML); check what the URL gives")
    if (said := wrong_separator(text, "\t" if tabs else ",")) is not None:
        raise UserError(f"{shown}: {said}")
    found = tsv_lines(text) if tabs else csv_lines(text)
    try:
        _, header = next(found, (0, []))
        _refuse_twice(header, shown)
        for number, cells in found:
            if len(cells) != len(header):
                has = f"line {number} has {len(cells)} cells, the header {len(header)} ({', '.join(header)[:80]})"
                raise UserError(
                    f"{shown}: {has}; {'give each row as many' if tabs else 'put cells with commas in quotes'}"
                )
            yield dict(zip(header, cells, strict=True))
    except ValueError as error:
        raise UserError(f"{shown}: cannot be read as a table ({error})") from error


def _parquet(data: bytes, shown: str, asked: Collection[str | None], id_field: str | None) -> Iterator[dict[str, Any]]:
    try:
        table = read_parquet(data)
    except (*UNREADABLE, ValueError) as error:
        raise UserError(f"{shown}: cannot be read as a table ({_kind(data) or brief(error)})") from error
    names = table.column_names
    _refuse_twice(names, shown)
    kept = [each for each in names if each in asked or not is_bytes(table[each].type) or _is_text(table[each])]
    for batch in table.select(kept).to_batches(max_chunksize=_AT_ONCE):
        for row in plain_records(pa.Table.from_batches([batch])):
            yield {**row, id_field: plain_id(row[id_field])} if id_field in row else row


def _refuse_twice(names: Collection[str], shown: str) -> None:
    if not names:
        raise UserError(f"{shown}: it is empty; its first line names the columns, e.g. image,caption")
    if (column := twice(names)) is not None:
        raise UserError(f"{shown}: two columns are named {column!r}; give each its own name")


def _text(data: bytes, shown: str) -> str:
    try:
        return text_of(data)
    except ValueError as error:
        raise UserError(f"{shown}: cannot be read as a table ({_kind(data) or error})") from error


def _kind(data: bytes) -> str:
    """What a file holds that is no table, where that can be told; empty where not."""
    kind = kinds.detected(data) if data else "empty"
    return "" if kind in kinds.UNTOLD else f"it is {kind}"


def _is_text(column: pa.ChunkedArray) -> bool:
    try:
        column.cast(pa.binary()).cast(pa.string())
    except pa.ArrowException:
        return False
    return True


def _json_lines(data: bytes, shown: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(io.StringIO(_text(data, shown), newline=None), 1):
        if not line.strip():
            continue
        try:
            row = json_text.load(line.rstrip())
        except ValueError as error:
            raise UserError(f"{shown}: line {number} is no JSON ({error}); each line is one object") from error
        if not isinstance(row, dict):
            raise UserError(
                f"{shown}: line {number} is no JSON object; each line is one, with the column names as keys"
            )
        yield row
