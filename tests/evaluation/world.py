"""Small truth shards, and the configuration of small evaluations."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pycocotools import mask as coco

from clipseg_ray.demo.scenes import scene
from clipseg_ray.demo.shards import sidecar
from clipseg_ray.queries.prompt_set import PromptSet
from clipseg_ray.queries.query import Query
from clipseg_ray.results import layout, parts, record, schema
from clipseg_ray.storage import Store
from tests.tars import tar_of

SIDE = 96


def rle(mask_hw: np.ndarray) -> str:
    """COCO's compressed run lengths."""
    return coco.encode(np.asfortranarray(mask_hw.astype(np.uint8)))["counts"].decode()


def noise(seed: int, height: int = SIDE, width: int = SIDE) -> bytes:
    """A JPEG of soft noise."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    sink = io.BytesIO()
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(sink, "JPEG")
    return sink.getvalue()


def entry(query_id: str, mask_hw: np.ndarray, kind: str = "object", texts: Sequence[str] = ()) -> dict[str, Any]:
    """One true mask as a truth shard has it."""
    return {"query_id": query_id, "kind": kind, "texts": list(texts or [query_id]), "counts": rle(mask_hw)}


def box(top: int, left: int, height: int, width: int, shape: tuple[int, int] = (SIDE, SIDE)) -> np.ndarray:
    """A mask that is a rectangle."""
    mask_hw = np.zeros(shape, bool)
    mask_hw[top : top + height, left : left + width] = True
    return mask_hw


def write(url: str, samples: Sequence[tuple[str, bytes, dict[str, Any]]], name: str = "s-000.tar") -> str:
    """One truth shard of (key, JPEG, JSON)."""
    members = [
        (f"{key}.{extension}", data)
        for key, image, truth in samples
        for extension, data in (("jpg", image), ("json", json.dumps(truth).encode()))
    ]
    Store.of(url).put(name, tar_of(members))
    return url


def write_scenes(url: str, *, shards: int, images: int, seed: int, side: int = SIDE) -> str:
    """Shards of the demo's scenes, of so many pixels on the side."""
    for shard in range(shards):
        found = [scene(seed + shard * images + i, side) for i in range(images)]
        write(url, [(f"{i:03d}", one.jpeg, sidecar(one)) for i, one in enumerate(found)], f"s-{shard:03d}.tar")
    return url


def settings(folder: Path, checkpoint: Path, **changes: Any) -> dict[str, Any]:
    """An evaluation of a model on scenes under ``folder``."""
    return {
        "truth": {"test": str(folder / "test"), "tune": str(folder / "tune")},
        "tune": "tune",
        "model": {"checkpoint": str(checkpoint), "precision": "fp32"},
        "rows": [{"name": "objects", "kinds": ["object"]}],
        "output": {"url": str(folder / "out")},
        "workers": {"max": 1},
        **changes,
    }


def write_masks(
    folder: Path,
    queries: Sequence[Query],
    rows: Sequence[tuple[str, str, float, np.ndarray]],
    images: Sequence[str],
    root: Path,
) -> str:
    """A masks dataset in which each (key, query_id, score, mask) stands, of the images ``images`` under ``root``."""
    store = Store.of(str(folder / "masks"))
    settings = {"root": str(root), "id_field": None}
    made = record.DatasetRecord(input=settings, model={}, masks={"keep_empty": True}, compute={})
    record.create(store, made)
    prompt_set = PromptSet.of(queries, np.zeros((len(queries), 4)))
    sink = pa.BufferOutputStream()
    pq.write_table(prompt_set.to_table(), sink)
    store.put(layout.queries_file(prompt_set.name), bytes(sink.getvalue()))
    about = {"shard": "0" * 16, "chunk": 0, "source_url": "x", "status": "ok"}
    found = [{"image_id": f"s-000.tar/{key}", "key": key, **about} for key in images]
    name = layout.part_name("0" * 16, 0)
    images = pa.Table.from_pylist(found, schema.IMAGES)
    facts = {"fingerprint": made.fingerprint, parts.IMAGES_HASH: parts.hash_of_images(images)}
    store.put(f"images/{name}", parts.images_bytes(images, facts))
    values = [
        {
            "image_id": f"s-000.tar/{key}",
            "query_id": query_id,
            "prompt_set": prompt_set.name,
            "score": score,
            "area": int(mask_hw.sum()),
            "coverage": float(mask_hw.mean()),
            "bbox": {"x": 0, "y": 0, "w": 0, "h": 0},
            "height": mask_hw.shape[0],
            "width": mask_hw.shape[1],
            "counts": rle(mask_hw),
            "image_height": SIDE,
            "image_width": SIDE,
        }
        for key, query_id, score, mask_hw in rows
    ]
    body = parts.masks_bytes(pa.Table.from_pylist(values, schema.MASKS), facts)
    store.put(f"{layout.masks_folder(prompt_set.name)}/{name}", body)
    return store.url
