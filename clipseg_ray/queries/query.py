"""A query: what a person asks of every image, resolved so that nothing outside it can change its masks."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from clipseg_ray.model.cleaning import cleaned
from clipseg_ray.queries.expression import Term, text_of
from clipseg_ray.queries.modes import Mode
from clipseg_ray.queries.supports import Support


@dataclass(frozen=True)
class Others:
    """The queries without which one's masks cannot be made: their ``ids``, and what they add to its definition.

    Ids change no mask and are not in the definition.
    """

    ids: tuple[str, ...]
    definition: dict[str, Any] = field(hash=False)


@dataclass(frozen=True, kw_only=True)
class Query:
    """One row of the query table, every default resolved.

    texts and templates: as given; each text is put into each template (`prompts`), both cleaned as CLIP's texts were
    (``model.cleaning``); the query's text vector is the mean over all of them. Both empty when the query is pictures
    only. threshold: probability in (0, 1), the query's own or else the run's. supports: pictures with masks, composed
    by `mode`; their embeddings are averaged. alpha: the pictures' share in a blend of texts and pictures; None when
    there is nothing to blend. concept: categories the query should match, for evaluation. columns: the table's further
    columns, as they were.

    A query is its prompt alone, or carries one of three. suppress: ids of those above whose logits its own must be.
    group: the one it competes in, with its weight and its place among the members in the table's order. expression:
    a term over ids, in place of texts and pictures. others: who these are (``others.resolved``). keep: whether its
    masks are written.
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
    suppress: tuple[str, ...] = ()
    group: str | None = None
    weight: float = 1.0
    place: int = 0
    expression: Term | None = None
    others: Others | None = None
    keep: bool = True

    @property
    def prompts(self) -> tuple[str, ...]:
        """The final wordings: every text in every template, cleaned."""
        texts, templates = map(cleaned, self.texts), [cleaned(template) for template in self.templates]
        return tuple(template.replace("{}", text) for text in texts for template in templates)

    @property
    def picture_share(self) -> float:
        """The weight of the pictures in the conditional: alpha, or 0 without pictures, or 1 without texts."""
        if not self.supports:
            return 0.0
        return 1.0 if self.alpha is None else self.alpha

    @property
    def is_prompt(self) -> bool:
        """Whether it has a conditional and logits of its own; expressions have none."""
        return self.expression is None

    @property
    def is_alone(self) -> bool:
        """Whether its masks are those of its prompt, whatever else is asked."""
        return self.is_prompt and not self.suppress and self.group is None

    @property
    def needs(self) -> tuple[str, ...]:
        """Ids that its set must hold: of those it names, and of the members of its group."""
        return () if self.others is None else self.others.ids

    @property
    def words(self) -> str:
        """What is asked, in a line: the expression, or the final wordings."""
        return " | ".join(self.prompts) if self.expression is None else text_of(self.expression)

    def prompt_definition(self) -> dict[str, Any]:
        """Everything that changes its prompt's logits, as JSON-able values; pictures and masks are their SHA-256."""
        return {
            "texts": [cleaned(text) for text in self.texts],
            "templates": [cleaned(template) for template in self.templates],
            "supports": [{"picture": support.picture_sha256, "mask": support.mask_sha256} for support in self.supports],
            "mode": None if self.mode is None else str(self.mode),
            "alpha": self.alpha,
        }

    def definition(self) -> dict[str, Any]:
        """Everything that changes a mask, or whether there is one, as JSON-able values.

        Raises ValueError where it is not known who the others are.
        """
        if not self.is_alone and self.others is None:
            raise ValueError(f"query {self.query_id!r}: the queries it names are not known; see others.resolved")
        among = {} if self.others is None else self.others.definition
        return {
            **self.prompt_definition(),
            "threshold": self.threshold,
            **among,
            **({} if self.keep else {"keep": False}),
        }

    def digest(self) -> str:
        """SHA-256 (hex) of the definition; kind, concept and further columns do not enter."""
        return definition_digest(self.definition())

    def question_digest(self) -> str:
        """SHA-256 (hex) of what is asked, whatever its threshold: that on which its probabilities depend."""
        return definition_digest({**self.definition(), "threshold": None, "keep": None})


def definition_digest(definition: dict[str, Any]) -> str:
    """SHA-256 (hex) of a definition, or of a part of one."""
    canonical = json.dumps(definition, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
