"""``_sets/``: which prompt set owns which query, decided by exclusive create so that no query is computed twice.

Each query belongs to exactly one set. A run's queries are those it finds in existing sets (same id, same digest) and
those nobody has claimed, which become one new set. A known id with another digest is refused.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from clipseg_ray.errors import UserError
from clipseg_ray.results import layout, own_files
from clipseg_ray.storage import Store, explain, get_many, plain_errors

_AMONG_OTHERS = {"suppress", "group", "expression"}
_OF_MASKS_ALONE = {"threshold", "keep", "suppress", "group"}


class Defined(Protocol):
    """What a claim says of a query."""

    @property
    def query_id(self) -> str: ...

    def digest(self) -> str:
        """Hex digest of everything that changes a mask."""

    def definition(self) -> dict[str, Any]:
        """The same things as JSON values, for a person."""


class QueryLike(Defined, Protocol):
    """What it takes besides to find a query's set."""

    @property
    def keep(self) -> bool:
        """Whether its masks are written."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Ids of the queries that decide its masks with it, which its set must hold."""


class Redefined(UserError):
    """Queries that have masks are asked under another definition.

    ``differences``: these, in lines for a person. ``thresholds``: the queries' new ones where nothing else differs,
    else empty.
    """

    def __init__(self, differences: str, thresholds: Mapping[str, float]) -> None:
        super().__init__(f"{differences}\n  Give the changed queries new ids, or choose another output.url.")
        self.differences = differences
        self.thresholds = dict(thresholds)


