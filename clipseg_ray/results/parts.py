"""Parts: written whole, put where none is, never rewritten, found again by listing."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clipseg_ray.errors import UserError, brief
from clipseg_ray.results import layout, own_files, schema
from clipseg_ray.results.optional_columns import masks_schema
from clipseg_ray.storage import Entry, Store, get_ranges
from clipseg_ray.tables import read_parquet

_TAIL_BYTES = 2**15
"""The end of a part that has its metadata, as long as its row groups are few."""


class Occupied(UserError):
    """Where a part was to be put there is one with other rows."""


def put(store: Store, path: str, body: bytes) -> None:
    """Put a part where none is. One that is there with the same rows, images and settings is taken for this one.

    So a put whose answer was lost, and two workers with one chunk, come to the same; and a worker that was frozen and
    wakes up overwrites nothing. Only an object of no bytes, which a crash can leave, gives way. Raises Occupied.
    """
    try:
        store.create(path, body)
        return
    except FileExistsError:
        there: bytes | None = store.get(path)
    except Exception:
        there = None
        with contextlib.suppress(Exception):
            there = store.get(path)
        if not there:  # it was not the answer that was lost
            raise
    if not there:
        store.delete(path)
        with contextlib.suppress(FileExistsError):
            store.create(path, body)
            return
        there = store.get(path)
    if there != body and (why := _difference(there, body)):
        name = path.rpartition("/")[2]
        raise Occupied(
            f"{store.url_of(path)}: another run has put this part, and {why}; it was left as it is. To have the chunk "
            f"computed anew remove {name} from every folder of {layout.MASKS}/, then from {layout.IMAGES}/; run again"
        )


def _difference(there: bytes, body: bytes) -> str | None:
    """How a part that is there differs from the one that was to be put; None where only its bytes do."""
    try:
        theirs = read_parquet(there)
    except (pa.ArrowException, OSError) as error:
        return f"it cannot be read ({brief(error, 200)})"
    ours = read_parquet(body)
    facts, own_facts = schema.facts_of(theirs.schema), schema.facts_of(ours.schema)
    for name, what in (("fingerprint", "made with other settings"), (IMAGES_HASH, "of other images or statuses")):
        if facts.get(name) != own_facts.get(name):
            return f"it is {what} ({name} {facts.get(name)}, here {own_facts.get(name)})"
    return None if theirs.equals(ours) else "it has other rows"


IMAGES_HASH = "images_hash"
"""The fact under which each part of a chunk says which images with which statuses it is of."""


def hash_of_images(images: pa.Table) -> str:
    """16 hex digits over (image_id, status) of rows of ``images``, in their order."""
    digest = hashlib.sha256()
    for image_id, status in zip(
        images.column("image_id").to_pylist(), images.column("status").to_pylist(), strict=True
    ):
        digest.update(f"{image_id}\0{status}\n".encode())
    return digest.hexdigest()[:16]


def joined_hash(hashes: Iterable[str]) -> str:
    """The same for the images of several chunks, from each chunk's, in their order."""
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:16]


def images_bytes(table: pa.Table, facts: dict[str, Any], group_rows: int | None = None) -> bytes:
    """One images file: rows as given, in row groups of ``group_rows`` (one of all rows where it is None)."""
    return _parquet(table.cast(schema.IMAGES), "images", facts, schema.IMAGES_DICTIONARY, group_rows)


def masks_bytes(table: pa.Table, facts: dict[str, Any], group_rows: int | None = None) -> bytes:
    """One masks file: rows sorted by (query_id, image_id), in row groups of ``group_rows``."""
    return _parquet(in_order(table), "masks", facts, schema.MASKS_DICTIONARY, group_rows)


def read_images(store: Store, shard_id: str, chunk: int) -> pa.Table:
    """An images part. Raises FileNotFoundError where there is none."""
    body = store.get(f"{layout.IMAGES}/{layout.part_name(shard_id, chunk)}")
    return read_parquet(body)


def read_facts(store: Store, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """What the metadata of listed parts says, from the end of each alone; empty for one that cannot be read."""
    tails = get_ranges([(store.url_of(entry.path), max(0, entry.size - _TAIL_BYTES), entry.size) for entry in entries])
    return [
        {} if isinstance(tail, Exception) else _facts(store, entry, tail)
        for entry, tail in zip(entries, tails, strict=True)
    ]


def _facts(store: Store, entry: Entry, tail: bytes) -> dict[str, Any]:
    footer = int.from_bytes(tail[-8:-4], "little") + 8
    try:
        body = tail if footer <= len(tail) else store.get(entry.path)
        return schema.facts_of(pq.read_schema(pa.BufferReader(body)))
    except (pa.ArrowException, OSError):
        return {}


def in_order(table: pa.Table) -> pa.Table:
    """Rows of masks as a file has them: with the schema's columns, sorted by (query_id, image_id)."""
    keys = table.select(["query_id", "image_id"])
    order = pc.sort_indices(keys, sort_keys=[("query_id", "ascending"), ("image_id", "ascending")])
    ordered = table if _is_in_order(order) else table.take(order)
    return ordered.cast(masks_schema(table.column_names))


def _is_in_order(order: pa.Array) -> bool:
    places = order.to_numpy()
    return bool((places[1:] > places[:-1]).all())


def _parquet(table: pa.Table, name: str, facts: dict[str, Any], dictionary: list[str], group_rows: int | None) -> bytes:
    group_rows = group_rows or max(1, table.num_rows)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        table.schema.with_metadata(schema.file_metadata(name, facts)),
        compression="zstd",
        compression_level=3,
        use_dictionary=dictionary,
        write_page_index=True,
        write_page_checksum=True,
        bloom_filter_options={"image_id": {"ndv": min(group_rows, max(1, table.num_rows))}},
    ) as writer:
        writer.write_table(table, row_group_size=group_rows)
    return bytes(sink.getvalue())


class PartIndex:
    """Which parts exist: for each folder and shard the chunks present, one bit per chunk."""

    def __init__(self) -> None:
        self._bits: dict[str, dict[str, int]] = {}

    @classmethod
    def listed(cls, store: Store, folders: Iterable[str]) -> PartIndex:
        """List the given folders of a dataset (about one request per 1,000 parts on S3)."""
        index = cls()
        for folder in folders:
            bits = index._bits.setdefault(folder, {})
            for entry in own_files.listed(store, folder):
                found = layout.parse_part_name(entry.path.rpartition("/")[2])
                if found is not None:
                    bits[found[0]] = bits.get(found[0], 0) | 1 << found[1]
        return index

    @classmethod
    def of(cls, chunks: Iterable[tuple[str, str, int]]) -> PartIndex:
        """An index of these (folder, shard_id, chunk)."""
        index = cls()
        for folder, shard_id, chunk in chunks:
            bits = index._bits.setdefault(folder, {})
            bits[shard_id] = bits.get(shard_id, 0) | 1 << chunk
        return index

    def bits(self, folder: str, shard_id: str) -> int:
        """The chunks present as an integer: bit i is chunk i."""
        return self._bits.get(folder, {}).get(shard_id, 0)

    def count(self, folder: str) -> int:
        """Parts in a folder."""
        return sum(bits.bit_count() for bits in self._bits.get(folder, {}).values())

    def chunks(self, folder: str) -> Iterator[tuple[str, int]]:
        """(shard_id, chunk) of the parts in a folder, in order."""
        for shard_id, bits in sorted(self._bits.get(folder, {}).items()):
            for chunk in range(bits.bit_length()):
                if bits >> chunk & 1:
                    yield shard_id, chunk
