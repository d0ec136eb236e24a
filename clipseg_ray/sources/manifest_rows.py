"""The rows of a manifest, a table in CSV, TSV, JSON lines or Parquet, as they are written."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.csv

from clipseg_ray import json_text
from clipseg_ray.errors import UserError, brief
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
    found = _json_lines(data, shown) if name.endswith(JSON_LINES) else _table(data, shown, name, asked)
    for number, row in enumerate(found, 1):
        for column in (each for each in asked if isinstance(row.get(str(each)), Unread)):
            raise UserError(f"{shown}: row {number}, {column}: {row[str(column)]}")
        if id_field in row:
            row[id_field] = _id(row[id_field])
        yield row


def _id(value: Any) -> Any:
    value = plain_id(value)
    return str(value) if isinstance(value, WrittenInt | WrittenFloat) else value


def _table(data: bytes, shown: str, name: str, asked: Collection[str | None]) -> Iterator[dict[str, Any]]:
    try:
        table = read_parquet(data) if name.endswith(PARQUET) else _csv(data, tabs=name.endswith(".tsv"))
    except (*UNREADABLE, ValueError) as error:
        raise UserError(f"{shown}: cannot be read as a table ({brief(error)})") from error
    names = table.column_names
    if (column := twice(names)) is not None:
        raise UserError(f"{shown}: two columns are named {column!r}; give each its own name")
    if len(names) == 1 and (separator := next((each for each in ";\t" if each in names[0]), None)):
        has, instead = {";": ("';'", "commas"), "\t": ("tabs", "commas, or name it .tsv")}[separator]
        raise UserError(f"{shown}: its one column is {names[0]!r}, cells separated by {has}; save it with {instead}")
    kept = [each for each in names if each in asked or not is_bytes(table[each].type) or _is_text(table[each])]
    for batch in table.select(kept).to_batches(max_chunksize=_AT_ONCE):
        yield from plain_records(pa.Table.from_batches([batch]))


def _is_text(column: pa.ChunkedArray) -> bool:
    try:
        column.cast(pa.binary()).cast(pa.string())
    except pa.ArrowException:
        return False
    return True


def _csv(data: bytes, tabs: bool) -> pa.Table:
    parsing = pyarrow.csv.ParseOptions(
        delimiter="\t" if tabs else ",", quote_char=not tabs and '"', newlines_in_values=not tabs
    )
    if b"\0" in data[:4] or not data[:1].isascii():
        data = text_of(data).encode()  # UTF-16, by its mark or its zeros
    try:
        names = pyarrow.csv.open_csv(pa.BufferReader(data), parse_options=parsing).schema.names
        # As text: inference would make 7 of the id 007, and of a column what its other rows happen to be.
        convert = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
        # On this thread alone: see tables.read_parquet.
        reading = pyarrow.csv.ReadOptions(use_threads=False)
        return pyarrow.csv.read_csv(
            pa.BufferReader(data), read_options=reading, parse_options=parsing, convert_options=convert
        )
    except UNREADABLE:
        text_of(data)  # which says it better where the bytes are no UTF-8
        raise


def _json_lines(data: bytes, shown: str) -> Iterator[dict[str, Any]]:
    try:
        text = text_of(data)
    except ValueError as error:
        raise UserError(f"{shown}: {error}") from error
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        if not line.strip():
            continue
        try:
            row = json_text.load(line)
        except ValueError as error:
            raise UserError(f"{shown}: line {number} is no JSON ({error})") from error
        if not isinstance(row, dict):
            raise UserError(f"{shown}: line {number} is no JSON object")
        yield row
