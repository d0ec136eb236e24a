"""Ways of asking, and what is asked in each on each truth set.

- text: every query of the set's vocabulary, in words, of every image.
- picture: in one or a few support pictures with their masks (one-shot, few-shot), drawn anew for each question.
- hybrid: both, ``alpha · picture + (1 − alpha) · text``.
- table: the queries of a query table that have a ``concept``; the truth is the union over its categories. CLIPSeg's
  generalised queries are such rows of the shipped tables. Those that compete or combine do so as in a run, with all
  that they name and all of their group, whether these have a concept or not.
- argmax: a query table that is one group, in which each pixel goes to one class (see ``argmax``).
- clip: no masks, but what CLIP makes of a picture whose things are marked (see ``prompt_study``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.answers import Answers
from clipseg_ray.evaluation.config import WITHOUT_THRESHOLD, EvaluateConfig, RowConfig, SupportsConfig
from clipseg_ray.evaluation.episodes import Episodes
from clipseg_ray.evaluation.likelihoods import Likelihoods
from clipseg_ray.evaluation.metrics import AskedQuery, Metrics
from clipseg_ray.evaluation.truth import Thing
from clipseg_ray.queries.query import Query
from clipseg_ray.queries.table import load_queries
from clipseg_ray.queries.templates import resolve_templates

Vocabulary = Mapping[str, Thing]

Counted = Metrics | Answers | Likelihoods


@dataclass(frozen=True, kw_only=True)
class Asking:
    """One way of asking; what does not matter to a protocol is None."""

    protocol: str
    texts: str | None = None
    templates: tuple[str, ...] | None = None
    alpha: float | None = None
    table: str | None = None
    mode: str | None = None
    episodes: Episodes | None = None

    @classmethod
    def of(cls, row: RowConfig, supports: SupportsConfig | None = None) -> Asking:
        """The way a row asks; ``supports`` say how many episodes there are, where it draws them."""
        if row.protocol in ("table", "argmax"):
            return cls(protocol=row.protocol, table=row.table)
        templates = resolve_templates(row.template)
        if row.protocol == "clip":
            return cls(protocol="clip", templates=templates, mode=row.mode)
        episodes = None
        if row.episodes is not None:
            assert supports is not None
            kinds, queries = (None if some is None else tuple(some) for some in (row.kinds, row.queries))
            episodes = Episodes(row.episodes, supports.number, kinds, queries)
        if row.protocol == "picture":
            return cls(protocol="picture", episodes=episodes)
        alpha = row.alpha if row.protocol == "hybrid" else None
        return cls(protocol=row.protocol, texts=row.texts, templates=templates, alpha=alpha, episodes=episodes)

    def __str__(self) -> str:
        """In a few words, for a table."""
        words = {
            "text": "text",
            "picture": "picture",
            "hybrid": f"hybrid, α = {self.alpha:g}" if self.alpha else "",
            "clip": f"CLIP, {self.mode}",
        }
        said = words.get(self.protocol) or f"{'argmax over' if self.decides else 'queries of'} {self.table}"
        if self.texts not in (None, "first"):
            said += f", {self.texts} wordings"
        if self.templates not in (None, ("{}",)):
            said += f", {len(self.templates or ())} template(s)"
        if self.episodes is not None:
            said += f", {self.episodes}"
        return said

    @property
    def by_text(self) -> bool:
        """Whether words are part of it."""
        return self.protocol in ("text", "hybrid")

    @property
    def by_picture(self) -> bool:
        """Whether drawn support pictures are part of it."""
        return self.protocol in ("picture", "hybrid")

    @property
    def decides(self) -> bool:
        """Whether it gives masks, not probabilities."""
        return self.protocol == "argmax"

    @property
    def compares(self) -> bool:
        """Whether it is about CLIP's opinion of pictures, not about masks."""
        return self.protocol == "clip"

    def counts(self) -> Counted:
        """What its answers are counted in, empty."""
        if self.compares:
            return Likelihoods()
        return Answers() if self.decides else Metrics()

    def wordings(self, thing: Thing) -> tuple[str, ...]:
        """The texts by which a thing is asked for, each by itself; none if this asking does not reach it."""
        if not self.by_text:
            return ()
        if self.texts == "paper":
            return tuple(text for text in thing.texts if text in paper_keys())
        return thing.texts if self.texts == "all" else thing.texts[:1]

    def things(self, vocabulary: Vocabulary) -> list[Thing]:
        """What can be asked this way where ``vocabulary`` is the truth's."""
        if self.table is None:
            return [thing for thing in vocabulary.values() if not self.by_text or self.wordings(thing)]
        queries = table_queries(self.table)
        if self.decides:
            _check_classes(self.table, queries)
        known = {name for thing in vocabulary.values() for name in (thing.query_id, *thing.texts)}
        return [
            Thing(query.query_id, query.kind, query.texts, query.concept)
            for query in queries
            if self.decides or (_has_truth(query) and known & set(query.concept))
        ]


