"""What keeps a dataset that has every chunk from being what was asked for."""

from __future__ import annotations

from collections.abc import Collection

from clipseg_ray.results import inputs, layout, own_files, reading, shard_records
from clipseg_ray.results.completeness import NAMED, check_ids, named
from clipseg_ray.storage import Store, plain_errors

COUNTED_CHUNKS = 2_000
"""Of more chunks the statuses are not counted: nobody waits for that to be told there is nothing to do."""


def unsound(store: Store, listed: Collection[str]) -> str | None:
    """The lines that name it: image ids that repeat, shards of which nothing could be read, no image at all.

    ``listed``: paths of the input as it is now; a broken shard that is no more in it is not spoken of.
    """
    if repeated := check_ids(store):
        return repeated
    with plain_errors(store.url):
        known_of = shard_records.counts(store)
        if known_of and not any(known.samples for known in known_of.values()):
            return f"The input holds no image: {len(known_of)} shard(s) were read to their end, and none has any"
        broken = {shard_id: known for shard_id, known in known_of.items() if known.broken}
        if not broken:
            return None
        there = [shard for shard in inputs.read(store)[0] if shard.shard_id in broken and shard.path in listed]
        if not there:
            return None
        causes = [shard_records.read(store, each.shard_id, broken[each.shard_id]).broken for each in there[:NAMED]]
    more = [f"… and {len(there) - NAMED} more"] if len(there) > NAMED else []
    return (
        f"Every chunk is written, but {len(there)} of {len(known_of)} shard(s) could not be read at all:\n"
        f"{named([*causes, *more], NAMED + 1)}\n"
        "  Put whole ones beside them under other names, take these away, and run again."
    )


def statuses(store: Store) -> dict[str, int]:
    """Images by status; empty for a dataset of more than ``COUNTED_CHUNKS``."""
    chunks = sum(1 for _ in own_files.listed(store, layout.IMAGES))
    if not 0 < chunks <= COUNTED_CHUNKS:
        return {}
    with plain_errors(store.url), reading.connect(store) as connection:
        return dict(connection.execute("SELECT status, count(*) FROM images GROUP BY 1").fetchall())
