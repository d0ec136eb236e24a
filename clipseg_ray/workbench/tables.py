"""The list as a query table: opened from one, and saved as one with the pictures that were dropped beside it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

from clipseg_ray.addresses import absolute, joined, protocol_of
from clipseg_ray.errors import UserError
from clipseg_ray.queries.table import numbered_queries
from clipseg_ray.queries.table_file import TableRows, read_rows
from clipseg_ray.queries.table_writing import write_table
from clipseg_ray.storage import Store, plain_errors
from clipseg_ray.workbench.pictures import PREFIX, Pictures
from clipseg_ray.workbench.rows import Row
from clipseg_ray.written_numbers import is_number

ENDINGS = (".yaml", ".yml", ".csv")
_NAME = re.compile(r"\w[\w .+-]{0,120}")


def opened(table: str, threshold: float) -> list[Row]:
    """The rows of a table, one for each query and with its ``query_id``, their pictures by whole addresses.

    Raises UserError as ``load_queries`` does.
    """
    rows = read_rows(table)
    found = []
    for number, query in numbered_queries(rows, None, threshold):
        share = {} if query.alpha is None else {"alpha": query.alpha}
        found.append({"query_id": query.query_id, **_plain_row(rows, number), **share})
    return found


def _plain_row(rows: TableRows, number: int) -> Row:
    row = rows.rows[number - 1]
    return {column: _plain(column, value, rows) for column, value in row.items() if column not in ("query_id", "alpha")}


def _plain(column: str, value: Any, rows: TableRows) -> Any:
    """A cell that means the same anywhere: its paths whole, its numbers without a memory of how they were written."""
    if column in ("image", "mask") and isinstance(value, str):
        return _whole(value, rows.folder)
    if isinstance(value, list):
        return [_plain(column, each, rows) for each in value]
    if not is_number(value):
        return value
    if column in ("group", "suppress") or column in rows.spelt:
        return str(value)
    return int(value) if isinstance(value, int) else float(value)


def _whole(cell: str, folder: str) -> str:
    """A path, which is relative to the table's folder, as it is from anywhere."""
    if cell.lstrip().startswith(("{", "[")) or protocol_of(cell) != "file":
        return cell
    return absolute(cell) if cell.startswith(("/", "~")) or not folder else joined(folder, cell)


def checked_name(name: Any) -> str:
    """A file name that may be saved under. Raises UserError for a path, and for what is no name of a table."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None or not name.lower().endswith(ENDINGS):
        raise UserError(f"{name}: give a plain file name that ends in .yaml or .csv, without a folder")
    return name


def save(rows: Sequence[Row], place: str, pictures: Pictures, *, over: bool) -> None:
    """Write rows into the file at ``place``; pictures that were dropped go into the folder ``<name>-pictures`` there.

    over: whether a file that is there may be written over. Raises UserError, having changed no file that was there.
    """
    if not rows:
        raise UserError("the list is empty; add a query to it first")
    folder, _, name = place.rpartition("/")
    beside = f"{posixpath.splitext(name)[0]}-pictures"
    store = Store.of(folder or "/")
    with plain_errors(place):
        if not over and store.exists(name):
            raise UserError(f"{place}: is there already, and is left as it is; give another name")
        files: dict[str, str] = {}
        for cell in dict.fromkeys(cell for row in rows for cell in _cells(row) if cell.startswith(PREFIX)):
            kept = pictures.of(cell.removeprefix(PREFIX))
            files[cell] = f"{beside}/{kept.id[:16]}.{kept.ending}"
            store.put(files[cell], pictures.data(kept.id))
    placed = tuple(_placed(row, files) for row in rows)
    columns = tuple(dict.fromkeys(column for row in placed for column in row))
    write_table(TableRows(place, store.url, columns, placed), place, replace=over)


def _cells(row: Row) -> list[str]:
    images = row.get("image", [])
    return images if isinstance(images, list) else [images]


def _placed(row: Row, files: Mapping[str, str]) -> Row:
    if "image" not in row:
        return row
    cells = [files.get(cell, cell) for cell in _cells(row)]
    return {**row, "image": cells if isinstance(row["image"], list) else cells[0]}
