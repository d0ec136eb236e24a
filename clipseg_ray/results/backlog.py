"""How far each prompt set and each shard is, from a listing of every part, page by page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from clipseg_ray.results import inputs, layout, sets
from clipseg_ray.results import shard_records as shard_records
from clipseg_ray.results.parts import PartIndex
from clipseg_ray.storage import Store, plain_errors

SHARDS_NAMED = 1000


@dataclass(frozen=True)
class SetBacklog:
    """Parts of one prompt set. ``total``: chunks known so far, of which ``done`` have masks."""

    name: str
    queries: int
    done: int
    total: int


@dataclass(frozen=True)
class ShardBacklog:
    """A shard that is not finished. ``total`` is None until it has been read to its end; ``done`` chunks have every
    part."""

    path: str
    shard: str
    done: int
    total: int | None

    @property
    def left(self) -> float:
        """Chunks to do; endless while nobody knows."""
        return float("inf") if self.total is None else self.total - self.done


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """All of it. Shards are finished, under way (some part is there) or untouched; ``unread`` of them have not been
    read to their end, so that their chunks are counted only as far as they are done. ``chunks``: those known so far,
    of which ``images_parts`` have images.

    ``unfinished``: unfinished shards, those under way first, then those with the most to do; at most SHARDS_NAMED.
    ``disagreeing``: what ``agreement.disagreeing`` found, where it was asked.
    """

    shards: int
    finished: int
    under_way: int
    untouched: int
    unread: int
    chunks: int
    images_parts: int
    sets: tuple[SetBacklog, ...]
    unfinished: tuple[ShardBacklog, ...]
    disagreeing: tuple[str, ...] = ()

    @property
    def lacks(self) -> list[str]:
        """What is not there yet, a phrase each; empty for a complete dataset."""
        phrases = [f"{self.unread} of {self.shards} shards are not read to their end"] if self.unread else []
        done = {layout.IMAGES: self.images_parts} | {item.name: item.done for item in self.sets}
        return phrases + [
            f"{self.chunks - count} of {self.chunks} chunks lack {name}"
            for name, count in done.items()
            if count < self.chunks
        ]

    def as_json(self) -> dict[str, Any]:
        """JSON values; the keys are documented in docs/watching.md."""
        return asdict(self)


def read(output: str) -> Backlog:
    """List every part of the dataset at ``output`` (about one request per 1,000 on S3) and the shard records."""
    store = Store.of(output)
    with plain_errors(store.url):
        claimed = sets.read(store)
        folders = [layout.masks_folder(item.name) for item in claimed]
        index = PartIndex.listed(store, [layout.IMAGES, *folders])
        return of(store, index, {item.name: len(item.written) for item in claimed})


def of(store: Store, index: PartIndex, queries: Mapping[str, int]) -> Backlog:
    """The same from parts that have been listed. ``queries``: how many by prompt set, of the sets that count."""
    shards, _ = inputs.read(store)
    known = {shard_id: counts.chunks for shard_id, counts in shard_records.counts(store).items()}
    done_of = dict.fromkeys(queries, 0)
    total = images_parts = finished = under_way = untouched = 0
    unfinished = []
    for shard in shards:
        bits = {name: index.bits(layout.masks_folder(name), shard.shard_id) for name in queries}
        images = index.bits(layout.IMAGES, shard.shard_id)
        images_parts += images.bit_count()
        whole, some = images, images
        for name, present in bits.items():
            done_of[name] += present.bit_count()
            whole, some = whole & present, some | present
        chunks = known.get(shard.shard_id)
        total += some.bit_count() if chunks is None else chunks
        if whole.bit_count() == chunks:
            finished += 1
            continue
        under_way, untouched = (under_way + 1, untouched) if some else (under_way, untouched + 1)
        unfinished.append((not some, ShardBacklog(shard.path, shard.shard_id, whole.bit_count(), chunks)))
    unfinished.sort(key=lambda item: (item[0], -item[1].left, item[1].path))
    return Backlog(
        shards=len(shards),
        finished=finished,
        under_way=under_way,
        untouched=untouched,
        unread=sum(shard.shard_id not in known for shard in shards),
        chunks=total,
        images_parts=images_parts,
        sets=tuple(SetBacklog(name, count, done_of[name], total) for name, count in queries.items()),
        unfinished=tuple(item for _, item in unfinished[:SHARDS_NAMED]),
    )
