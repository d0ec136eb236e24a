"""COCO instances JSON (https://cocodataset.org/#format-data): queries as categories, masks at image size.

torchvision.datasets.CocoDetection("DEST/images", "DEST/instances.json")
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from clipseg_ray import __version__
from clipseg_ray.masks import outlines
from clipseg_ray.redaction import redacted
from clipseg_ray.report.export import Images
from clipseg_ray.report.export.files import Files
from clipseg_ray.report.export.json_lists import JsonList, compact
from clipseg_ray.report.export.objects import objects_of
from clipseg_ray.report.export.pictures import Pictures, are_files
from clipseg_ray.report.export.walk import Category, ExportChunk, Walk
from clipseg_ray.storage import Store, plain_errors

ID_STRIDE = 10_000_000
"""An annotation's id is its image's id times this, plus its category's: it stays when images or queries are added."""


def write(
    walk: Walk,
    chunks: Iterable[ExportChunk],
    destination: str,
    *,
    images: Images = Images.NONE,
    polygons: bool = False,
    instances: bool = False,
) -> str:
    """Write one JSON file, ``destination`` or ``instances.json`` in it; returns what was written, for a person.

    Masks on the model's grid are resized to the image, every pixel that of the nearest centre; area and box are those
    of the resized mask. Masks that are empty, before or after, are no annotations. Beside COCO's own keys, images
    have ``image_id`` and annotations ``score`` and ``score_mean``, as the masks table has them. With ``images`` copied
    they lie in the folder ``images`` beside the file, ``file_name`` is below it, and those that cannot be had are not
    in the file. polygons: exact outlines instead of RLE. instances: annotations are numbered from 1, for an image may
    have several of a category.
    """
    store, name = _target(destination)
    pictures = Pictures(walk) if images is Images.COPY else None
    with contextlib.ExitStack() as open_, plain_errors(store.url):
        files = open_.enter_context(Files(store.url_of("images"))) if pictures else None
        folder = Path(open_.enter_context(tempfile.TemporaryDirectory()))
        whole, part = folder / "instances.json", folder / "annotations.json"
        with whole.open("w", encoding="utf-8") as file, part.open("w", encoding="utf-8") as rest:
            info = {"description": f"CLIPSeg masks of {walk.store.url}", "version": walk.record.fingerprint}
            file.write(f'{{"info":{compact({**info, "contributor": f"clipseg-ray {__version__}"})},"licenses":[],')
            file.write('"images":[')
            listed, annotations = JsonList(file), JsonList(rest)
            for chunk in chunks:
                if pictures and files:
                    names = list(pictures.copied(chunk, files))
                else:
                    names = chunk.images["key" if are_files(walk) else "image_id"].to_pylist()
                listed.add(_images(chunk, names))
                first = annotations.count + 1 if instances else None
                annotations.add(_annotations(chunk, names, polygons=polygons, first=first))
            file.write('],"annotations":[')
            rest.close()
            with part.open(encoding="utf-8") as again:
                while block := again.read(2**20):
                    file.write(block)
            file.write(f'],"categories":{compact([_category(each) for each in walk.categories.values()])}}}')
        store.put_file(name, whole)
    said = f"wrote {store.url_of(name)}: {listed.count:,} images, {annotations.count:,} annotations, "
    said += f"{len(walk.categories):,} categories"
    if pictures:
        return f"{said}; the images are in {store.url_of('images')}{pictures.left_out}"
    if are_files(walk):
        return said
    return f"{said}\nits images lie in archives, where no tool finds them; --images copy writes them beside it"


def _target(destination: str) -> tuple[Store, str]:
    if not destination.lower().endswith(".json"):
        return Store.of(destination), "instances.json"
    folder, _, name = Store.of(destination).url.rpartition("/")
    return Store.of(folder or "/"), name


def _images(chunk: ExportChunk, names: Sequence[str | None]) -> Iterator[dict[str, Any]]:
    rows = chunk.images.select(["number", "image_id", "source_url", "width", "height"]).to_pylist()
    for row, name in zip(rows, names, strict=True):
        if name is not None:
            yield {
                "id": row["number"],
                "width": row["width"],
                "height": row["height"],
                "file_name": name,
                "coco_url": redacted(row["source_url"]),
                "image_id": row["image_id"],
            }


def _annotations(
    chunk: ExportChunk, names: Sequence[str | None], *, polygons: bool, first: int | None
) -> Iterator[dict[str, Any]]:
    """The annotations of the images that have a name, numbered from ``first`` or by image and category."""
    objects = objects_of(chunk)
    objects = objects.filter(pc.is_valid(pa.array(names, pa.string()).take(objects["image"])))
    numbers = chunk.images["number"].to_pylist()
    outlined: Iterable[list[list[float]] | None] = repeat(None, len(objects))
    if polygons:
        exact = pa.repeat(0.0, len(objects))
        outlined = outlines.polygons(objects["counts"], objects["height"], exact).to_pylist()
    for place, (row, outline) in enumerate(zip(objects.to_pylist(), outlined, strict=True)):
        number = numbers[row["image"]]
        yield {
            "id": number * ID_STRIDE + row["category"] if first is None else first + place,
            "image_id": number,
            "category_id": row["category"],
            "segmentation": outline or {"size": [row["height"], row["width"]], "counts": row["counts"]},
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
