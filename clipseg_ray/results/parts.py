"""Parts: written whole, never rewritten, found again by listing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clipseg_ray.results import layout, schema
from clipseg_ray.storage import Store


def images_bytes(table: pa.Table, facts: dict[str, Any]) -> bytes:
    """One images part as a Parquet file: rows sorted by image_id as given, one row group."""
    return _parquet(table.cast(schema.IMAGES), "images", facts, schema.IMAGES_DICTIONARY)


def read_images(store: Store, shard_id: str, chunk: int) -> pa.Table:
    """An images part. Raises FileNotFoundError where there is none."""
    body = store.get(f"{layout.IMAGES}/{layout.part_name(shard_id, chunk)}")
    return pq.read_table(pa.BufferReader(body))


def masks_bytes(table: pa.Table, facts: dict[str, Any]) -> bytes:
    """One masks part as a Parquet file: rows sorted by (query_id, image_id), one row group."""
    ordered = table.cast(schema.masks("presence" in table.column_names, "heat" in table.column_names)).sort_by(
        [("query_id", "ascending"), ("image_id", "ascending")]
    )
    return _parquet(ordered, "masks", facts, schema.MASKS_DICTIONARY)


def _parquet(table: pa.Table, name: str, facts: dict[str, Any], dictionary: list[str]) -> bytes:
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        table.schema.with_metadata(schema.file_metadata(name, facts)),
        compression="zstd",
        compression_level=3,
        use_dictionary=dictionary,
        write_page_index=True,
        bloom_filter_options={"image_id": {"ndv": max(1, table.num_rows)}},
    ) as writer:
        writer.write_table(table, row_group_size=max(1, table.num_rows))
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
            for entry in store.list(folder):
                found = layout.parse_part_name(entry.path.rpartition("/")[2])
                if found is not None:
                    bits[found[0]] = bits.get(found[0], 0) | 1 << found[1]
        return index

    def bits(self, folder: str, shard_id: str) -> int:
        """The chunks present as an integer: bit i is chunk i."""
        return self._bits.get(folder, {}).get(shard_id, 0)

    def count(self, folder: str) -> int:
        """Parts in a folder."""
        return sum(bits.bit_count() for bits in self._bits.get(folder, {}).values())

    def shards(self, folder: str) -> Iterable[str]:
        """Shards that have a part in a folder."""
        return self._bits.get(folder, {}).keys()
