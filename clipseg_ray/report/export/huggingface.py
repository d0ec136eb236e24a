"""A Hugging Face dataset: Parquet shards of images and their masks, and a card.

    datasets.load_dataset("DEST", split="train")[0]["objects"]

A row is an image. The features are in each file's metadata, in the notation that old and new ``datasets`` read.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clipseg_ray.report import asked, card, facts, limits
from clipseg_ray.report.export.copies import Fetched
from clipseg_ray.report.export.files import Files
from clipseg_ray.report.export.objects import by_image, objects_of
from clipseg_ray.report.export.walk import ExportChunk, Walk
from clipseg_ray.storage import plain_errors

GROUP_ROWS = 64
GROUP_BYTES = 64 * 2**20
"""A row group ends with whichever is reached first; one is in memory at a time."""

SHARD_BYTES = 400 * 10**6
"""A file ends with the row group that reaches this."""

COLUMNS = {
    "image": "the image as it was encoded",
    "image_id": "its name in the dataset of masks",
    "width": "pixels, upright",
    "height": "pixels, upright",
    "objects": "what was found, a mask each",
    "objects.query_id": "see Queries",
    "objects.label": "the query as a class",
    "objects.phrase": "the phrase that came with the image, or null",
    "objects.score": "greatest probability on the model's grid",
    "objects.score_mean": "mean probability inside the mask",
    "objects.area": "pixels of the mask at image size",
    "objects.bbox": "x, y, width, height in pixels of the image",
    "objects.counts": "COCO compressed RLE; with [height, width] exactly what pycocotools takes",
    "absent": "queries that were asked and found nothing",
}


def write(walk: Walk, chunks: Iterable[ExportChunk], destination: str) -> str:
    """Write ``data/train-*.parquet`` and ``README.md``; returns what was written.

    Every image that could be read is a row; masks on the model's grid are resized to it, every pixel that of the
    nearest centre. Images that cannot be had are left out and counted.
    """
    fetched = Fetched(walk.store, walk.allow_source)
    with Files(destination) as files, tempfile.TemporaryDirectory() as folder, facts.gather(walk.store) as (found, _):
        shards = _Shards(files, Path(folder), _schema(walk))
        for chunk in chunks:
            rows = chunk.images.select(["image_id", "width", "height"]).to_pylist()
            objects = _objects(chunk, walk)
            for index, encoded in enumerate(fetched.encoded(chunk.images)):
                if encoded is not None:
                    image = {"bytes": encoded, "path": rows[index]["image_id"]}
                    own = {"objects": objects[index], "absent": chunk.absent[index]}
                    shards.add({"image": image, **rows[index], **own}, len(encoded))
        shards.close()
        chosen = asked.chosen(found.queries, walk.where)
        names = [name for name in COLUMNS if name in _leaves(walk)]
        text = [
            card.front_matter(found.name, shards.rows, [{"config_name": "default", "data_files": "data/*.parquet"}]),
            f"# {card.plain(found.name)}",
            f"{shards.rows:,} images and the {shards.objects:,} masks CLIPSeg found in them for {len(chosen)} queries.",
            *([f"**{found.caution}**"] if found.caution else []),
            card.table(("column", "what it is"), [(f"`{name}`", COLUMNS[name]) for name in names]),
            "## Made from",
            card.origin(found),
            "## Queries",
            card.queries(found, chosen),
            "## Known limits",
            limits.known(found),
            "## Licences",
            limits.WEIGHTS.replace(limits.WITHOUT_IMAGES, "The images keep "),
        ]
        files.put("README.md", ("\n\n".join(text) + "\n").encode())
    return (
        f"wrote {files.store.url}: {shards.rows:,} images, {shards.objects:,} masks in {shards.number} Parquet file(s)"
        f"{fetched.left_out}"
    )


def _leaves(walk: Walk) -> list[str]:
    schema = _schema(walk)
    return [*schema.names, *(f"objects.{field.name}" for field in schema.field("objects").type.value_type)]


def _schema(walk: Walk) -> pa.Schema:
    """Arrow's schema with the Hub's features in its metadata; classes where all queries are known beforehand."""
    classes = None if walk.has_phrases else [category.name for category in walk.categories.values()]
    labelled = [("phrase", pa.string())] if classes is None else [("label", pa.int64())]
    mask = pa.struct(
        [
            ("query_id", pa.string()),
            *labelled,
            ("score", pa.float32()),
            ("score_mean", pa.float32()),
            ("area", pa.int64()),
            ("bbox", pa.list_(pa.float32())),
            ("counts", pa.string()),
        ]
    )
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("image_id", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("objects", pa.list_(mask)),
            ("absent", pa.list_(pa.string())),
        ]
    )
    features: dict[str, Any] = {field.name: _feature(field.type) for field in schema}
    features["image"] = {"_type": "Image"}
    if classes is not None:
        features["objects"][0]["label"] = {"names": classes, "_type": "ClassLabel"}
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _feature(kind: pa.DataType) -> Any:
    if pa.types.is_list(kind):
        return [_feature(kind.value_type)]
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    return {"dtype": {"float": "float32"}.get(str(kind), str(kind)), "_type": "Value"}


def _objects(chunk: ExportChunk, walk: Walk) -> list[list[dict[str, Any]]]:
    """For each image its masks, as the rows' ``objects`` have them."""
    label_of = {category.query_id: index for index, category in enumerate(walk.categories.values())}
    return [[_object(row, label_of, walk) for row in found] for _, found in by_image(chunk, objects_of(chunk))]


