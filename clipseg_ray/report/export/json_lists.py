"""A JSON file with a long list in it, written value by value."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import IO, Any


def compact(value: Any) -> str:
    """A value as JSON without a space."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class JsonList:
    """A list that grows in a file which others write around it."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.count = 0

    def add(self, values: Iterable[Any]) -> None:
        """Append these, each on a line of its own."""
        for value in values:
            self._file.write(("" if self.count == 0 else ",\n") + compact(value))
            self.count += 1
