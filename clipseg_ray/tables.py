"""Parquet files as Arrow tables, and what others' cells mean; our large ones are written by `results.parts`.

Every page carries its checksum, and every reading of ours asks for it: a bit that storage or network turned is an
error, never another row.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clipseg_ray.errors import UserError, brief
from clipseg_ray.plain_text import Unread, text_of
from clipseg_ray.written_numbers import written

_EXACT = 2**53
"""Every whole number below it is a float too."""

UNREADABLE = (pa.ArrowException, OSError)
"""What Arrow raises for bytes that are no Parquet file."""


def parquet_bytes(table: pa.Table) -> bytes:
    """A whole Parquet file, compressed with zstd."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return bytes(sink.getvalue())


def opened(file: bytes | IO[bytes]) -> pq.ParquetFile:
    """A Parquet file to read from. Raises one of ``UNREADABLE`` for what is none; its ``read`` does for pages that were
    damaged."""
    source = pa.BufferReader(file) if isinstance(file, bytes) else file
    return pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True)


def read_parquet(file: bytes | IO[bytes], columns: Sequence[str] | None = None) -> pa.Table:
    """All rows, of the named columns in that order or of all.

    Raises one of ``UNREADABLE`` as ``opened``, KeyError for no column.
    """
    # On this thread alone: those of pyarrow.parquet.read_table now and then abort a process that is ending.
    table = opened(file).read(None if columns is None else list(columns), use_threads=False)
    return table if columns is None else table.select(list(columns))


def parquet_table(data: bytes, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The same of the file called ``name``. Raises UserError that names it."""
    try:
        return read_parquet(data, columns)
    except (*UNREADABLE, KeyError) as error:
        what = "is empty" if not data else f"cannot be read as Parquet ({brief(error, 200)})"
        raise UserError(f"{name}: {what}; put back the file it was") from error


def plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows as plain values, whatever wrote the table.

    Bytes are the text that they are, an Unread where they are none; a number of 32 bits is the shortest that is meant
    (0.4, not 0.4000000059604645), a decimal keeps its digits. Dictionaries are only an encoding.
    """
    meant = {field.name: found for field in table.schema if (found := meaning(field.type)) is not None}
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        for name, found in meant.items():
            if row[name] is not None:
                row[name] = found(row[name])
    return rows


def plain_id(value: Any) -> Any:
    """What a cell of ids means: 3 for the 3.0 as which whole numbers are kept where some are missing, None for NaN."""
    if type(value) is not float:
        return value
    return None if value != value else int(value) if value.is_integer() and abs(value) < _EXACT else value


def twice(names: Iterable[str]) -> str | None:
    """The first name that is there more than once."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def is_bytes(kind: pa.DataType) -> bool:
    """Whether values are bytes, however they are kept; text as well, where a writer did not say that it is."""
    kinds = pa.types
    if kinds.is_dictionary(kind):
        return is_bytes(kind.value_type)
    fixed, view = kinds.is_fixed_size_binary(kind) and not kinds.is_decimal(kind), kinds.is_binary_view(kind)
    return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind) or view or fixed)


def meaning(kind: pa.DataType) -> Callable[[Any], Any] | None:
    """How a value that is not None becomes what is meant; None where it is that already."""
    if pa.types.is_dictionary(kind):
        return meaning(kind.value_type)
    if is_bytes(kind):
        return _text
    if pa.types.is_float16(kind) or pa.types.is_float32(kind):
        return lambda value: float(str(np.dtype(kind.to_pandas_dtype()).type(value)))
    if pa.types.is_decimal(kind):
        return _decimal
    if isinstance(kind, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        inner = meaning(kind.value_type)
        return inner and (lambda values: [value if value is None else inner(value) for value in values])
    if pa.types.is_struct(kind):
        parts = {field.name: each for field in kind if (each := meaning(field.type)) is not None}
        return (lambda values: {**values, **_within(values, parts)}) if parts else None
    return None


def _within(values: dict[str, Any], parts: dict[str, Callable[[Any], Any]]) -> dict[str, Any]:
    return {name: found(values[name]) for name, found in parts.items() if values[name] is not None}


def _text(value: bytes) -> str | Unread:
    try:
        return text_of(value)
    except ValueError as error:
        return Unread(str(error))


def _decimal(value: Decimal) -> int | float:
    text = f"{value:f}"
    return written(float(text) if "." in text else int(text), text)
