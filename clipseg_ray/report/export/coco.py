"""COCO instances JSON (https://cocodataset.org/#format-data): queries as categories, masks as RLE at image size."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from clipseg_ray import __version__
from clipseg_ray.masks import algebra
from clipseg_ray.redaction import redacted
from clipseg_ray.report.export.walk import Category, ExportChunk, Walk
from clipseg_ray.sources.formats import SOURCES
from clipseg_ray.storage import Store, plain_errors

ID_STRIDE = 10_000_000
"""An annotation's id is its image's id times this, plus its category's: it stays when images or queries are added."""


def write(walk: Walk, chunks: Iterable[ExportChunk], destination: str) -> str:
    """Write one JSON file, ``destination`` or ``instances.json`` in it; returns what was written, for a person.

    Masks on the model's grid are resized to the image, every pixel that of the nearest centre; area and box are those
    of the resized mask. Masks that are empty, before or after, are no annotations. Beside COCO's own keys, images
    have ``image_id`` and annotations ``score`` and ``score_mean``, as the masks table has them.
    """
    store, name = _target(destination)
    images = annotations = 0
    with tempfile.TemporaryDirectory() as folder, plain_errors(store.url):
        whole, part = Path(folder) / "instances.json", Path(folder) / "annotations.json"
        with whole.open("w", encoding="utf-8") as file, part.open("w", encoding="utf-8") as rest:
            info = {"description": f"CLIPSeg masks of {walk.store.url}", "version": walk.record.fingerprint}
            file.write(f'{{"info":{_json({**info, "contributor": f"clipseg-ray {__version__}"})},"licenses":[],')
            file.write('"images":[')
            for chunk in chunks:
                images += _append(file, _images(chunk, walk.record.input["format"]), first=images == 0)
                annotations += _append(rest, _annotations(chunk), first=annotations == 0)
            file.write('],"annotations":[')
            rest.close()
            with part.open(encoding="utf-8") as again:
                while block := again.read(2**20):
                    file.write(block)
            file.write(f'],"categories":{_json([_category(each) for each in walk.categories.values()])}}}')
        store.put_file(name, whole)
    return (
        f"wrote {store.url_of(name)}: {images:,} images, {annotations:,} annotations, "
        f"{len(walk.categories):,} categories"
    )


def _target(destination: str) -> tuple[Store, str]:
    if not destination.lower().endswith(".json"):
        return Store.of(destination), "instances.json"
    folder, _, name = Store.of(destination).url.rpartition("/")
    return Store.of(folder or "/"), name


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _append(file: IO[str], values: Iterator[dict[str, Any]], *, first: bool) -> int:
    count = 0
    for count, value in enumerate(values, 1):
        file.write(("" if first and count == 1 else ",\n") + _json(value))
    return count


def _images(chunk: ExportChunk, listing_format: str) -> Iterator[dict[str, Any]]:
    # Where the images are files of their own, the key is their path below the input's root: a loader finds them.
    file_name = "key" if SOURCES[listing_format].slices else "image_id"
    for row in chunk.images.select(["number", "image_id", "key", "source_url", "width", "height"]).to_pylist():
        yield {
            "id": row["number"],
            "width": row["width"],
            "height": row["height"],
            "file_name": row[file_name],
            "coco_url": redacted(row["source_url"]),
            "image_id": row["image_id"],
        }


def _annotations(chunk: ExportChunk) -> Iterator[dict[str, Any]]:
    masks = chunk.masks
    sizes = chunk.images.select(["number", "height", "width"]).take(masks["image"])
    counts = algebra.resize(masks["counts"], masks["height"], masks["width"], sizes["height"], sizes["width"])
    areas, boxes = algebra.area(counts), algebra.bbox(counts, sizes["height"])
    columns = pa.table(
        {
            "image": sizes["number"],
            "category": masks["category"],
            "height": sizes["height"],
            "width": sizes["width"],
            "counts": counts,
            "area": areas,
            "bbox": boxes,
            "score": masks["score"],
            "score_mean": masks["score_mean"],
        }
    )
    for row in columns.to_pylist():
        if row["area"] == 0:
            continue  # a mask so small that no pixel of a smaller image has its centre in it
        yield {
            "id": row["image"] * ID_STRIDE + row["category"],
            "image_id": row["image"],
            "category_id": row["category"],
            "segmentation": {"size": [row["height"], row["width"]], "counts": row["counts"]},
            "area": row["area"],
            "bbox": [row["bbox"][side] for side in "xywh"],
            "iscrowd": 0,
            "score": round(row["score"], 6),
            "score_mean": None if row["score_mean"] is None else round(row["score_mean"], 6),
        }


def _category(category: Category) -> dict[str, Any]:
    return {
        "id": category.number,
        "name": category.name,
        "supercategory": category.kind,
        "query_id": category.query_id,
        "words": category.words,
    }
