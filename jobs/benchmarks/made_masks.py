"""Datasets of made-up masks, as runs write them: blobs on a 22×22 grid of tokens, half of the masks empty."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from clipseg_ray.masks.columns import columns
from clipseg_ray.masks.resize import encode_at_size
from clipseg_ray.queries.prompt_set import PromptSet
from clipseg_ray.queries.table import load_queries
from clipseg_ray.results import layout, parts, record, schema
from clipseg_ray.results.record import DatasetRecord
from clipseg_ray.storage import Store

GRID = 352
CHUNK_IMAGES = 64
COMPACT_GROUP_ROWS = 65_536
_TOKENS = 22
_SHARD_CHUNKS = 16


def write(folder: Path, rows: int, seed: int = 0) -> None:
    """At least ``rows`` masks of 80 queries (`builtin:coco_objects`) in parts of 64 images, with images and queries.

    No image lies behind it. A 64th of the images has nothing found.
    """
    store = Store.of(str(folder))
    rng = np.random.default_rng(seed)
    queries = load_queries("builtin:coco_objects", None, 0.5)
    prompt_set = PromptSet.of(queries, rng.normal(size=(len(queries), 512)).astype(np.float32))
    store.put(layout.queries_file(prompt_set.name), _parquet(prompt_set.to_table()))
    made = DatasetRecord(
        input={"root": "", "format": "images", "image_field": None, "id_field": None},
        model={"grid": [GRID, GRID]},
        masks={"size": "model", "keep_empty": True},
        compute={},
    )
    record.create(store, made)
    for number in range(-(-rows // (CHUNK_IMAGES * len(queries)))):
        shard, chunk = f"{number // _SHARD_CHUNKS:016x}", number % _SHARD_CHUNKS
        name = layout.part_name(shard, chunk)
        images = _images(shard, chunk)
        facts = {"fingerprint": made.fingerprint, parts.IMAGES_HASH: parts.hash_of_images(images)}
        store.put(f"{layout.IMAGES}/{name}", parts.images_bytes(images, facts))
        masks = _masks(images.column("image_id").combine_chunks(), prompt_set, rng)
        store.put(f"{layout.masks_folder(prompt_set.name)}/{name}", parts.masks_bytes(masks, facts))


def write_compact(parts_folder: Path, folder: Path) -> None:
    """The same masks as one file sorted by query and image, in row groups of 65,536."""
    for name in (layout.IMAGES, layout.QUERIES):
        shutil.copytree(parts_folder / name, folder / name)
    (source,) = (parts_folder / layout.MASKS).iterdir()
    (folder / layout.MASKS / source.name).mkdir(parents=True)
    table = ds.dataset(source).to_table().sort_by([("query_id", "ascending"), ("image_id", "ascending")])
    pq.write_table(
        table,
        folder / layout.MASKS / source.name / layout.part_name(16 * "0", 0),  # readers look at names of parts alone
        row_group_size=COMPACT_GROUP_ROWS,
        compression="zstd",
        use_dictionary=schema.MASKS_DICTIONARY,
        write_page_index=True,
    )
    shutil.copy(parts_folder / layout.DATASET, folder / layout.DATASET)


def _images(shard: str, chunk: int) -> pa.Table:
    keys = [f"{chunk * CHUNK_IMAGES + index:06d}" for index in range(CHUNK_IMAGES)]
    path = f"train-{int(shard, 16):05d}.tar"
    size = len(keys)
    return pa.table(
        {
            "image_id": [f"{path}/{key}" for key in keys],
            "key": keys,
            "shard": [shard] * size,
            "chunk": pa.array([chunk] * size, pa.int32()),
            "source_url": [f"s3://bucket/{path}"] * size,
            "offset": pa.array(np.arange(size) * 150_000),
            "length": pa.array([140_000] * size),
            "width": pa.array([640] * size, pa.int32()),
            "height": pa.array([480] * size, pa.int32()),
            "orientation": pa.array([1] * size, pa.int8()),
            "status": ["ok"] * size,
            "error": pa.nulls(size, pa.string()),
        },
        schema=schema.IMAGES,
    )


def _masks(image_ids: pa.Array, prompt_set: PromptSet, rng: np.random.Generator) -> pa.Table:
    query_ids = [query.query_id for query in prompt_set.queries]
    images, queries = len(image_ids), len(query_ids)
    rows = images * queries
    found = (rng.random((images, queries)) < 0.5) & (np.arange(images) != 7)[:, None]
    logits_pwh = np.concatenate([*_fields(found.reshape(-1), rng)])
    rles = encode_at_size(logits_pwh, GRID, GRID, np.zeros(rows, np.float32))
    size = np.full(rows, GRID, np.int32)
    probability_sum_p = rles.area * rng.uniform(0.6, 0.95, rows)
    return pa.table(
        {
            "image_id": image_ids.take(pa.array(np.repeat(np.arange(images), queries))),
            "query_id": pa.array(query_ids).take(pa.array(np.tile(np.arange(queries), images))),
            "query_text": pa.nulls(rows, pa.string()),
            **columns(rles, GRID, GRID, logits_pwh.max((1, 2)), probability_sum_p.astype(np.float32)),
            "height": size,
            "width": size,
            "image_height": np.full(rows, 480, np.int32),
            "image_width": np.full(rows, 640, np.int32),
            "prompt_set": pa.repeat(prompt_set.name, rows),
        }
    ).select(schema.MASKS.names)


def _fields(found_p: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """float32 [n, tokens, tokens] at a time: up to three blobs and noise; not above 0 where nothing is found."""
    place = (np.arange(_TOKENS) + 0.5) / _TOKENS
    for start in range(0, len(found_p), 1024):
        here_p = found_p[start : start + 1024]
        field = rng.normal(0, 0.8, (len(here_p), _TOKENS, _TOKENS)) - 3.0
        for _ in range(3):
            x, y = rng.uniform(0, 1, (2, len(here_p), 1))
            wide, high = rng.uniform(0.03, 0.22, (2, len(here_p), 1))
            bump = rng.uniform(0, 5.5, (len(here_p), 1, 1))
            across = np.exp(-(((place - x) / wide) ** 2))
            field += bump * across[:, :, None] * np.exp(-(((place - y) / high) ** 2))[:, None, :]
        top_p = field.max((1, 2))
        some_p, none_p = rng.uniform(0.05, 3, len(here_p)), rng.uniform(-4, -0.05, len(here_p))
        wanted_p = np.where(here_p, np.maximum(top_p, some_p), none_p)
        field += (wanted_p - top_p)[:, None, None]
        yield field.astype(np.float32)


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())
