"""Tables that are lines of cells, CSV and TSV, and plain lists of prompts: text → rows of plain values."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from clipseg_ray.delimited_text import csv_lines, wrong_separator
from clipseg_ray.queries.columns import LISTED, NUMBERS, TEXTS
from clipseg_ray.tables import twice
from clipseg_ray.written_numbers import written

_TRUTHS: dict[str, bool] = {"true": True, "false": False}
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,99})(?:\.[0-9]{1,99})?(?:[eE][-+]?[0-9]{1,3})?")


def csv_rows(text: str) -> list[dict[str, Any]]:
    """Rows of CSV (RFC 4180). Raises ValueError, worded for a person."""
    if (said := wrong_separator(text, ",")) is not None:
        raise ValueError(said)
    return _rows([cells for _, cells in csv_lines(text)])


def tsv_rows(text: str) -> list[dict[str, Any]]:
    """Rows of TSV, which has no quotes: every line is a row. Raises ValueError, worded for a person."""
    if (said := wrong_separator(text, "\t")) is not None:
        raise ValueError(said)
    return _rows([line.split("\t") for line in lines(text)])


def prompt_rows(text: str) -> list[dict[str, Any]]:
    """A row for each line that is not blank, which is its text."""
    return [{"text": line.strip()} for line in lines(text)]


def lines(text: str) -> list[str]:
    """The lines that are not blank; nothing but line feeds and carriage returns ends one."""
    return [line.removesuffix("\n") for line in io.StringIO(text, newline=None) if line.strip()]


def _rows(lines: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    if not lines:
        return []
    header = [name.strip() for name in lines[0]]
    if (name := twice(header)) is not None and name:
        raise ValueError(f"two columns are named {name!r}")
    if "" in header:
        raise ValueError(f"column {header.index('') + 1} has no name")
    for number, line in enumerate(lines[1:], 1):
        if len(line) > len(header):
            raise ValueError(
                f"row {number} has {len(line)} cells, the header {len(header)} ({', '.join(header)[:80]}); "
                "put cells with commas in quotes"
            )
    rows: list[dict[str, Any]] = [{} for _ in lines[1:]]
    for position, column in enumerate(header):
        cells = [line[position] if position < len(line) else "" for line in lines[1:]]
        for row, value in zip(rows, _values(column, cells), strict=True):
            row[column] = value
    return rows


def _values(column: str, cells: list[str]) -> list[Any]:
    """Cells of one column: empty ones absent, ``|`` between several values, numbers where they are meant."""
    if column in LISTED:
        return [
            [_number(part) if column in NUMBERS else part for part in cell.split("|")]
            if "|" in cell
            else (_number(cell) if column in NUMBERS else cell)
            if cell
            else None
            for cell in cells
        ]
    if column in NUMBERS:
        return [_number(cell) if cell else None for cell in cells]
    if column == "keep":
        return [_TRUTHS.get(cell.strip().casefold(), cell) if cell else None for cell in cells]
    # Further columns are numbers if every cell is one and none is less than what is written.
    if column not in TEXTS and all(_is_exact(cell) for cell in cells if cell):
        return [_as_written(cell) if cell else None for cell in cells]
    return [cell or None for cell in cells]


def _is_exact(cell: str) -> bool:
    if not _NUMBER.fullmatch(cell):
        return False
    return cell.lstrip("-").isdecimal() or Decimal(repr(float(cell))) == Decimal(cell)


def _as_written(cell: str) -> int | float:
    return written(int(cell) if cell.lstrip("-").isdecimal() else float(cell), cell)


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell
