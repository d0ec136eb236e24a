"""PhraseCut as its authors release it (ChenyunWu/PhraseCutDataset): phrases over Visual Genome's images.

    VGPhraseCut_v0/
      refer_test.json       [{"task_id", "image_id", "ann_ids", "phrase", "phrase_structure": {"name", …},
                              "instance_boxes": [[x, y, w, h], …], "Polygons": [[[[x, y], …], …], …]}, …]
      images/<image_id>.jpg

``Polygons`` holds the instances of a phrase, each of several polygons; the true mask is the union of them all. They are
drawn at the image's own size as the dataset's own evaluation draws them: corners cut to whole pixels, border inside.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.releases.release import FAR, Drawn, DrawnMask, Picture, Release, Size, load_json
from clipseg_ray.evaluation.truth import Thing
from clipseg_ray.storage import Store

EXCLUDED = frozenset(
    {
        61530, 61564, 150333, 150344, 150417, 150516, 285665, 285743, 285761, 285814, 286065, 286093, 498010,
        498042, 498187, 498246, 498269,
    }
)  # fmt: skip
"""Visual Genome ids that CLIPSeg's authors leave out: the annotations are for images of another size
(timojl/clipseg, ``datasets/phrasecut.py``)."""

KIND = "phrase"
_KEYS = frozenset({"image_id", "phrase", "Polygons"})

Task = dict[str, Any]


def read(source: str, *, split: str = "test", images: str | None = None) -> Release:
    """``refer_<split>.json`` of the release's folder; images lie in ``images``, default the folder of that name in it.

    A phrase is a query, asked of the images it was written for: of no other is it known whether it holds. Raises
    UserError for files that are not there or not as they should be.
    """
    release = Store.of(source)
    folder, url = Store.of(images or release.url_of("images")), release.url_of(f"refer_{split}.json")
    tasks, sha256 = load_json(url)
    by_image = tasks_by_image(url, tasks)
    left_out = len({task["image_id"] for task in tasks} & EXCLUDED)
    pictures = [
        Picture(
            str(image_id),
            folder.url_of(f"{image_id}.jpg"),
            [(task.get("task_id"), task["phrase"], task["Polygons"]) for task in by_image[image_id]],
        )
        for image_id in sorted(by_image)
    ]
    remark = f"{left_out} images left out, whose annotations are for another size, as CLIPSeg's authors do"
    return Release(
        name=split,
        pictures=pictures,
        draw=_Phrases(url),
        sha256=sha256,
        remarks=[remark] if left_out else [],
    )


class _Phrases:
    """Draws each task of an image, two of one phrase too."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __call__(self, picture: Picture, size: Size) -> Drawn:
        return Drawn(
            [
                DrawnMask(
                    Thing(phrase, KIND, (phrase,)), drawn(polygons_of(polygons, self._url, task_id), size), task_id
                )
                for task_id, phrase, polygons in picture.records
            ],
            absent=(),
        )


def tasks_by_image(url: str, tasks: Any) -> dict[int, list[Task]]:
    """The tasks of each image but the EXCLUDED ones. Raises UserError, naming the file, for no list of tasks."""
    if not isinstance(tasks, list) or not tasks or not all(isinstance(task, dict) for task in tasks):
        raise UserError(f"{url}: no list of tasks; give the folder VGPhraseCut_v0 of a PhraseCut release")
    by_image: dict[int, list[Task]] = {}
    for number, task in enumerate(tasks):
        name = f"{url}: task {task.get('task_id', number)}"
        if lacking := sorted(_KEYS - task.keys()):
            raise UserError(f"{name} has no {', '.join(lacking)}; refer_input_*.json has no masks")
        if not isinstance(task["image_id"], int) or not isinstance(task["phrase"], str) or not task["phrase"].strip():
            raise UserError(
                f"{name}: image_id {task['image_id']!r} must be a number and phrase {task['phrase']!r} words; download "
                "it again"
            )
        if task["image_id"] not in EXCLUDED:
            by_image.setdefault(task["image_id"], []).append(task)
    return by_image


def polygons_of(instances: Any, url: str, task_id: Any) -> list[np.ndarray]:
    """Each polygon's corners, int32 [n, 2] of x, y. Raises UserError where ``Polygons`` of a task are none."""
    try:
        return [_corners(polygon) for instance in instances for polygon in instance]
    except (TypeError, ValueError) as error:
        raise UserError(f"{url}: task {task_id}: Polygons are no lists of points ({error})") from error


def _corners(polygon: Any) -> np.ndarray:
    points = np.array(polygon, np.float64)
    if points.size and points.shape[1:] != (2,):
        raise ValueError("a corner is x and y")
    if not (np.abs(points) < FAR).all():
        raise ValueError("a corner is no place in an image")
    return points.reshape(-1, 2).astype(np.int32)


def drawn(polygons: Iterable[np.ndarray], size: Size) -> np.ndarray:
    """bool [height, width] of the union of the polygons."""
    height, width = size
    layer = Image.new("1", (width, height))
    pen = ImageDraw.Draw(layer)
    for polygon in polygons:
        if len(polygon) >= 2:
            pen.polygon([(int(x), int(y)) for x, y in polygon], fill=1, outline=1)
    return np.array(layer)
