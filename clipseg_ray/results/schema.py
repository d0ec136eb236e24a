"""Every column of the output tables, as explicit Arrow schemas with a description per column.

``counts`` is COCO's compressed RLE (pycocotools ``maskApi.c``): column-major runs, beginning with background; with
``height`` and ``width`` it is exactly pycocotools' ``{"size": [height, width], "counts": counts}``.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from clipseg_ray.masks.arrow import BBOX

SCHEMA_VERSION = 2
METADATA_KEY = b"clipseg-ray"
"""The file metadata key under which a part explains itself, as JSON (as GeoParquet does under ``geo``)."""


def field(name: str, kind: pa.DataType, doc: str, nullable: bool = False) -> pa.Field:
    """A field that says what it is."""
    return pa.field(name, kind, nullable=nullable, metadata={"description": doc})


IMAGES = pa.schema(
    [
        field("image_id", pa.string(), "the image's name in every table: <shard path>/<key>, or input.id_field"),
        field("key", pa.string(), "the sample's key in its shard: tar key, row index, relative path or URL"),
        field("shard", pa.string(), "shard_id of the shard that holds the image"),
        field("chunk", pa.int32(), "index of the chunk in the shard"),
        field("source_url", pa.string(), "the object that holds the encoded image"),
        field("offset", pa.int64(), "where in it: byte offset in a tar, row index in a Parquet file", True),
        field("length", pa.int64(), "bytes of the encoded image", True),
        field("width", pa.int32(), "pixels, after EXIF orientation", True),
        field("height", pa.int32(), "pixels, after EXIF orientation", True),
        field("orientation", pa.int8(), "EXIF orientation as found, 1 to 8; 1 means none was applied", True),
        field(
            "status",
            pa.string(),
            "ok, or why there are no masks: empty, undecodable, too_large, missing, truncated, unreachable",
        ),
        field("error", pa.string(), "the same for a person", True),
    ]
)

MASKS = pa.schema(
    [
        field("image_id", pa.string(), "see images"),
        field("query_id", pa.string(), "see queries"),
        field("query_text", pa.string(), "the phrase, where it came with the image; else null: see queries", True),
        field("score", pa.float32(), "greatest probability on the model's grid"),
        field("score_mean", pa.float32(), "mean probability inside the mask on the model's grid; null if empty", True),
        field("area", pa.int64(), "pixels of the mask"),
        field("coverage", pa.float32(), "area / (height * width)"),
        field("bbox", BBOX, "the mask's box in grid pixels: x, y, w, h as COCO; zeros if empty"),
        field("height", pa.int32(), "rows of the mask grid"),
        field("width", pa.int32(), "columns of the mask grid"),
        field("counts", pa.string(), "COCO compressed RLE, column-major"),
        field("image_height", pa.int32(), "rows of the image after EXIF orientation"),
        field("image_width", pa.int32(), "columns of the image after EXIF orientation"),
        field("prompt_set", pa.string(), "the set of queries it was computed with: see queries"),
    ]
)

MASKS_DICTIONARY = [
    "image_id", "query_id", "query_text", "height", "width", "image_height", "image_width", "prompt_set",
]  # fmt: skip
"""Columns that repeat; ``counts`` never does, and a dictionary only costs it."""

IMAGES_DICTIONARY = ["shard", "source_url", "status", "error", "chunk"]


def facts_of(file_schema: pa.Schema) -> dict[str, Any]:
    """What a part's metadata says beyond what every part of its table says; empty for a file without it."""
    about = json.loads((file_schema.metadata or {}).get(METADATA_KEY, b"{}"))
    return {key: value for key, value in about.items() if key not in ("schema_version", "table", "mask_encoding")}


def file_metadata(table: str, facts: dict[str, Any]) -> dict[bytes, bytes]:
    """The metadata of one part: what the table is, how masks are encoded, and the facts given (JSON values)."""
    about: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "table": table, **facts}
    if table == "masks":
        about["mask_encoding"] = {
            "column": "counts",
            "encoding": "COCO compressed RLE",
            "order": "column-major",
            "size_columns": ["height", "width"],
            "inside": "probability > the query's threshold",
        }
    return {METADATA_KEY: json.dumps(about, sort_keys=True).encode()}
