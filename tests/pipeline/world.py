"""Small inputs for whole runs, and ways to look at what a run left behind."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from benchmarks.drawings import draw
from clipseg_ray import config
from clipseg_ray.pipeline import driver
from clipseg_ray.pipeline.outcome import Outcome
from clipseg_ray.pipeline.work import ShardWork, Work
from clipseg_ray.results.unread import Unread
from clipseg_ray.sources.base import Member, Shard
from clipseg_ray.storage import Store
from tests.tars import tar_of

QUERIES = [("circle", "a red circle"), ("sit", "something to sit on"), ("wheels", "has wheels")]


def jpeg(seed: int, width: int = 120, height: int = 90) -> bytes:
    """One drawn image."""
    sink = io.BytesIO()
    draw(seed, width=max(width, 200), height=max(height, 180))[0].resize((width, height)).save(sink, "JPEG")
    return sink.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes that declares 60,000 × 60,000 pixels."""

    def piece(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + piece(b"IHDR", header) + piece(b"IDAT", zlib.compress(b"\0")) + piece(b"IEND", b"")


def write_tars(url: str, shards: int = 2, images: int = 5, first: int = 0) -> None:
    """``shards`` tars of ``images`` images each."""
    store = Store.of(url)
    for shard in range(first, first + shards):
        files = {f"{shard}-{i:03d}.jpg": jpeg(shard * 1000 + i) for i in range(images)}
        store.put(f"s-{shard:03d}.tar", tar_of(files))


def divide(folder: Path) -> None:
    """Give the shards times by which both halves of ``input.part`` have some: their ids go by them."""
    for seconds in itertools.count(1):
        for path in folder.iterdir():
            os.utime(path, (seconds, seconds))
        ids = [Shard.of_object(Member(each.path, each.size, each.etag)).shard_id for each in Store(str(folder)).list()]
        if len({int(shard_id, 16) % 2 for shard_id in ids}) == 2:
            return


def work(*todo: ShardWork, chunks: int = 0, unread: int = 0) -> Work:
    """Work on these shards: ``chunks`` known ones, and ``unread`` shards of one image each beside them."""
    one = [Shard.of_slice([Member(f"{number}.jpg")]) for number in range(unread)]
    return Work(
        folders=(),
        todo=todo,
        shards=len(todo) + unread,
        bytes=0,
        chunks_known=chunks,
        chunks_done=0,
        images_known=0,
        unread=Unread.of(one, [0] * unread),
        image_bytes=100_000.0,
    )


def write_table(path: Path, queries: Sequence[tuple[str, str]] = tuple(QUERIES), **columns: Sequence[Any]) -> str:
    """A query table as JSON lines."""
    rows = [{"query_id": query_id, "text": text, "kind": "object"} for query_id, text in queries]
    for name, values in columns.items():
        rows = [{**row, name: value} for row, value in zip(rows, values, strict=True)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def settings(source: str, output: str, checkpoint: Path, table: str, **sections: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration for a small run; keyword sections override."""
    values: dict[str, Any] = {
        "input": {"url": source, "chunk_images": 2},
        "output": {"url": output},
        "model": {"checkpoint": str(checkpoint), "precision": "fp32"},
        "queries": {"table": table},
        "pool": {"max": 1},
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return values


def run(values: Mapping[str, Any]) -> Outcome:
    """The whole run in this process."""
    return driver.run(config.parse(values))


def masks(output: str) -> pa.Table:
    """The masks table, sorted, read with pyarrow alone."""
    store = Store.of(output)
    table = ds.dataset(store.full("masks"), filesystem=store.fs).to_table()
    return table.sort_by([("query_id", "ascending"), ("image_id", "ascending")])


def images(output: str) -> pa.Table:
    """The images table, sorted."""
    store = Store.of(output)
    return ds.dataset(store.full("images"), filesystem=store.fs).to_table().sort_by("image_id")


def digests(output: str, folder: str) -> dict[str, str]:
    """Every part under a folder and what is in it."""
    store = Store.of(output)
    return {entry.path: hashlib.sha256(store.get(entry.path)).hexdigest() for entry in store.list(folder)}
