"""WebDataset shards: tars in which an image, its masks and what they are lie together, for training loaders.

webdataset.WebDataset("DEST/train-000000.tar", shardshuffle=False).decode("torchrgb")
"""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from clipseg_ray.masks import rle
from clipseg_ray.report.export.files import Files
from clipseg_ray.report.export.json_lists import compact
from clipseg_ray.report.export.objects import by_image, objects_of
from clipseg_ray.report.export.pictures import Pictures
from clipseg_ray.report.export.walk import ExportChunk, Walk
from clipseg_ray.storage import plain_errors

SHARD_BYTES = 400 * 10**6
"""A shard ends with the sample that reaches this."""


def write(walk: Walk, chunks: Iterable[ExportChunk], destination: str) -> str:
    """Write ``train-000000.tar`` …, and ``names.json``; returns what was written, for a person.

    A sample is ``<image>.jpg`` (or its own ending), ``<image>.masks.npz`` and ``<image>.json``. The npz has ``masks``,
    uint8 [n, height, width] of 0 and 1, and ``labels``, int64 [n], from 0 in the order of ``names.json``; the JSON has
    image_id, width, height, ``objects`` with the scores, boxes and COCO RLE of the same n, and ``absent``.
    """
    pictures = Pictures(walk)
    with Files(destination) as files, tempfile.TemporaryDirectory() as folder:
        shards = _Shards(files, Path(folder) / "shard.tar")
        masks = 0
        for chunk in chunks:
            label_of = {category.number: index for index, category in enumerate(walk.categories.values())}
            named = {category.number: category.name for category in walk.categories.values()}
            samples = zip(pictures.upright(chunk.images), by_image(chunk, objects_of(chunk)), chunk.absent, strict=True)
            for made, (image, found), absent in samples:
                if made is not None:
                    objects = [_object(row, label_of[row["category"]], named[row["category"]]) for row in found]
                    about = {name: image[name] for name in ("image_id", "width", "height")}
                    shards.add(
                        _key(pictures.names.of(image, "")),
                        {
                            made[1][1:]: made[0],
                            "json": compact({**about, "objects": objects, "absent": absent}).encode(),
                            "masks.npz": _npz(objects, image["height"], image["width"]),
                        },
                    )
                    masks += len(found)
        shards.close()
        categories = walk.categories.values()
        names = [{key: getattr(each, key) for key in ("name", "query_id", "words", "kind")} for each in categories]
        files.put("names.json", compact(names).encode())
    return (
        f"wrote {files.store.url}: {shards.samples:,} samples, {masks:,} masks in {shards.number:,} shard(s)"
        f"{pictures.left_out}"
    )


def _key(name: str) -> str:
    """``name`` without a dot in its last part, for a sample's key ends at the first there."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.replace(".", "%2E")


def _object(row: dict[str, Any], label: int, name: str) -> dict[str, Any]:
    return {
        "label": label,
        "name": name,
        "query_id": row["query_id"],
        "score": round(row["score"], 6),
        "score_mean": None if row["score_mean"] is None else round(row["score_mean"], 6),
        "area": row["area"],
        "bbox": [row["bbox"][side] for side in "xywh"],
        "counts": row["counts"],
    }


def _npz(objects: list[dict[str, Any]], height: int, width: int) -> bytes:
    masks_nhw = rle.decode([each["counts"] for each in objects], height, width).astype(np.uint8, order="C")
    sink = io.BytesIO()
    np.savez_compressed(sink, masks=masks_nhw, labels=np.array([each["label"] for each in objects], np.int64))
    return sink.getvalue()


class _Shards:
    """Samples into tars of about ``SHARD_BYTES``, each made at ``path`` and put when it is whole."""

    def __init__(self, files: Files, path: Path) -> None:
        self._files, self._path = files, path
        self._tar: tarfile.TarFile | None = None
        self.number = self.samples = 0

    def add(self, key: str, members: dict[str, bytes]) -> None:
        """One sample: what its members hold, by their endings."""
        if self._tar is None:
            self._tar = tarfile.open(self._path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 (for many samples)
        for ending, data in members.items():
            about = tarfile.TarInfo(f"{key}.{ending}")
            about.size = len(data)
            self._tar.addfile(about, io.BytesIO(data))
        self.samples += 1
        if self._tar.offset >= SHARD_BYTES:
            self.close()

    def close(self) -> None:
        """Put the shard that is begun, if one is."""
        if self._tar is not None:
            self._tar.close()
            with plain_errors(self._files.store.url):
                self._files.store.put_file(f"train-{self.number:06d}.tar", self._path)
            self._tar = None
            self.number += 1