@dataclass(frozen=True)
class Task:
    """One way of asking on one truth set. ``everywhere``: also of images without the thing."""

    truth: str
    asking: Asking
    things: tuple[Thing, ...]
    everywhere: bool


def jobs_of(config: EvaluateConfig, vocabularies: Mapping[str, Vocabulary]) -> list[Task]:
    """What must be asked where for every row of the table, tuning included, each thing once.

    vocabularies: of each truth set that rows or ``tune`` name. Raises UserError for a row that asks for nothing.
    """
    wanted: dict[tuple[str, Asking], dict[str, Thing]] = {}
    everywhere: dict[tuple[str, Asking], bool] = {}
    for row in config.rows:
        asking = Asking.of(row, config.supports)
        measured = [thing for thing in asking.things(vocabularies[row.truth]) if holds(row, thing)]
        if not measured:
            raise UserError(_nothing(row, vocabularies[row.truth]))
        kinds = {thing.kind for thing in measured}
        parts = [(row.truth, asking.things(vocabularies[row.truth]) if asking.decides else measured)]
        if config.tune is not None and row.protocol not in WITHOUT_THRESHOLD:
            parts.append((config.tune, [t for t in asking.things(vocabularies[config.tune]) if t.kind in kinds]))
        for truth, things in parts:
            wanted.setdefault((truth, asking), {}).update({thing.query_id: thing for thing in things})
            everywhere[truth, asking] = everywhere.get((truth, asking), False) or row.pictures == "all"
    return [
        Task(truth, asking, tuple(things[query_id] for query_id in sorted(things)), everywhere[truth, asking])
        for (truth, asking), things in wanted.items()
    ]


def holds(row: RowConfig, query: Thing | AskedQuery) -> bool:
    """Whether a row is about a query."""
    return (row.kinds is None or query.kind in row.kinds) and (row.queries is None or query.query_id in row.queries)


@cache
def table_queries(table: str) -> tuple[Query, ...]:
    """All queries of a table. Raises UserError where none that is written says by its ``concept`` what is right."""
    found = tuple(load_queries(table, None, 0.5))
    if not any(_has_truth(query) for query in found):
        raise UserError(f"{table}: no query has a concept, so nothing says which pixels are right; fill the column")
    return found


def _check_classes(table: str, queries: Sequence[Query]) -> None:
    """Raise UserError unless all queries are one group, at most one of them, the background, without a concept."""
    groups = {query.group for query in queries}
    if None in groups or len(groups) > 1 or not all(query.keep for query in queries):
        raise UserError(f"{table}: argmax needs a table that is one group, every query of which is kept")
    nothing = [query.query_id for query in queries if not query.concept]
    if len(nothing) > 1:
        raise UserError(f"{table}: {', '.join(nothing)} have no concept; one class at most is the background")


def _has_truth(query: Query) -> bool:
    return query.keep and bool(query.concept)


@cache
def paper_keys() -> frozenset[str]:
    """The wordings of CLIPSeg's generalised queries: "sit on", "can fly", "has wheels", …"""
    tables = ("builtin:affordances", "builtin:properties")
    return frozenset(
        text for table in tables for query in load_queries(table, "source = 'paper'", 0.5) for text in query.texts
    )


def _nothing(row: RowConfig, vocabulary: Vocabulary) -> str:
    kinds = sorted({thing.kind for thing in vocabulary.values()})
    missing = [query_id for query_id in row.queries or () if query_id not in vocabulary]
    return (
        f"row {row.name!r}: nothing to ask on the truth set {row.truth!r}: it has {len(vocabulary)} queries, of the "
        f"kinds {', '.join(kinds) or 'none'}"
        + (f", and no {', '.join(missing[:3])}" if missing else "")
        + "; change the row's kinds, queries or texts"
    )
