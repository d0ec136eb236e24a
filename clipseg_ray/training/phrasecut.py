"""PhraseCut's release (see ``clipseg_ray.evaluation.releases.phrasecut``) as a collection."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from clipseg_ray.evaluation.releases.phrasecut import KIND, drawn, polygons_of, tasks_by_image
from clipseg_ray.evaluation.releases.release import load_json
from clipseg_ray.queries.supports import decode_picture
from clipseg_ray.storage import Store, plain_errors
from clipseg_ray.training.collection import Collection, TrainingQuery, TruthBuilder
from clipseg_ray.training.held_out import HeldOut

_FILES_KEPT = 64


class PhraseCut(Collection):
    """One split of a release. Images are numbered by their Visual Genome ids, in rising order."""

    def __init__(
        self,
        folder: str,
        split: str,
        pictures: str | None = None,
        held_out: Sequence[str] = (),
        limit: int | None = None,
    ) -> None:
        """Read ``refer_<split>.json``; images lie in ``pictures``, default ``images`` in the release's folder.

        Phrases of ``held_out`` (see `HeldOut`) are left out, and tasks without a phrase structure, as the authors of
        both papers do. Raises UserError for files that are not there or not as they should be.
        """
        release, name = Store.of(folder), f"refer_{split}.json"
        url = release.url_of(name)
        tasks, sha256 = load_json(url)
        by_image = tasks_by_image(url, tasks)
        del tasks
        builder, held = TruthBuilder(), HeldOut(held_out)
        self._images = Store.of(pictures or release.url_of("images"))
        asked = {
            image_id: [task for task in found if task.get("phrase_structure")] for image_id, found in by_image.items()
        }
        self._ids = sorted(image_id for image_id, found in asked.items() if found)[:limit]
        self._polygons: list[list[np.ndarray]] = []
        for image_id in self._ids:
            kept = [task for task in asked[image_id] if task["phrase"] not in held]
            builder.add_image([_query(task) for task in kept])
            self._polygons += [polygons_of(task["Polygons"], url, task.get("task_id")) for task in kept]
        self.truth = builder.build()
        self.left_out = held.left_out
        identity = (sha256, self._images.url, held.identity, limit)
        self.fingerprint = hashlib.sha256(repr(identity).encode()).hexdigest()
        self._file = lru_cache(_FILES_KEPT)(self._read)

    def image(self, image: int) -> np.ndarray:
        """See ``Collection``."""
        return decode_picture(self._file(image))

    def masks(self, truths: Sequence[int]) -> np.ndarray:
        """See ``Collection``."""
        with Image.open(io.BytesIO(self._file(int(self.truth.image_t[truths[0]])))) as image:
            size = (image.height, image.width)
        return np.stack([drawn(self._polygons[truth], size) for truth in truths])

    def _read(self, image: int) -> bytes:
        name = f"{self._ids[image]}.jpg"
        with plain_errors(self._images.url_of(name)):
            return self._images.get(name)


def _query(task: dict[str, Any]) -> TrainingQuery:
    """The phrase; an image in which its category was named at all is not taken to lack it."""
    phrase = task["phrase"]
    labels = frozenset({phrase, task["phrase_structure"].get("name", phrase)})
    return TrainingQuery(phrase, KIND, (phrase,), labels=labels)
