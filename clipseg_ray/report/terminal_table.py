"""Rows for a person at a terminal: a table where its columns fit, else one record a block."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.table import Column, Table

from clipseg_ray.printable import printable

CELL_CHARACTERS = 60
COUNTS_CHARACTERS = 24
_FOLDED = 24
"""Text is folded to columns as narrow as this; numbers and names of columns never are."""
_FIGURES = 4


def shown(columns: Sequence[str], rows: Sequence[Sequence[Any]], width: int, title: str | None = None) -> Table | str:
    """Rows of plain values to be printed in ``width`` characters: a table, or text of one block a record.

    Floats have four figures, and no digit before the point is lost; ``heat`` is its size (``⟨88×88⟩``), other bytes
    their number; ``counts`` comes last, of 24 characters; any other text is cut at 60. Nothing steers the terminal.
    """
    order = sorted(range(len(columns)), key=lambda place: columns[place] == "counts")
    names = [printable(columns[place]) for place in order]
    cells = [[_cell(columns[place], row[place]) for place in order] for row in rows]
    are_numbers = [_are_numbers([row[place] for row in rows]) for place in order]
    if _least_width(names, cells, are_numbers) <= width:
        return _table(names, cells, are_numbers, title)
    return _blocks(names, cells, width, title)


def _table(names: list[str], cells: list[list[str]], are_numbers: list[bool], title: str | None) -> Table:
    found = Table(
        *(
            Column(name, overflow="fold", no_wrap=is_number, justify="right" if is_number else "left")
            for name, is_number in zip(names, are_numbers, strict=True)
        ),
        title=title,
        title_justify="left",
        box=box.HEAVY_HEAD,
    )
    for row in cells:
        found.add_row(*row)
    return found


def _least_width(names: list[str], cells: list[list[str]], are_numbers: list[bool]) -> int:
    """Characters that the table needs at least, with lines and spaces between its columns."""
    least = 1
    for place, (name, is_number) in enumerate(zip(names, are_numbers, strict=True)):
        longest = max((cell_len(line) for row in cells for line in row[place].split("\n")), default=0)
        least += max(cell_len(name), longest if is_number else min(longest, _FOLDED)) + 3
    return least


def _blocks(names: list[str], cells: list[list[str]], width: int, title: str | None) -> str:
    margin = max(map(cell_len, names)) + 2
    lines = [title] if title else []
    for number, row in enumerate(cells, 1):
        head = f"─ {number} "
        lines.append(head + "─" * (min(width, margin + CELL_CHARACTERS) - len(head)))
        for name, cell in zip(names, row, strict=True):
            first, *rest = cell.split("\n")
            lines.append(f"{name}{' ' * (margin - cell_len(name))}{first}".rstrip())
            lines += [" " * margin + line for line in rest]
    return "\n".join(lines)


def _are_numbers(values: list[Any]) -> bool:
    some = [value for value in values if value is not None]
    return bool(some) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in some)


def _cell(name: str, value: Any) -> str:
    if name == "heat" and isinstance(value, bytes) and math.isqrt(len(value)) ** 2 == len(value):
        side = math.isqrt(len(value))
        return f"⟨{side}×{side}⟩"
    text = printable(_text(value))
    most = COUNTS_CHARACTERS if name == "counts" else CELL_CHARACTERS
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return rounded(value)
    if isinstance(value, bytes):
        return f"⟨{len(value):,} bytes⟩"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return str(value)


def rounded(value: float) -> str:
    """A number of four figures: ``0.7163``, ``12346.0`` is ``12346``, what is below 0.0001 as ``3.1e-06``."""
    if not math.isfinite(value) or value == 0:
        return str(value)
    if abs(value) < 1e-4:
        return f"{value:.1e}"
    before = math.floor(math.log10(abs(value))) + 1
    text = f"{value:.{max(0, _FIGURES - before)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
