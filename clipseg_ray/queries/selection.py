"""``queries.where``: a SQL condition over a table's columns, evaluated by DuckDB."""

import json
import re
from typing import Any

import duckdb
import pyarrow as pa

from clipseg_ray.errors import UserError, nearest
from clipseg_ray.queries.columns import COLUMNS
from clipseg_ray.queries.table_file import TableRows
from clipseg_ray.written_numbers import is_number

_NO_STRINGS = ("alpha", "threshold", "weight", "keep")
_STRINGS = tuple(column for column in COLUMNS if column not in _NO_STRINGS)
_SANDBOX: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "python_enable_replacements": False,
}


def select(rows: TableRows, where: str | None) -> list[int]:
    """Indices of the rows for which the condition holds, in order; all of them without a condition.

    The condition sees one and the same table whatever the format: several values in a cell appear as one text with
    ``|`` between them, ``kind`` is there even where the table leaves it out ('phrase'). Raises UserError, with the
    columns and the nearest one, for a condition that DuckDB refuses.
    """
    if where is None:
        return list(range(len(rows.rows)))
    columns = list(dict.fromkeys((*rows.columns, "kind")))
    arrays = {column: _array(column, [row.get(column) for row in rows.rows]) for column in columns}
    table = pa.table(arrays | {"_row": pa.array(range(len(rows.rows)), pa.int64())})
    with duckdb.connect(config=_SANDBOX) as connection:
        connection.register("queries", table)
        try:
            found = connection.execute(f"SELECT _row FROM queries WHERE ({where}\n) ORDER BY _row").fetchall()
        except duckdb.Error as error:
            raise UserError(_refusal(where, columns, error)) from error
    return [index for (index,) in found]


def _array(column: str, values: list[Any]) -> pa.Array:
    if column == "kind":
        values = ["phrase" if value is None else value for value in values]
    if column == "threshold":
        return pa.array([value if is_number(value) else None for value in values], pa.float64())
    if column == "alpha" and all(value is None or is_number(value) for value in values):
        return pa.array(values, pa.float64())
    if column not in _STRINGS and column != "alpha" and any(value is not None for value in values):
        try:
            return pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            pass  # values of several types, or of more than 64 bits: as text
    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and not any(isinstance(item, list | dict) for item in value):
        return "|".join(str(item) for item in value)
    return json.dumps(value, default=str)


def _refusal(where: str, columns: list[str], error: duckdb.Error) -> str:
    unknown = re.search(r'Referenced column "([^"]+)" (?:was )?not found', str(error))
    if unknown is None:
        reason = str(error).splitlines()[0]
        return f"queries.where: {where}: {reason}; the columns are {', '.join(columns)}"
    near = nearest(unknown[1].lower(), columns)
    hint = f"did you mean {near[0]}? The" if near else "the"
    note = " (a text needs single quotes)" if not near else ""
    return f"queries.where: {where}: no column {unknown[1]!r}{note}; {hint} columns are {', '.join(columns)}"
