"""``_shards/``: what is known of the shards that have been read to their end."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from clipseg_ray.results import layout
from clipseg_ray.sources.chunks import ShardRecord
from clipseg_ray.storage import Store, get_many

_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Counts:
    """A shard that has been read to its end: its chunks, its samples, and image ids that occur more than once in it."""

    chunks: int
    samples: int
    repeated: int


def put(store: Store, record: ShardRecord) -> None:
    """Put the record of a shard that has been read to its end."""
    store.put(_name(record), record.to_json())


def _name(record: ShardRecord) -> str:
    return layout.shard_record(record.shard_id, len(record.chunks), record.samples, len(record.repeated))


def counts(store: Store) -> dict[str, Counts]:
    """By shard id what the records' names say: one listing, and nothing is read."""
    found = {}
    for entry in store.list_hashed(layout.SHARDS):
        parsed = layout.parse_shard_record(entry.path.rpartition("/")[2])
        if parsed is not None:
            found[parsed[0]] = Counts(*parsed[1:])
    return found


def read(store: Store, shard_id: str, known: Counts) -> ShardRecord:
    """The whole record of one shard."""
    return ShardRecord.from_json(store.get(layout.shard_record(shard_id, known.chunks, known.samples, known.repeated)))


def read_all(store: Store, only: Collection[str] | None = None) -> list[ShardRecord]:
    """The records of these shards, None for all, in no promised order."""
    names = []
    for entry in store.list_hashed(layout.SHARDS):
        parsed = layout.parse_shard_record(entry.path.rpartition("/")[2])
        if parsed is not None and (only is None or parsed[0] in only):
            names.append(entry.path)
    records = []
    for start in range(0, len(names), _AT_ONCE):
        for body in get_many([store.url_of(name) for name in names[start : start + _AT_ONCE]]):
            if isinstance(body, Exception):
                raise body
            records.append(ShardRecord.from_json(body))
    return records
