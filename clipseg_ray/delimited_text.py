"""CSV and TSV as lines of cells: a quote that is never closed is a fault, never a row that swallows the next ones."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

CELL_CHARACTERS = 2**24
"""A longer cell is no cell; Python's own limit is 2**17."""

_ENDINGS = {"\t": ".tsv", ",": ".csv"}
_NEVER_CLOSED = "unexpected end of data"


def csv_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Rows of CSV (RFC 4180) that are not blank: the number of the line on which each begins, from 1, and its cells.

    Raises ValueError, worded for a person, where quotes do not pair up.
    """
    csv.field_size_limit(max(csv.field_size_limit(), CELL_CHARACTERS))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    begins = 1
    try:
        for cells in reader:
            if cells:
                yield begins, cells
            begins = reader.line_num + 1
    except csv.Error as error:
        if _NEVER_CLOSED in str(error):
            raise ValueError(f"line {begins}: a quote that opens there is never closed") from error
        if "expected after" in str(error):
            ends = f", in line {reader.line_num}," if reader.line_num > begins else ""
            raise ValueError(
                f"line {begins}: a cell in quotes goes on{ends} after its closing quote; write each quote within a "
                'cell twice ("")'
            ) from error
        raise ValueError(f"line {begins}: {error}") from error


def tsv_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """The same of TSV, which has no quotes: every line is a row."""
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        if line := line.removesuffix("\n"):
            yield number, line.split("\t")


def wrong_separator(text: str, separator: str) -> str | None:
    """What its first line shows that cells are separated by, and what to do, where it is not ``separator``."""
    first = next((line for line in io.StringIO(text, newline=None) if line.strip()), "").rstrip("\n")
    said = f"its first line is {first[:80]!r}"
    excel = re.fullmatch(r"\s*sep=(.)\s*", first)
    if excel is not None and excel[1] == separator:
        return f"{said}, which only Excel reads; remove it"
    found = excel[1] if excel is not None else next((each for each in ";\t|," if each in first), None)
    if found is None or (separator in first and excel is None):
        return None
    renamed = f", or name it {_ENDINGS[found]}" if found in _ENDINGS else ""
    return f"{said}, cells separated by {_named(found)}; save it with {_named(separator)} between them{renamed}"


def _named(separator: str) -> str:
    return {"\t": "tabs", ",": "commas"}.get(separator, repr(separator))
