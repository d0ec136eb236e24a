"""The prompt set that stands for every phrase that comes with an image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from clipseg_ray.queries.naming import set_name
from clipseg_ray.queries.query import definition_digest


@dataclass(frozen=True)
class PhraseSet:
    """Phrases under one sample field, how they become prompts, and the threshold for all of them.

    It is claimed in a dataset as if it were one query, ``from:<field>``: asking for the same field with other
    templates or another threshold is a changed query under an old id.
    """

    field: str
    templates: tuple[str, ...]
    threshold: float

    @property
    def query_id(self) -> str:
        """The id under which the set is claimed."""
        return f"from:{self.field}"

    @property
    def name(self) -> str:
        """``ps-`` and 16 hex digits, as for any prompt set."""
        return set_name([self])

    @property
    def threshold_logit(self) -> float:
        """log(t / (1 − t))."""
        return math.log(self.threshold) - math.log1p(-self.threshold)

    def definition(self) -> dict[str, Any]:
        """Everything that changes a mask, as JSON values."""
        return {"from": self.field, "templates": list(self.templates), "threshold": self.threshold}

    def digest(self) -> str:
        """SHA-256 (hex) of the definition."""
        return definition_digest(self.definition())

    @classmethod
    def from_definition(cls, definition: dict[str, Any]) -> PhraseSet:
        """The inverse of ``definition``."""
        return cls(definition["from"], tuple(definition["templates"]), definition["threshold"])
