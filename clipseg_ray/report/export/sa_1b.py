"""SA-1B's layout (https://ai.meta.com/datasets/segment-anything): beside each image a JSON file with its masks.

pycocotools.mask.decode(json.load(open("DEST/0001.json"))["annotations"][0]["segmentation"])
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from clipseg_ray.report.export import Images
from clipseg_ray.report.export.files import Files
from clipseg_ray.report.export.json_lists import compact
from clipseg_ray.report.export.objects import by_image, objects_of
from clipseg_ray.report.export.pictures import Pictures
from clipseg_ray.report.export.walk import ExportChunk, Walk


def write(walk: Walk, chunks: Iterable[ExportChunk], destination: str, *, images: Images = Images.COPY) -> str:
    """Write ``<image>.json`` for every image, beside its copy; returns what was written, for a person.

    Of SA-1B's keys ``predicted_iou`` is ``score_mean``, ``stability_score`` null, ``crop_box`` the whole image and
    ``point_coords`` empty: no points were asked. What SA-1B has not: each mask's ``query_id``, ``name`` and ``score``.
    """
    pictures = Pictures(walk)
    written = masks = 0
    with Files(destination) as files:
        for chunk in chunks:
            rows = chunk.images.to_pylist()
            names: Iterable[str | None] = [pictures.names.of(row, ".jpg") for row in rows]
            if images is Images.COPY:
                names = pictures.copied(chunk, files)
            called = {category.number: category.name for category in walk.categories.values()}
            for name, (image, found) in zip(names, by_image(chunk, objects_of(chunk)), strict=True):
                if name is not None:
                    document = {
                        "image": {
                            "image_id": image["number"],
                            "width": image["width"],
                            "height": image["height"],
                            "file_name": name.rpartition("/")[2],
                            "source_id": image["image_id"],
                        },
                        "annotations": [_annotation(row, masks + place, called) for place, row in enumerate(found, 1)],
                    }
                    files.put(f"{name.rpartition('.')[0]}.json", compact(document).encode())
                    written += 1
                    masks += len(found)
    return f"wrote {files.store.url}: {written:,} JSON files, {masks:,} masks{pictures.left_out}"


def _annotation(row: dict[str, Any], number: int, called: dict[int, str]) -> dict[str, Any]:
    return {
        "id": number,
        "segmentation": {"size": [row["height"], row["width"]], "counts": row["counts"]},
        "bbox": [row["bbox"][side] for side in "xywh"],
        "area": row["area"],
        "predicted_iou": None if row["score_mean"] is None else round(row["score_mean"], 6),
        "stability_score": None,
        "crop_box": [0, 0, row["width"], row["height"]],
        "point_coords": [],
        "query_id": row["query_id"],
        "name": called[row["category"]],
        "score": round(row["score"], 6),
    }
