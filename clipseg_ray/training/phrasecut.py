"""PhraseCut as its authors release it (ChenyunWu/PhraseCutDataset): phrases over Visual Genome's images.

    VGPhraseCut_v0/
      refer_train.json      [{"task_id", "image_id", "ann_ids", "phrase", "phrase_structure": {"name", …},
                              "instance_boxes": [[x, y, w, h], …], "Polygons": [[[[x, y], …], …], …]}, …]
      images/<image_id>.jpg

``Polygons`` holds the instances of a phrase, each of several polygons; the true mask is the union of them all. They are
drawn at the image's own size as the dataset's own evaluation draws them: corners cut to whole pixels, border inside.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from clipseg_ray.errors import UserError
from clipseg_ray.queries.supports import decode_picture
from clipseg_ray.storage import Store, plain_errors
from clipseg_ray.training.collection import Collection, TrainingQuery, TruthBuilder, has_word

EXCLUDED = frozenset(
    {
        61530, 61564, 150333, 150344, 150417, 150516, 285665, 285743, 285761, 285814, 286065, 286093, 498010,
        498042, 498187, 498246, 498269,
    }
)  # fmt: skip
"""Visual Genome ids that CLIPSeg's authors leave out: the annotations are for images of another size
(timojl/clipseg, ``datasets/phrasecut.py``)."""

KIND = "phrase"
_KEYS = frozenset({"image_id", "phrase", "phrase_structure", "Polygons"})
_FILES_KEPT = 64


class PhraseCut(Collection):
    """One split of a release. Images are numbered by their Visual Genome ids, in rising order."""

    def __init__(
        self,
        folder: str,
        split: str,
        pictures: str | None = None,
        held_out_words: Sequence[str] = (),
        limit: int | None = None,
    ) -> None:
        """Read ``refer_<split>.json``; images lie in ``pictures``, default ``images`` in the release's folder.

        Phrases with a word of ``held_out_words`` are left out, and tasks without a phrase structure, as the authors
        of both papers do. Raises UserError for files that are not there or not as they should be.
        """
        release, name = Store.of(folder), f"refer_{split}.json"
        url = release.url_of(name)
        with plain_errors(url):
            entry = release.entry(name)
            data = release.get(name)
        by_image = _tasks_by_image(url, data)
        del data
        builder = TruthBuilder()
        self._images = Store.of(pictures or release.url_of("images"))
        self._ids = sorted(by_image)[:limit]
        self._polygons: list[list[np.ndarray]] = []
        for image_id in self._ids:
            tasks = [task for task in by_image[image_id] if not has_word(task["phrase"], held_out_words)]
            builder.add_image([_query(task) for task in tasks])
            self._polygons += [_polygons(task, url) for task in tasks]
        self.truth = builder.build()
        identity = (url, entry.size, entry.etag, self._images.url, sorted(held_out_words), limit)
        self.fingerprint = hashlib.sha256(repr(identity).encode()).hexdigest()
        self._file = lru_cache(_FILES_KEPT)(self._read)

    def image(self, image: int) -> np.ndarray:
        """See ``Collection``."""
        return decode_picture(self._file(image))

    def masks(self, truths: Sequence[int]) -> np.ndarray:
        """See ``Collection``."""
        with Image.open(io.BytesIO(self._file(int(self.truth.image_t[truths[0]])))) as image:
            size = image.size
        return np.stack([_drawn(self._polygons[truth], size) for truth in truths])

    def _read(self, image: int) -> bytes:
        name = f"{self._ids[image]}.jpg"
        with plain_errors(self._images.url_of(name)):
            return self._images.get(name)


def _tasks_by_image(url: str, data: bytes) -> dict[int, list[dict[str, Any]]]:
    try:
        tasks = json.loads(data)
    except ValueError as error:
        raise UserError(f"{url}: not valid JSON ({error}); download it again") from error
    if not isinstance(tasks, list) or not tasks or not all(isinstance(task, dict) for task in tasks):
        raise UserError(f"{url}: no list of tasks; give the folder VGPhraseCut_v0 of a PhraseCut release")
    if lacking := _KEYS - tasks[0].keys():
        raise UserError(f"{url}: its tasks have no {', '.join(sorted(lacking))}; refer_input_*.json has no masks")
    by_image: dict[int, list[dict[str, Any]]] = {}
    for task in tasks:
        if task["phrase_structure"] and task["image_id"] not in EXCLUDED:
            by_image.setdefault(task["image_id"], []).append(task)
    return by_image


def _query(task: dict[str, Any]) -> TrainingQuery:
    """The phrase; an image in which its category was named at all is not taken to lack it."""
    phrase = task["phrase"]
    labels = frozenset({phrase, task["phrase_structure"].get("name", phrase)})
    return TrainingQuery(phrase, KIND, (phrase,), labels=labels)


def _polygons(task: dict[str, Any], url: str) -> list[np.ndarray]:
    """Each polygon's corners, int32 [n, 2] of x, y."""
    try:
        return [
            np.array(polygon, np.float64).astype(np.int32).reshape(-1, 2)
            for instance in task["Polygons"]
            for polygon in instance
        ]
    except (TypeError, ValueError) as error:
        raise UserError(f"{url}: task {task.get('task_id')}: Polygons are no lists of points ({error})") from error


def _drawn(polygons: Iterable[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """bool [h, w] of the union; ``size`` is width and height."""
    layer = Image.new("1", size)
    pen = ImageDraw.Draw(layer)
    for polygon in polygons:
        if len(polygon) >= 2:
            pen.polygon([(int(x), int(y)) for x, y in polygon], fill=1, outline=1)
    return np.array(layer)
