"""``_compact/`` of a compacted dataset: which parts went into which file, frozen by exclusive create.

A group's name is a hash of the parts it is made of, and its file is named by it: the same parts give the same file,
and a group is done if and only if its file is listed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from clipseg_ray.results import layout, own_files
from clipseg_ray.storage import Entry, Store
from clipseg_ray.tables import parquet_bytes, parquet_table

_SCHEMA = pa.schema(
    [("folder", pa.string()), ("group", pa.string()), ("path", pa.string()), ("size", pa.int64()), ("tag", pa.int64())]
)
_DROPPED = b"clipseg-ray dropped groups"


@dataclass(frozen=True, slots=True)
class Part:
    """A part as it was listed; ``tag`` is a 63-bit hash of its etag."""

    path: str
    size: int
    tag: int

    @classmethod
    def of(cls, entry: Entry) -> Part:
        """The part that a listing shows."""
        digest = hashlib.blake2b(entry.etag.encode(), digest_size=8).digest()
        return cls(entry.path, entry.size, int.from_bytes(digest, "big") >> 1)

    @property
    def place(self) -> tuple[str, int]:
        """(shard_id, chunk)."""
        place = layout.parse_part_name(self.path.rpartition("/")[2])
        assert place is not None
        return place


@dataclass(frozen=True, slots=True)
class Group:
    """The parts of one folder that go into one file, in order."""

    folder: str
    name: str
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, folder: str, parts: Sequence[Part]) -> Group:
        """The group of these parts."""
        digest = hashlib.sha256(json.dumps([(part.path, part.size, part.tag) for part in parts]).encode())
        return cls(folder, digest.hexdigest()[:16], tuple(parts))

    @property
    def path(self) -> str:
        """Its file."""
        return layout.compact_file(self.folder, self.name)


def read(store: Store) -> tuple[list[Group], int]:
    """The groups that count, in the order they were frozen, and the number the next addition will carry."""
    names = own_files.numbered(store, layout.COMPACT)
    groups: dict[tuple[str, str], Group] = {}
    for name in names:
        table = parquet_table(store.get(name), store.url_of(name), _SCHEMA.names)
        for folder, group in json.loads(table.schema.metadata[_DROPPED]):
            del groups[folder, group]
        parts: dict[tuple[str, str], list[Part]] = {}
        for batch in table.to_batches(max_chunksize=65_536):
            for folder, group, *part in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                parts.setdefault((folder, group), []).append(Part(*part))
        groups |= {key: Group(*key, tuple(found)) for key, found in parts.items()}
    return list(groups.values()), len(names)


def freeze(store: Store, number: int, new: Iterable[Group], dropped: Iterable[Group]) -> None:
    """Add groups and drop others. Raises FileExistsError where another process was faster."""
    rows = [(group.folder, group.name, part.path, part.size, part.tag) for group in new for part in group.parts]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in _SCHEMA]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
    names = json.dumps([(group.folder, group.name) for group in dropped]).encode()
    table = pa.table(arrays, schema=_SCHEMA.with_metadata({_DROPPED: names}))
    store.create(layout.compact_groups(number), parquet_bytes(table))


def cut(folder: str, parts: Sequence[Part], group_bytes: float) -> list[Group]:
    """Parts in groups of about ``group_bytes``; what is left at the end and small joins the last one."""
    groups: list[list[Part]] = []
    size = group_bytes
    for part in parts:
        if size >= group_bytes:
            groups.append([])
            size = 0
        groups[-1].append(part)
        size += part.size
    if len(groups) > 1 and size < group_bytes / 2:
        last = groups.pop()
        groups[-1] += last
    return [Group.of(folder, group) for group in groups]
