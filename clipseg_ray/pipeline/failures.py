"""Why chunks fail: causes that differ only in names and numbers are counted together, with a few examples of each."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

CAUSES = 50
"""Kinds of causes kept apart; what comes later is counted under one."""
EXAMPLES = 3
_REMEMBERED = 1000
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
_VARYING = re.compile(r"[/\d]")
_OTHER = "other causes"


@dataclass
class _Kind:
    cause: str
    chunks: int = 0
    examples: list[str] = field(default_factory=list)


class Failures:
    """Counts failures: ``count`` is all of them, also those of chunks that a later try finished.

    ``unclaimed`` is the last cause that named no chunk: a worker died, and Ray says of what but not over which.
    """

    def __init__(self) -> None:
        self.count = 0
        self.unclaimed: str | None = None
        self._kinds: dict[str, _Kind] = {}
        self._last: dict[tuple[str, int], str] = {}

    def add(self, cause: str, chunk: tuple[str, int] | None = None, where: str = "") -> None:
        """Count one. ``chunk``: (shard_id, chunk) where it is known whose; ``where`` names it for a person."""
        self.count += 1
        likeness = _likeness(cause)
        if likeness in self._kinds or len(self._kinds) < CAUSES:
            kind = self._kinds.setdefault(likeness, _Kind(cause))
        else:
            kind = self._kinds.setdefault(_OTHER, _Kind(_OTHER))
        kind.chunks += 1
        if where and where not in kind.examples and len(kind.examples) < EXAMPLES:
            kind.examples.append(where)
        if chunk is None:
            self.unclaimed = cause
        elif chunk in self._last or len(self._last) < _REMEMBERED:
            self._last[chunk] = cause

    def cause_of(self, chunk: tuple[str, int]) -> str | None:
        """Why this chunk failed last; None where nobody said."""
        return self._last.get(chunk)

    def as_json(self) -> list[dict[str, Any]]:
        """``cause``, ``chunks`` and ``examples`` of each kind, the most frequent first."""
        kinds = sorted(self._kinds.values(), key=lambda kind: -kind.chunks)
        return [{"cause": kind.cause, "chunks": kind.chunks, "examples": list(kind.examples)} for kind in kinds]


def _likeness(cause: str) -> str:
    """A cause without what differs between two chunks that fail alike: quoted names, paths, and words with digits."""
    words = _QUOTED.sub("…", cause).split()
    return " ".join("…" if _VARYING.search(word) else word for word in words)
