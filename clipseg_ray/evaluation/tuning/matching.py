"""Which truth a query has: what of the truth's vocabulary it asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clipseg_ray.errors import UserError, nearest
from clipseg_ray.evaluation.truth import Thing
from clipseg_ray.queries.query import Query


def things_of(queries: Sequence[Query], vocabulary: Mapping[str, Thing]) -> list[Thing]:
    """Of each written query with a truth what it is: that of the same id; else the union over its ``concept``; else
    that which has one of its wordings.

    Raises UserError where none has one.
    """
    things = [thing for query in queries if query.keep and (thing := _thing(query, vocabulary)) is not None]
    if not things:
        first = next((query.query_id for query in queries if query.keep), "")
        near = nearest(first, vocabulary)
        raise UserError(
            "no query of the table has a truth: none is called, or says in its column concept, what the truth has"
            f"{f'; {first!r}: did you mean {near[0]}?' if near else ''} It has {len(vocabulary)} things: "
            f"{', '.join(list(vocabulary)[:20])}{', …' if len(vocabulary) > 20 else ''}"
        )
    return things


def _thing(query: Query, vocabulary: Mapping[str, Thing]) -> Thing | None:
    if query.query_id in vocabulary:
        named: tuple[str, ...] = (query.query_id,)
    else:
        names = {name for thing in vocabulary.values() for name in (thing.query_id, *thing.texts)}
        named = tuple(name for name in query.concept if name in names)
        if named:
            named = query.concept  # all of it: absent is only where everything it names is known to be
        else:
            named = tuple(thing.query_id for thing in vocabulary.values() if set(query.texts) & set(thing.texts))
    return Thing(query.query_id, query.kind, query.texts, named) if named else None