@dataclass(frozen=True)
class SetRecord:
    """One claimed prompt set: its number, name, and for each query id, in the order of the table that it was made from,
    the digest and definition.
    """

    number: int
    name: str
    digests: dict[str, str]
    definitions: dict[str, dict[str, Any]]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not layout.is_set_name(self.name):
            raise UserError(
                f"{layout.set_record(self.number)}: {self.name!r} is no name of a prompt set as a run writes it; "
                "the file was changed, and nothing is read below that name"
            )

    @property
    def written(self) -> tuple[str, ...]:
        """The ids of its queries but those that are computed for others alone (``keep: false``)."""
        return tuple(query_id for query_id, definition in self.definitions.items() if definition.get("keep", True))

    @property
    def query_ids(self) -> Collection[str] | None:
        """The ids that its masks have; None where these are phrases that came with the images."""
        if any("from" in definition for definition in self.definitions.values()):
            return None
        return self.written

    @property
    def competing(self) -> tuple[str, ...]:
        """Those of ``written`` whose masks other queries decide too."""
        return tuple(query_id for query_id in self.written if _AMONG_OTHERS & self.definitions[query_id].keys())

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The ``written`` members of each group, in its order: no two of them share a pixel."""
        found: dict[str, dict[int, str]] = {}
        for query_id in self.written:
            if group := self.definitions[query_id].get("group"):
                # Groups of the same prompts have the same masks at the same place.
                found.setdefault(group["prompts"], {}).setdefault(group["place"], query_id)
        return tuple(tuple(members[place] for place in sorted(members)) for members in found.values())


@dataclass(frozen=True)
class Assignment:
    """A run's queries over the sets of a dataset.

    ``present``: existing sets that own at least one of them, in order. ``new``: ids nobody has claimed, in the
    order they are asked in.
    """

    present: tuple[SetRecord, ...]
    new: tuple[str, ...]


def read(store: Store) -> list[SetRecord]:
    """Every claim, in order."""
    with plain_errors(store.url):
        urls = [store.url_of(name) for name in own_files.numbered(store, layout.SETS)]
        bodies = get_many(urls)
    records = []
    for number, (url, body) in enumerate(zip(urls, bodies, strict=True)):
        if isinstance(body, Exception):
            raise explain(body, store.url) or body
        values = own_files.json_object(body, url, ("name", "queries"))
        queries = values["queries"]
        records.append(
            SetRecord(
                number,
                values["name"],
                {query["query_id"]: query["digest"] for query in queries},
                {query["query_id"]: query["definition"] for query in queries},
            )
        )
    return records


def assign(sets: Sequence[SetRecord], queries: Sequence[QueryLike]) -> Assignment:
    """Find each query's set. Raises Redefined with the differences when a known id now means something else, and
    UserError where a new query needs one that has masks already.

    A query that is not written is only there for others: where all of those are present, nothing is asked of it.
    """
    owner = {query_id: record for record in sets for query_id in record.digests}
    new = {query.query_id: query for query in queries if query.query_id not in owner}
    known = [query for query in queries if query.query_id in owner]
    is_present = {query.query_id for query in known if owner[query.query_id].digests[query.query_id] == query.digest()}
    settled = [query for query in queries if query.query_id in is_present]
    changed: list[tuple[str, str, str]] = []
    for query in known:
        record = owner[query.query_id]
        before = record.definitions[query.query_id]
        if query.query_id not in is_present and (query.keep or _prompt(before) != _prompt(query.definition())):
            changed += _changes(query.query_id, before, query.definition())
    if changed:
        asked = {query.query_id: query.definition() for query in known}
        moved = {query_id: asked[query_id]["threshold"] for query_id, _, _ in changed}
        raise Redefined(
            "these queries have masks in the dataset already, made from another definition:\n"
            + "\n".join(f"  {query_id}: {key}: {values}" for query_id, key, values in changed),
            moved if all(key == "threshold" for _, key, _ in changed) else {},
        )
    claimed = _with_needs(new)
    _refuse_divided(claimed, owner)
    present = {owner[query.query_id].number: owner[query.query_id] for query in settled}
    asked_first = tuple(query_id for query_id in new if query_id in claimed)
    return Assignment(tuple(present[number] for number in sorted(present)), asked_first)


def _prompt(definition: Mapping[str, Any]) -> dict[str, Any]:
    """What of a definition concerns those who need the query."""
    return {key: value for key, value in definition.items() if key not in _OF_MASKS_ALONE}


def _with_needs(new: Mapping[str, QueryLike]) -> dict[str, QueryLike]:
    """Those of the new queries that are written, and those that they need."""
    claimed: dict[str, QueryLike] = {}
    waiting = [query_id for query_id, query in new.items() if query.keep]
    while waiting:
        query_id = waiting.pop()
        if query_id not in claimed:
            claimed[query_id] = new[query_id]
            waiting += [other for other in new[query_id].needs if other in new]
    return claimed


def _refuse_divided(claimed: Mapping[str, QueryLike], owner: Mapping[str, SetRecord]) -> None:
    faults = [
        f"{query_id} needs {other}, which is in {owner[other].name}"
        for query_id, query in sorted(claimed.items())
        for other in query.needs
        if other in owner
    ]
    if faults:
        raise UserError(
            "queries compete and combine within the prompt set that a run adds, so that no mask changes that is there "
            "already; these new ones need queries that the dataset has:\n"
            + "\n".join(f"  {fault}" for fault in faults)
            + "\n  Repeat the rows that they need under new ids with keep: false, and name those instead."
        )


def _changes(query_id: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Id, key and both values of what differs."""
    before, now = _leaves(before), _leaves(now)
    return [
        (query_id, key, f"the dataset has {before.get(key)!r}, this table {now.get(key)!r}")
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]


def _leaves(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The values by key, those of a group by ``group.key``; ``keep`` where it is left out too."""
    values = {"keep": True, **definition}
    group = values.pop("group", {})
    return values | {f"group.{key}": value for key, value in group.items()}


def claim(store: Store, number: int, name: str, queries: Sequence[Defined]) -> SetRecord:
    """Claim ``queries``, whose order is kept, as set ``number``.

    Raises FileExistsError when another run has taken that number.
    """
    body = {
        "name": name,
        "queries": [
            {"query_id": query.query_id, "digest": query.digest(), "definition": query.definition()}
            for query in queries
        ],
    }
    with plain_errors(store.url):
        store.create(layout.set_record(number), json.dumps(body, indent=1).encode())
    return SetRecord(
        number,
        name,
        {query.query_id: query.digest() for query in queries},
        {query.query_id: query.definition() for query in queries},
    )
