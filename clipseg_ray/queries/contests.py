"""Which prompts of a set meet: its queries that compete or combine, as the contests that the engine decides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clipseg_ray.masks.competition import Contest, Expression, Output
from clipseg_ray.queries.expression import Term
from clipseg_ray.queries.others import groups_of
from clipseg_ray.queries.query import Query

MOST = 160
"""Prompts of one contest, unless a single query or group has more: 79 MB of float32 logits an image at 352×352.

A property of the set alone: what is decoded together, and so every byte, is the same on every machine.
"""


@dataclass(frozen=True)
class _Part:
    """Queries that must be decided together, and the ids of the prompts that it takes."""

    queries: tuple[Query, ...]
    prompts: frozenset[str]


def contests_of(members: Sequence[Query]) -> tuple[Contest, ...]:
    """The contests of a set of resolved ``members``, in the order of their first written query.

    Queries that share prompts are decided together as long as no more than ``MOST`` prompts meet.
    Raises ValueError where a query that one names is not among them.
    """
    by_id = {query.query_id: query for query in members}
    written = {query.query_id: place for place, query in enumerate(_written(members))}
    prompts = {query.query_id: place for place, query in enumerate(query for query in members if query.is_prompt)}
    groups = groups_of(members)
    contests = []
    for parts in _together(list(_parts(members, groups, by_id))):
        met = sorted(frozenset().union(*(part.prompts for part in parts)), key=prompts.__getitem__)
        local = {query_id: place for place, query_id in enumerate(met)}
        queries = sorted((query for part in parts for query in part.queries), key=lambda query: written[query.query_id])
        contests.append(
            Contest(
                prompts=tuple(prompts[query_id] for query_id in met),
                outputs=tuple(_output(query, written[query.query_id], groups, by_id, local) for query in queries),
            )
        )
    return tuple(sorted(contests, key=lambda contest: contest.outputs[0].query))


def _written(members: Sequence[Query]) -> list[Query]:
    return [query for query in members if query.keep]


def _parts(members: Sequence[Query], groups: dict[str, list[Query]], by_id: dict[str, Query]) -> Iterator[_Part]:
    """What cannot be decided apart, in the order of the first written query: a group, or a query by itself."""
    seen = set()
    for query in _written(members):
        if query.is_alone or query.group in seen:
            continue
        if query.group is None:
            yield _Part((query,), frozenset(_prompt_ids(query.query_id, by_id)).union(_rival_prompts(query, by_id)))
        else:
            seen.add(query.group)
            fellows = groups[query.group]
            yield _Part(tuple(_written(fellows)), frozenset(member.query_id for member in fellows))


def _rival_prompts(query: Query, by_id: dict[str, Query]) -> Iterator[str]:
    for name in query.suppress:
        yield from _prompt_ids(name, by_id)


def _prompt_ids(term: Term, by_id: dict[str, Query]) -> Iterator[str]:
    """The prompts whose logits a term is made of."""
    if not isinstance(term, str):
        for operand in term.operands:
            yield from _prompt_ids(operand, by_id)
        return
    if term not in by_id:
        raise ValueError(f"no query {term!r} is in the set, but another names it")
    expression = by_id[term].expression
    if expression is None:
        yield term
    else:
        yield from _prompt_ids(expression, by_id)


def _together(parts: Sequence[_Part]) -> Iterator[list[_Part]]:
    """Parts that share prompts, directly or by others between them, in lots of at most ``MOST`` prompts."""
    for linked in _linked(parts):
        lot: list[_Part] = []
        met: frozenset[str] = frozenset()
        for part in linked:
            if lot and len(met | part.prompts) > MOST:
                yield lot
                lot, met = [], frozenset()
            lot.append(part)
            met |= part.prompts
        yield lot


def _linked(parts: Sequence[_Part]) -> list[list[_Part]]:
    """The connected components of parts over the prompts they share, each in the order of the parts."""
    takers: dict[str, list[int]] = defaultdict(list)
    for index, part in enumerate(parts):
        for query_id in part.prompts:
            takers[query_id].append(index)
    component = [-1] * len(parts)
    for start in range(len(parts)):
        waiting = [start] if component[start] < 0 else []
        while waiting:
            index = waiting.pop()
            if component[index] < 0:
                component[index] = start
                waiting += [other for query_id in parts[index].prompts for other in takers.pop(query_id, ())]
    found: dict[int, list[_Part]] = defaultdict(list)
    for start, part in zip(component, parts, strict=True):
        found[start].append(part)
    return list(found.values())


def _output(
    query: Query, place: int, groups: dict[str, list[Query]], by_id: dict[str, Query], local: dict[str, int]
) -> Output:
    """One written query with its contest's own places."""
    if query.group is not None:
        members = groups[query.group]
        return Output(
            query=place,
            logits=local[query.query_id],
            group=tuple(local[member.query_id] for member in members),
            weights=tuple(member.weight for member in members),
        )
    rivals = tuple(_places(name, by_id, local) for name in dict.fromkeys(query.suppress))
    return Output(query=place, logits=_places(query.query_id, by_id, local), rivals=rivals)


def _places(term: Term, by_id: dict[str, Query], local: dict[str, int]) -> Expression:
    """A term over the contest's places; expressions that it names stand in it whole."""
    if not isinstance(term, str):
        return term.operator, tuple(_places(operand, by_id, local) for operand in term.operands)
    expression = by_id[term].expression
    return local[term] if expression is None else _places(expression, by_id, local)
