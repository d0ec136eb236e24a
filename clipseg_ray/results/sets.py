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


class QueryLike(Protocol):
    """What a claim needs to know of a query."""

    @property
    def query_id(self) -> str: ...

    def digest(self) -> str:
        """Hex digest of everything that changes a mask."""

    def definition(self) -> dict[str, Any]:
        """The same things as JSON values, for a person."""


@dataclass(frozen=True)
class SetRecord:
    """One claimed prompt set: its number, name, and for each query id the digest and definition."""

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
    def query_ids(self) -> Collection[str] | None:
        """The ids that its masks have; None where these are phrases that came with the images."""
        if any("from" in definition for definition in self.definitions.values()):
            return None
        return self.digests.keys()


@dataclass(frozen=True)
class Assignment:
    """A run's queries over the sets of a dataset.

    ``present``: existing sets that own at least one of them, in order. ``new``: ids nobody has claimed, sorted.
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
    """Find each query's set. Raises UserError with the differences when a known id now means something else."""
    owner = {query_id: record for record in sets for query_id in record.digests}
    changed = []
    present: dict[int, SetRecord] = {}
    new = []
    for query in queries:
        record = owner.get(query.query_id)
        if record is None:
            new.append(query.query_id)
        elif record.digests[query.query_id] == query.digest():
            present[record.number] = record
        else:
            changed += _changes(query.query_id, record.definitions[query.query_id], query.definition())
    if changed:
        raise UserError(
            "these queries have masks in the dataset already, made from another definition:\n"
            + "\n".join(f"  {line}" for line in changed)
            + "\n  Give the changed queries new ids, or choose another output.url."
        )
    return Assignment(tuple(present[number] for number in sorted(present)), tuple(sorted(new)))


def _changes(query_id: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f"{query_id}: {key}: the dataset has {before.get(key)!r}, this table {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]


def claim(store: Store, number: int, name: str, queries: Sequence[QueryLike]) -> SetRecord:
    """Claim ``queries`` as set ``number``. Raises FileExistsError when another run has taken that number."""
    ordered = sorted(queries, key=lambda query: query.query_id)
    body = {
        "name": name,
        "queries": [
            {"query_id": query.query_id, "digest": query.digest(), "definition": query.definition()}
            for query in ordered
        ],
    }
    with plain_errors(store.url):
        store.create(layout.set_record(number), json.dumps(body, indent=1).encode())
    return SetRecord(
        number,
        name,
        {query.query_id: query.digest() for query in ordered},
        {query.query_id: query.definition() for query in ordered},
    )
