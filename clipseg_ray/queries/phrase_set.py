"""Phrases that come with the images (referring expressions): each image is asked only its own.

One prompt set stands for them all, named by the sample field they come from, the templates and the threshold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from clipseg_ray.errors import UserError
from clipseg_ray.masks.logit import logit_of
from clipseg_ray.plain_text import Unread, is_missing, value_of
from clipseg_ray.queries.naming import FROM, PHRASE, set_name
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
    keep: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ()

    @property
    def query_id(self) -> str:
        """The id under which the set is claimed."""
        return f"{FROM}{self.field}"

    @property
    def name(self) -> str:
        """``ps-`` and 16 hex digits, as for any prompt set."""
        return set_name([self])

    @property
    def threshold_logit(self) -> float:
        """log(t / (1 − t))."""
        return float(logit_of(self.threshold))

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


def phrase_id(text: str) -> str:
    """The query id of a phrase: ``phrase-`` and 16 hex digits of its SHA-256."""
    return f"{PHRASE}{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def phrases_of(fields: Mapping[str, Any], field: str, image_id: str) -> list[str]:
    """The phrases of one sample, each once, in order: a string or a list of strings under ``field``; none if absent.

    Where one is missing (null, or the NaN as which pandas writes that) it is none. Raises UserError naming the image
    when the field holds something else, or cannot be read.
    """
    value = value_of(fields, field)
    texts = [text for text in (value if isinstance(value, list | tuple) else [value]) if not is_missing(text)]
    where = f"queries.from: field {field!r} of {image_id}"
    for text in texts:
        if isinstance(text, Unread):
            raise UserError(f"{where}: {text}")
        if not isinstance(text, str):
            raise UserError(f"{where} holds {value!r:.80}; it must be a string or a list of strings")
    return list(dict.fromkeys(text.strip() for text in texts))
