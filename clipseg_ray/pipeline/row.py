"""The one Arrow row in which a chunk travels from the reader to the Segmenter.

A chunk is one row so that no Ray Data operator can split or merge it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa

from clipseg_ray.pixels.viewed_images import ViewedImages

SCHEMA = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("chunk", pa.int32(), nullable=False),
        pa.field("folders", pa.list_(pa.string()), nullable=False),
        pa.field("images", pa.large_binary(), nullable=False),
        pa.field("pixels", pa.large_binary(), nullable=False),
        pa.field("tiles", pa.list_(pa.int64()), nullable=False),
        pa.field("large", pa.large_binary(), nullable=False),
        pa.field("phrases", pa.list_(pa.list_(pa.string())), nullable=False),
        pa.field("asked", pa.list_(pa.list_(pa.string()))),
        pa.field("read_s", pa.float64(), nullable=False),
        pa.field("decode_s", pa.float64(), nullable=False),
        pa.field("failure", pa.string()),
        pa.field("hosts_gone", pa.bool_(), nullable=False),
    ]
)


@dataclass(kw_only=True)
class ChunkRow:
    """A chunk between the two steps.

    ``folders``: the part folders this chunk lacks. ``images``: the images table of all its samples, in order.
    ``pixels``: one image per sample with status ok, in order; ``phrases``: for each of those
    the phrases that came with it (empty lists unless the run asks for them), ``asked`` the ids of the queries to put to
    it (None: all to each). ``failure``: set when reading failed for
    a passing reason; the other fields are then empty and ``chunk`` may be -1 for "the rest of the shard".
    ``hosts_gone``: the reason is images that cannot be had, though the network is there.
    """

    shard: str
    chunk: int
    folders: tuple[str, ...]
    images: pa.Table
    pixels: ViewedImages
    phrases: list[list[str]]
    asked: list[list[str]] | None = None
    read_s: float = 0.0
    decode_s: float = 0.0
    failure: str | None = None
    hosts_gone: bool = False

    def to_arrow(self) -> pa.Table:
        """One row; the pixels are not copied."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.images.schema) as stream:
            stream.write_table(self.images)
        columns = {
            "shard": [self.shard],
            "chunk": pa.array([self.chunk], pa.int32()),
            "folders": [list(self.folders)],
            "images": _binary(sink.getvalue()),
            "pixels": _binary(pa.py_buffer(np.ascontiguousarray(self.pixels.whole_bhwc).reshape(-1))),
            "tiles": pa.array([self.pixels.tiles_b], SCHEMA.field("tiles").type),
            "large": _binary(pa.py_buffer(self.pixels.large_n)),
            "phrases": pa.array([self.phrases], SCHEMA.field("phrases").type),
            "asked": pa.array([self.asked], SCHEMA.field("asked").type),
            "read_s": [self.read_s],
            "decode_s": [self.decode_s],
            "failure": pa.array([self.failure], pa.string()),
            "hosts_gone": [self.hosts_gone],
        }
        return pa.table(columns, schema=SCHEMA)

    @classmethod
    def from_arrow(cls, table: pa.Table, size: int) -> ChunkRow:
        """The chunk of a one-row table; ``pixels`` are read-only views of it, ``size`` pixels square."""
        if table.num_rows != 1:
            raise AssertionError(f"a chunk travels as one row, got {table.num_rows}: the block settings are wrong")
        value: dict[str, Any] = {
            name: table.column(name)[0].as_py()
            for name in ("shard", "chunk", "folders", "phrases", "asked", "read_s", "decode_s", "failure", "hosts_gone")
        }
        whole_bhwc, large_n = (np.frombuffer(_buffer(table.column(name)), np.uint8) for name in ("pixels", "large"))
        tiles_b = np.array(table.column("tiles")[0].as_py(), np.int64)
        pixels = ViewedImages(whole_bhwc.reshape(-1, size, size, 3), tiles_b, large_n)
        images = pa.ipc.open_stream(_buffer(table.column("images"))).read_all()
        folders = tuple(value.pop("folders"))
        return cls(**value, folders=folders, images=images, pixels=pixels)


def _binary(buffer: pa.Buffer) -> pa.Array:
    offsets = pa.py_buffer(np.array([0, buffer.size], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, buffer])


def _buffer(column: pa.ChunkedArray) -> pa.Buffer:
    return cast(pa.Buffer, column[0].as_buffer())
