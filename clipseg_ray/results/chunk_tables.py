"""The tables of one chunk, wherever their rows lie: in parts of its own, or in files of many chunks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pyarrow as pa

from clipseg_ray.results import layout
from clipseg_ray.results.compacted import CompactedFiles
from clipseg_ray.results.parts import PartIndex
from clipseg_ray.results.record import DatasetRecord
from clipseg_ray.storage import Store, explain, get_many
from clipseg_ray.tables import parquet_table


class ChunkTables:
    """Chunks of a dataset, compacted or not."""

    def __init__(self, store: Store, made: DatasetRecord) -> None:
        self._store = store
        self._compacted = CompactedFiles(store) if "compacted" in made.masks else None

    def index(self, folders: Sequence[str]) -> PartIndex:
        """Which chunks there are in these folders."""
        return self._compacted.index() if self._compacted is not None else PartIndex.listed(self._store, folders)

    def sample(self, index: PartIndex, folders: Sequence[str], chunks: int) -> list[str]:
        """The files of the first ``chunks`` chunks by shard id, which is to say of any: shard ids are hashes."""
        paths: dict[str, None] = {}
        for folder in folders:
            for shard_id, chunk in itertools.islice(index.chunks(folder), chunks):
                own = f"{folder}/{layout.part_name(shard_id, chunk)}"
                paths[own if self._compacted is None else self._compacted.path(folder, shard_id, chunk)] = None
        return list(paths)

    def read(
        self, shard_id: str, chunk: int, folders: Sequence[str], columns: Sequence[str]
    ) -> Iterator[pa.Table | None]:
        """A chunk's ``images``, then ``columns`` of its rows in each folder of masks; None for what is not there.

        Raises UserError for storage that cannot be read.
        """
        if self._compacted is not None:
            yield from self._compacted.chunk(shard_id, chunk, folders, columns)
            return
        name = layout.part_name(shard_id, chunk)
        urls = [self._store.url_of(f"{folder}/{name}") for folder in (layout.IMAGES, *folders)]
        for place, (url, body) in enumerate(zip(urls, get_many(urls), strict=True)):
            if isinstance(body, FileNotFoundError):
                yield None
            elif isinstance(body, Exception):
                raise explain(body, self._store.url) or body
            else:
                yield parquet_table(body, url, columns if place else None)
