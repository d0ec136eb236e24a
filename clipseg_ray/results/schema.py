"""Every column of the output tables, as explicit Arrow schemas with a description per column.

``counts`` is COCO's compressed RLE (pycocotools ``maskApi.c``): column-major runs, beginning with background; with
``height`` and ``width`` it is exactly pycocotools' ``{"size": [height, width], "counts": counts}``.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 1
METADATA_KEY = b"clipseg-ray"
"""The file metadata key under which a part explains itself, as JSON (as GeoParquet does under ``geo``)."""


def _field(name: str, kind: pa.DataType, doc: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": doc})


BBOX = pa.struct(
    [pa.field(name, pa.int32(), nullable=False) for name in ("x", "y", "w", "h")],
)

IMAGES = pa.schema(
    [
        _field("image_id", pa.string(), "the image's name in every table: <shard path>/<key>, or input.id_field"),
        _field("key", pa.string(), "the sample's key in its shard: tar key, row index, relative path or URL"),
        _field("shard", pa.string(), "shard_id of the shard that holds the image"),
        _field("chunk", pa.int32(), "index of the chunk in the shard"),
        _field("source_url", pa.string(), "the object that holds the encoded image"),
        _field("offset", pa.int64(), "where in it: byte offset in a tar, row index in a Parquet file", True),
        _field("length", pa.int64(), "bytes of the encoded image", True),
        _field("width", pa.int32(), "pixels, after EXIF orientation", True),
        _field("height", pa.int32(), "pixels, after EXIF orientation", True),
        _field("orientation", pa.int8(), "EXIF orientation as found, 1 to 8; 1 means none was applied", True),
        _field(
            "status", pa.string(), "ok, or why there are no masks: empty, undecodable, too_large, missing, truncated"
        ),
        _field("error", pa.string(), "the same for a person", True),
    ]
)

MASKS = pa.schema(
    [
        _field("image_id", pa.string(), "see images"),
        _field("query_id", pa.string(), "see queries"),
        _field("query_text", pa.string(), "the phrase, where it came with the image; else null: see queries", True),
        _field("score", pa.float32(), "greatest probability on the model's grid"),
        _field("score_mean", pa.float32(), "mean probability inside the mask on the model's grid; null if empty", True),
        _field("area", pa.int64(), "pixels of the mask"),
        _field("coverage", pa.float32(), "area / (height * width)"),
        _field("bbox", BBOX, "the mask's box in grid pixels: x, y, w, h as COCO; zeros if empty"),
        _field("height", pa.int32(), "rows of the mask grid"),
        _field("width", pa.int32(), "columns of the mask grid"),
        _field("counts", pa.string(), "COCO compressed RLE, column-major"),
        _field("image_height", pa.int32(), "rows of the image after EXIF orientation"),
        _field("image_width", pa.int32(), "columns of the image after EXIF orientation"),
    ]
)

PRESENCE = _field("presence", pa.float32(), "CLIP's cosine of the whole image and the query (model.presence)")

HEAT = _field(
    "heat",
    pa.large_binary(),
    "probabilities on a square grid, masks.heat cells a side, one byte each, 255 for 1, row by row; null if all are 0",
    True,
)


def masks(presence: bool, heat: bool = False) -> pa.Schema:
    """``MASKS``, with the columns ``presence`` and ``heat`` where the dataset has them."""
    schema = MASKS.append(PRESENCE) if presence else MASKS
    return schema.append(HEAT) if heat else schema


MASKS_DICTIONARY = ["image_id", "query_id", "query_text", "height", "width", "image_height", "image_width"]
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
