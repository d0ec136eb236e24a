"""What is left to do: by shard, and in sum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from clipseg_ray.results.completeness import Missing
from clipseg_ray.results.shard_records import ShardCounts
from clipseg_ray.results.unread import Unread
from clipseg_ray.sources.base import Shard


@dataclass(frozen=True)
class ShardWork:
    """What is still to be done in one shard.

    ``done``: for each wanted part folder the chunks it has, bit i for chunk i. ``known``: how many chunks there are,
    once the shard has been read to its end. ``only``: chunks to consider, None for all.
    """

    shard: Shard
    done: dict[str, int]
    known: ShardCounts | None = None
    only: frozenset[int] | None = None

    def lacking(self, chunk: int) -> tuple[str, ...]:
        """The folders in which this chunk has no part yet."""
        if self.only is not None and chunk not in self.only:
            return ()
        return tuple(folder for folder, bits in self.done.items() if not bits >> chunk & 1)

    @property
    def finished(self) -> int:
        """How many chunks have every part."""
        bits = -1
        for present in self.done.values():
            bits &= present
        return bits.bit_count()

    def missing(self) -> list[int] | None:
        """Chunks that lack a part; None while the shard has not been read to its end."""
        if self.known is None:
            return None
        every = (1 << self.known.chunks) - 1
        if self.only is None and all(bits & every == every for bits in self.done.values()):
            return []
        return [chunk for chunk in range(self.known.chunks) if self.lacking(chunk)]


@dataclass(frozen=True, kw_only=True)
class Work:
    """The chunks a run has to do, by shard, and what it need not.

    ``folders`` are the part folders every chunk must have. ``shards`` counts this driver's share of the shards,
    ``bytes`` theirs. ``chunks_known`` and ``images_known`` are those in shards read to their end; the others are
    ``unread`` and can only be estimated, by ``image_bytes`` an image. ``further``: images in tars that were not taken.
    """

    folders: tuple[str, ...]
    todo: tuple[ShardWork, ...]
    shards: int
    bytes: int
    chunks_known: int
    chunks_done: int
    images_known: int
    unread: Unread
    image_bytes: float
    further: int = 0

    @property
    def shards_unread(self) -> int:
        """Shards not yet read to their end."""
        return len(self.unread.bytes_n)

    @property
    def chunks_estimate(self) -> int:
        """All chunks, estimated where shards are unread."""
        return self.chunks_known + self.unread.chunks(self.image_bytes)

    @property
    def images_estimate(self) -> int:
        """All images, estimated where shards are unread."""
        return self.images_known + self.unread.images(self.image_bytes)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return not self.todo

    def missing(self) -> Iterator[Missing]:
        """What is left to do, by name; a shard that was never read to its end is one."""
        for item in self.todo:
            chunks = item.missing()
            if chunks is None:
                yield Missing(item.shard.path, item.shard.shard_id, None, ())
            for chunk in chunks or ():
                yield Missing(item.shard.path, item.shard.shard_id, chunk, item.lacking(chunk))

    @property
    def chunks_left(self) -> int:
        """Chunks still to do, estimated where shards are unread."""
        return self.chunks_estimate - self.chunks_done
