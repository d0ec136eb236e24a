"""Chunks to compute again though they are there: those with images that were not found, or given up as unreachable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from clipseg_ray.results import layout, reading
from clipseg_ray.sources.base import Shard
from clipseg_ray.storage import Store, plain_errors

_AT_ONCE = 16


@dataclass(frozen=True)
class Redo:
    """A chunk whose images part has ``images`` rows with status missing or unreachable; ``path`` is its shard's."""

    path: str
    shard_id: str
    chunk: int
    images: int

    def __str__(self) -> str:
        name = layout.part_name(self.shard_id, self.chunk)
        return f"{self.path}: chunk {self.chunk} ({name}): {self.images} image(s) not found or reached"


def find(store: Store, shards: Iterable[Shard]) -> list[Redo]:
    """The chunks of these shards with images that were not found or reached. Reads three columns of ``images``."""
    paths = {shard.shard_id: shard.path for shard in shards}
    with plain_errors(store.url), reading.connect(store) as connection:
        if not connection.execute("SELECT 1 FROM duckdb_views() WHERE view_name = 'images'").fetchall():
            return []
        rows = connection.execute(
            "SELECT shard, chunk, count(*) FROM images WHERE status IN ('missing', 'unreachable') "
            "GROUP BY 1, 2 ORDER BY 1, 2"
        ).fetchall()
    return [Redo(paths[shard], shard, chunk, images) for shard, chunk, images in rows if shard in paths]


def clear(store: Store, redo: Sequence[Redo], prompt_sets: Sequence[str]) -> None:
    """Remove the parts of these chunks: of every prompt set's masks first, then the images part.

    In this order a removal that is cut off leaves chunks that the next run finishes with the images they have: an
    images part without masks, or neither; never masks that an images part of another day belongs to.
    """

    def remove(item: Redo) -> None:
        name = layout.part_name(item.shard_id, item.chunk)
        for prompt_set in prompt_sets:
            store.delete(f"{layout.masks_folder(prompt_set)}/{name}")
        store.delete(f"{layout.IMAGES}/{name}")

    with plain_errors(store.url), ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(remove, redo):
            pass
