"""YOLO segmentation labels (https://docs.ultralytics.com/datasets/segment): a text file an image, a line a mask.

YOLO("yolo11n-seg.pt").train(data="DEST/data.yaml")
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from clipseg_ray.masks import outlines
from clipseg_ray.report.export import Images
from clipseg_ray.report.export.files import Files
from clipseg_ray.report.export.json_lists import compact
from clipseg_ray.report.export.objects import by_image, objects_of
from clipseg_ray.report.export.pictures import Pictures
from clipseg_ray.report.export.walk import Category, ExportChunk, Walk


def write(walk: Walk, chunks: Iterable[ExportChunk], destination: str, *, images: Images = Images.COPY) -> str:
    """Write ``images/``, ``labels/<image>.txt`` and ``data.yaml``; returns what was written, for a person.

    A line is the class, from 0 in the order of the queries, and the mask's outline: x and y in shares of the image. A
    mask of several parts is one line, its parts joined by lines without width, as ultralytics' own converter joins
    COCO's. Every image has a label file, one in which nothing was found an empty one: a background. Without copied
    images put yours into ``images/`` under the names of the label files.
    """
    # ultralytics looks for labels where the last "images" of an image's path is "labels".
    pictures = Pictures(walk, not_called="images")
    written = lines = 0
    with Files(destination) as files:
        for chunk in chunks:
            names: Iterable[str | None] = (pictures.names.of(row, "") for row in chunk.images.to_pylist())
            if images is Images.COPY:
                names = [name and name.rpartition(".")[0] for name in pictures.copied(chunk, files, "images/")]
            place = {category.number: index for index, category in enumerate(walk.categories.values())}
            for name, found in zip(names, _rings(chunk), strict=True):
                if name is not None:
                    text = "".join(_line(place[number], ring_p2) for number, ring_p2 in found)
                    files.put(f"labels/{name}.txt", text.encode())
                    written += 1
                    lines += len(found)
        files.put("data.yaml", _data(walk.categories.values()).encode())
    return (
        f"wrote {files.store.url}: {written:,} label files, {lines:,} masks, {len(walk.categories):,} classes, "
        f"and data.yaml{pictures.left_out}"
    )


def _rings(chunk: ExportChunk) -> Iterator[list[tuple[int, np.ndarray]]]:
    """For each image (category, float64 [points, 2] outline as shares of width and height) of its masks."""
    objects = objects_of(chunk)
    exact = pa.repeat(0.0, len(objects))
    outlined = outlines.polygons(objects["counts"], objects["height"], exact)
    objects = objects.drop_columns(["counts"]).append_column("polygons", outlined)
    for image, found in by_image(chunk, objects):
        rings = [joined([np.reshape(flat, (-1, 2)) for flat in row["polygons"]]) for row in found]
        size = (image["width"], image["height"])
        yield [(row["category"], ring_p2 / size) for row, ring_p2 in zip(found, rings, strict=True)]


def joined(rings_p2: list[np.ndarray]) -> np.ndarray:
    """Rings [points, 2], without their first point at the end, as one that goes to each and back on the same line.

    A line gone both ways encloses nothing: filled by the even-odd rule the ring covers what the rings did.
    """
    whole_p2, *others = rings_p2
    for other_p2 in others:
        # Between the two nearest points: a line through all of the image would show where tools draw it.
        gap_pp = np.abs(whole_p2[:, None] - other_p2[None]).sum(2)
        here, there = np.unravel_index(gap_pp.argmin(), gap_pp.shape)
        round_p2 = np.roll(other_p2, -int(there), axis=0)
        whole_p2 = np.concatenate([whole_p2[: here + 1], round_p2, round_p2[:1], whole_p2[here:]])
    return whole_p2


def _line(place: int, ring_p2: np.ndarray) -> str:
    return f"{place} {' '.join(f'{share:.6g}' for share in ring_p2.reshape(-1))}\n"


def _data(categories: Iterable[Category]) -> str:
    """``data.yaml``: JSON strings are YAML's, whatever is in a name."""
    names = "".join(f"  {place}: {compact(category.name)}\n" for place, category in enumerate(categories))
    return f"# No split was made: train and val are the same images.\ntrain: images\nval: images\nnames:\n{names}"
