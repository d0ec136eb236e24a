"""Parts: written whole, never rewritten, found again by listing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clipseg_ray.results import layout, own_files, schema
from clipseg_ray.results.optional_columns import masks_schema
from clipseg_ray.storage import Store
from clipseg_ray.tables import read_parquet


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
