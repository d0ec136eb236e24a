"""Reading a compacted dataset chunk by chunk, and checking it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from clipseg_ray.results import compact_groups, layout
from clipseg_ray.results.compact_groups import Group
from clipseg_ray.results.parts import PartIndex
from clipseg_ray.storage import Store
from clipseg_ray.tables import parquet_table


class CompactedFiles:
    """The files of a compacted dataset, and which chunk's rows are in which. One file a folder is kept in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        groups, _ = compact_groups.read(store)
        listed = {entry.path for folder in {group.folder for group in groups} for entry in store.list(folder)}
        self.groups: tuple[Group, ...] = tuple(groups)
        self.missing: tuple[Group, ...] = tuple(group for group in groups if group.path not in listed)
        self._group_of = {
            (group.folder, *part.place): group for group in groups if group.path in listed for part in group.parts
        }
        self._kept: dict[str, tuple[str, tuple[str, ...] | None, pa.Table]] = {}

    def index(self) -> PartIndex:
        """The chunks whose rows are in some file, as if each were a part."""
        return PartIndex.of(self._group_of)

    def path(self, folder: str, shard_id: str, chunk: int) -> str:
        """The file that has a chunk's rows."""
        return self._group_of[folder, shard_id, chunk].path

    def chunk(
        self, shard_id: str, chunk: int, folders: Sequence[str], columns: Sequence[str]
    ) -> Iterator[pa.Table | None]:
        """A chunk's rows of ``images``, then ``columns`` of its rows in each folder of masks; None for what is not
        there."""
        images = self._file(layout.IMAGES, shard_id, chunk, None)
        if images is not None:
            own = pc.and_(pc.equal(images["shard"], shard_id), pc.equal(images["chunk"], chunk))
            images = images.filter(own)
        yield images
        for folder in folders:
            rows = self._file(folder, shard_id, chunk, tuple(columns))
            if rows is None or images is None:
                yield None
            else:
                yield rows.filter(pc.is_in(rows["image_id"], images["image_id"].combine_chunks()))

    def _file(self, folder: str, shard_id: str, chunk: int, columns: tuple[str, ...] | None) -> pa.Table | None:
        group = self._group_of.get((folder, shard_id, chunk))
        if group is None:
            return None
        path, had, table = self._kept.get(folder, ("", None, None))
        if (path, had) != (group.path, columns):
            self._kept.pop(folder, None)
            table = parquet_table(self._store.get(group.path), self._store.url_of(group.path), columns)
            self._kept[folder] = (group.path, columns, table)
        return table

    def images_of(self, places: Collection[tuple[str, int]]) -> list[pa.Table] | None:
        """The rows of ``images`` of each of these chunks; None where some are not there."""
        found = []
        for shard_id, chunk in places:
            images = next(self.chunk(shard_id, chunk, (), ()))
            if images is None:
                return None
            found.append(images)
        return found
