"""A query: what a person asks of every image, resolved so that nothing outside it can change its masks."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from clipseg_ray.queries.modes import Mode
from clipseg_ray.queries.supports import Support


@dataclass(frozen=True, kw_only=True)
class Query:
    """One row of the query table, every default resolved.

    texts and templates: each text is put into each template (`prompts`); the query's text vector is the mean over
    all of them. Both empty when the query is pictures only. threshold: probability in (0, 1), the query's own or
    else the run's. supports: pictures with masks, composed by `mode`; their embeddings are averaged. alpha: the
    pictures' share in a blend of texts and pictures; None when there is nothing to blend. concept: categories the
    query should match, for evaluation. columns: the table's further columns, as they were.
    """

    query_id: str
    kind: str
    texts: tuple[str, ...]
    templates: tuple[str, ...]
    threshold: float
    supports: tuple[Support, ...] = ()
    mode: Mode | None = None
    alpha: float | None = None
    concept: tuple[str, ...] = ()
    columns: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The final wordings: every text in every template."""
        return tuple(template.replace("{}", text) for text in self.texts for template in self.templates)

    @property
    def picture_share(self) -> float:
        """The weight of the pictures in the conditional: alpha, or 0 without pictures, or 1 without texts."""
        if not self.supports:
            return 0.0
        return 1.0 if self.alpha is None else self.alpha

    def definition(self) -> dict[str, Any]:
        """Everything that changes a mask, as JSON-able values; pictures and masks appear as their SHA-256."""
        return {
            "texts": list(self.texts),
            "templates": list(self.templates),
            "supports": [{"picture": support.picture_sha256, "mask": support.mask_sha256} for support in self.supports],
            "mode": None if self.mode is None else str(self.mode),
            "alpha": self.alpha,
            "threshold": self.threshold,
        }

    def digest(self) -> str:
        """SHA-256 (hex) of the definition; kind, concept and further columns do not enter."""
        return definition_digest(self.definition())


def definition_digest(definition: dict[str, Any]) -> str:
    """SHA-256 (hex) of a definition, or of a part of one."""
    canonical = json.dumps(definition, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
