"""``_shards/``: what is known of the shards that have been read to their end."""

from __future__ import annotations

from clipseg_ray.results import layout, own_files
from clipseg_ray.results.layout import ShardCounts as ShardCounts
from clipseg_ray.sources.chunks import ShardRecord
from clipseg_ray.storage import Store, get_all

_AT_ONCE = 512


def put(store: Store, record: ShardRecord) -> None:
    """Put the record of a shard that has been read to its end."""
    known = ShardCounts(
        chunks=len(record.chunks),
        samples=record.samples,
        repeated=len(record.repeated),
        further=record.further,
        broken=bool(record.broken),
    )
    store.put(layout.shard_record(record.shard_id, known), record.to_json())


def counts(store: Store) -> dict[str, ShardCounts]:
    """By shard id what the records' names say: one listing, and nothing is read."""
    found = {}
    for entry in own_files.listed(store, layout.SHARDS):
        parsed = layout.parse_shard_record(entry.path.rpartition("/")[2])
        assert parsed is not None
        found[parsed[0]] = parsed[1]
    return found


def read(store: Store, shard_id: str, known: ShardCounts) -> ShardRecord:
    """The whole record of one shard. Raises UserError for one that cannot be read."""
    path = layout.shard_record(shard_id, known)
    return _parsed(store.get(path), store.url_of(path))


def read_all(store: Store) -> list[ShardRecord]:
    """All records, in no promised order."""
    names = [layout.shard_record(shard_id, known) for shard_id, known in counts(store).items()]
    records: list[ShardRecord] = []
    for start in range(0, len(names), _AT_ONCE):
        urls = [store.url_of(name) for name in names[start : start + _AT_ONCE]]
        records += map(_parsed, get_all(urls), urls)
    return records


def _parsed(body: bytes, name: str) -> ShardRecord:
    remedy = "remove it, and the next run reads the shard again"
    return ShardRecord.from_values(own_files.json_object(body, name, ("shard_id", "path", "samples", "chunks"), remedy))
