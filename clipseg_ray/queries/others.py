"""Who the others are: for each query that competes or combines, what the queries it names add to its definition."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from clipseg_ray.queries.expression import Term, ids
from clipseg_ray.queries.query import Others, Query, definition_digest


def resolved(queries: Sequence[Query]) -> list[Query]:
    """The same queries with their ``others``, in order. Raises ValueError where a query that one names is not there."""
    by_id = {query.query_id: query for query in queries}
    in_groups = {
        query_id: others for members in groups_of(queries).values() for query_id, others in _fellows(members).items()
    }
    return [replace(query, others=in_groups.get(query.query_id) or _named(query, by_id)) for query in queries]


def only(queries: Sequence[Query], wanted: Collection[str]) -> list[Query]:
    """Of resolved `queries` those whose id is `wanted`, and those without which they cannot be had, not to be written.

    In the same order. Raises KeyError for an id that is none.
    """
    by_id = {query.query_id: query for query in queries}
    needed: set[str] = set()
    open_ids = list(wanted)
    while open_ids:
        query_id = open_ids.pop()
        if query_id not in needed:
            needed.add(query_id)
            open_ids += by_id[query_id].needs
    found = [query for query in queries if query.query_id in needed]
    return [replace(query, keep=query.query_id in wanted) for query in found]


def groups_of(queries: Sequence[Query]) -> dict[str, list[Query]]:
    """The members of each group, in the table's order."""
    groups: dict[str, list[Query]] = defaultdict(list)
    for query in sorted(queries, key=lambda query: query.place):
        if query.group is not None:
            groups[query.group].append(query)
    return dict(groups)


def definition_of(term: Term, by_id: Mapping[str, Query]) -> Any:
    """A term as JSON-able values: prompts' definitions in place of ids, operations as ``[operator, operand, …]``."""
    if not isinstance(term, str):
        return [term.operator, *(definition_of(operand, by_id) for operand in term.operands)]
    if term not in by_id:
        raise ValueError(f"no query {term!r} is in the set, but another names it")
    query = by_id[term]
    return query.prompt_definition() if query.expression is None else definition_of(query.expression, by_id)


def _fellows(members: Sequence[Query]) -> dict[str, Others]:
    """The others of each member of a group, by its id."""
    ids_of_all = tuple(member.query_id for member in members)
    # One digest for all: with each member's definition in every other's a large group would fill the claims.
    prompts = definition_digest({"members": [[member.prompt_definition(), member.weight] for member in members]})
    return {
        query_id: Others(ids_of_all, {"group": {"members": len(members), "prompts": prompts, "place": place}})
        for place, query_id in enumerate(ids_of_all)
    }


def _named(query: Query, by_id: Mapping[str, Query]) -> Others | None:
    if query.expression is not None:
        named = tuple(dict.fromkeys(ids(query.expression)))
        return Others(named, {"expression": definition_of(query.expression, by_id)})
    if query.suppress:
        # In an order of their own: a pixel must be above each of them.
        rivals = sorted((definition_of(name, by_id) for name in dict.fromkeys(query.suppress)), key=json.dumps)
        return Others(query.suppress, {"suppress": rivals})
    return None
