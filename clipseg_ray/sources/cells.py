"""The cells of an Arrow table as values, whatever bytes a file has in them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from clipseg_ray.outside_text import entered_value
from clipseg_ray.tables import meaning


def records(table: pa.Table) -> list[dict[str, Any]]:
    """``plain_records`` with text as ``outside_text.entered`` has it."""
    return [entered_value(row) for row in plain_records(table)]


def plain_records(table: pa.Table) -> list[dict[str, Any]]:
    """A dictionary per row, by column name, of what is meant (see ``tables.meaning``).

    A cell that Python cannot hold (a date of the year 20000) is the text that Arrow writes for it; bytes in text that
    are no UTF-8 are as Python reads them in names.
    """
    columns = [_cells(column) for column in table.columns]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def _cells(column: pa.ChunkedArray) -> list[Any]:
    try:
        values = column.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException):  # somewhere in it; a UnicodeDecodeError is a ValueError
        values = [_value(scalar) for scalar in column]
    meant = meaning(column.type)
    return values if meant is None else [None if value is None else meant(value) for value in values]


def _value(scalar: Any) -> Any:
    """A scalar's value; of text the bytes that are no UTF-8 as Python reads them in names."""
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return _undecoded(scalar)
    except (ValueError, OverflowError, pa.ArrowException):
        return str(scalar.cast(pa.string()))


def _undecoded(scalar: Any) -> Any:
    if isinstance(scalar, pa.DictionaryScalar):
        return _value(scalar.value)
    if isinstance(scalar, pa.StructScalar):
        return {name: _value(each) for name, each in scalar.items()}
    if isinstance(scalar, pa.ListScalar):
        return [_value(each) for each in scalar]
    return scalar.as_buffer().to_pybytes().decode("utf-8", "surrogateescape")
