"""Numbers that were written otherwise than Python writes them, ``1.10`` or ``1e3``: an id is what was written."""

from __future__ import annotations

from typing import Any


class WrittenInt(int):
    """An int whose ``str`` is how it was written."""

    written: str

    def __str__(self) -> str:
        return self.written


class WrittenFloat(float):
    """A float whose ``str`` is how it was written."""

    written: str

    def __str__(self) -> str:
        return self.written


def written(number: float, text: str) -> int | float:
    """The number, with how it was written where ``str`` would not say so."""
    if str(number) == text:
        return number
    found: WrittenInt | WrittenFloat = WrittenInt(number) if isinstance(number, int) else WrittenFloat(number)
    found.written = text
    return found


def is_number(value: Any) -> bool:
    """Whether it is one: true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