def _object(row: dict[str, Any], label_of: dict[str, int], walk: Walk) -> dict[str, Any]:
    labelled = {"phrase": row["query_text"]} if walk.has_phrases else {"label": label_of[row["query_id"]]}
    return {
        "query_id": row["query_id"],
        **labelled,
        "score": row["score"],
        "score_mean": row["score_mean"],
        "area": row["area"],
        "bbox": [row["bbox"][side] for side in "xywh"],
        "counts": row["counts"],
    }


class _Shards:
    """Rows into Parquet files of about ``SHARD_BYTES``, each made in ``folder`` and put when it is whole."""

    def __init__(self, files: Files, folder: Path, schema: pa.Schema) -> None:
        self._files, self._folder, self._schema = files, folder, schema
        self._writer: pq.ParquetWriter | None = None
        self._group: list[dict[str, Any]] = []
        self._group_bytes = self._shard_bytes = 0
        self.number = self.rows = self.objects = 0

    def add(self, row: dict[str, Any], size: int) -> None:
        """One row, its image of ``size`` bytes."""
        self._group.append(row)
        self._group_bytes += size
        self.rows += 1
        self.objects += len(row["objects"])
        if len(self._group) == GROUP_ROWS or self._group_bytes >= GROUP_BYTES:
            self._end_group()
        if self._shard_bytes >= SHARD_BYTES:
            self._end_shard()

    def close(self) -> None:
        """Put what is left; at least one file, so that an export without images can be loaded too."""
        self._end_group()
        if self._writer is not None or self.number == 0:
            self._end_shard()

    def _open(self) -> pq.ParquetWriter:
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._folder / "shard.parquet",
                self._schema,
                compression="zstd",
                use_dictionary=["objects.list.element.query_id", "absent.list.element"],
            )
        return self._writer

    def _end_group(self) -> None:
        if self._group:
            table = pa.Table.from_pylist(self._group, self._schema)
            self._open().write_table(table, row_group_size=len(self._group))
        self._shard_bytes += self._group_bytes
        self._group, self._group_bytes = [], 0

    def _end_shard(self) -> None:
        self._open().close()
        with plain_errors(self._files.store.url):
            self._files.store.put_file(f"data/train-{self.number:05d}.parquet", self._folder / "shard.parquet")
        self._writer, self._shard_bytes = None, 0
        self.number += 1
