"""What a part of the GPU check is given, what it finds, and how it ended."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


@dataclass(frozen=True)
class Part:
    """A part by name. ``entry`` is ``module:function``, imported where it runs: an import that fails fails that part.

    ``share_s``: the seconds it may take. ``needs_gpu``: there is nothing to learn from it on a CPU. ``spoils``: the
    process it ran in is no place for further parts.
    """

    name: str
    entry: str
    share_s: float
    needs_gpu: bool = False
    spoils: bool = False


@dataclass(frozen=True)
class Setting:
    """What parts are given.

    ``small``: a tiny model and short rounds. ``folder``: scratch, shared by the parts of one check. ``found``: the
    values that earlier parts found, by name; a part that failed is not among them.
    """

    device: str
    small: bool
    folder: str
    found: dict[str, dict[str, Any]] = field(default_factory=dict)

    def value(self, part: str, key: str) -> float:
        """A number that an earlier part found; NaN where it did not."""
        return float(self.found.get(part, {}).get(key, math.nan))


@dataclass(frozen=True)
class Finding:
    """What a part found: a line for a person, JSON values for programs, and whether what must agree does."""

    summary: str
    values: dict[str, Any]
    agrees: bool = True


class Status(StrEnum):
    """How a part ended."""

    passed = "passed"
    disagrees = "disagrees"
    failed = "failed"
    skipped = "skipped"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A part's end. ``lost``: its process cannot be used again."""

    name: str
    status: Status
    seconds: float
    summary: str
    values: dict[str, Any]
    lost: bool = False

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "name": self.name,
            "status": self.status.value,
            "seconds": self.seconds,
            "summary": self.summary,
            "values": self.values,
        }
