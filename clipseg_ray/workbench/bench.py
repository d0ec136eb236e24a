"""One workbench: its images with their features, its list of queries, and the answers of the ones to the others."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping, Sequence, Sized
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from clipseg_ray.errors import UserError, brief
from clipseg_ray.queries.others import only
from clipseg_ray.queries.query import Query
from clipseg_ray.queries.table import from_rows
from clipseg_ray.report.thumbnails import fitting
from clipseg_ray.sources.base import Place, Sample
from clipseg_ray.storage import Store
from clipseg_ray.workbench import keeping
from clipseg_ray.workbench.collection import Collection, Entry
from clipseg_ray.workbench.levels import borders_with, levels_of, packed
from clipseg_ray.workbench.pictures import Pictures
from clipseg_ray.workbench.rows import Row, changed, without_lone_groups
from clipseg_ray.workbench.sample import Images, SampleImage

if TYPE_CHECKING:
    from clipseg_ray.inference.prediction import PredictedRows
    from clipseg_ray.inference.predictor import Predictor

_LOT = 8
"""Images read and encoded before the next question is looked at."""

_WAIT_S = 0.5


@dataclass(frozen=True)
class Answer:
    """What one image says to one query: ``score``, its greatest probability, and packed ``levels`` (see there) of its
    own ``size``, height and width: with ``model.views`` images differ in it."""

    index: int
    score: float
    size: tuple[int, ...]
    levels: bytes


class Bench:
    """What the server serves. Everything may be called from any thread.

    images: the sample's. predictor: without images yet. folder: where all this is kept. threshold: of queries without
    their own.
    """

    def __init__(self, images: Images, predictor: Predictor, folder: Store, threshold: float) -> None:
        self.folder, self.threshold = folder, threshold
        self.pictures = Pictures(folder)
        self.images: list[SampleImage] = []
        self.total = images.total
        self.fault: str | None = None
        self.done = False
        kept = keeping.read(folder) or keeping.Kept(Collection(self.resolve, self.row_of).history)
        self.collection = Collection(self.resolve, self.row_of, kept.history)
        self.view, self.table = kept.view, kept.table
        self._source, self._predictor = images, predictor
        self._encoded: list[int] = []
        self._scores: dict[str, dict[int, float]] = {}
        self._closed = False
        self._changed = threading.Condition()
        self._writing = threading.RLock()

    def resolve(self, rows: Sequence[Row]) -> list[Query]:
        """Rows as the queries they are. Raises UserError."""
        cells = [cell for row in rows for cell in _strings(row.get("image"))]
        return from_rows(without_lone_groups(rows), self.threshold, self.pictures.held(cells))

    def row_of(self, row: Row, changes: Mapping[str, Any]) -> Row:
        """A row with what the page changes in it."""
        return changed(row, changes, self.pictures)

    def edit(self) -> threading.RLock:
        """The lock under which the collection is changed and kept."""
        return self._writing

    def keep(self, view: Mapping[str, Any] | None = None) -> None:
        """Write down the list as it is, and what the page shows where it says so."""
        with self._writing:
            self.view = self.view if view is None else view
            keeping.write(self.folder, keeping.Kept(self.collection.history, self.view, self.table))

    def begin(self, table: str, rows: Sequence[Row]) -> None:
        """Put a table's rows into the list, which can be undone; ``table``: the hash of its bytes."""
        with self._writing:
            self.collection.replace_all(rows)
            self.table = table
            self.keep()

    def load(self) -> None:
        """Read and encode all images; what stops it is told to whoever waits for them. For a thread of its own."""
        samples, warming = self._source.read(), None
        try:
            while not self._closed and (lot := list(islice(samples, _LOT if self.images else 2))):
                self._add(lot)
                if warming is None and self._encoded:
                    warming = threading.Thread(target=self._warm, name="warming", daemon=True)
                    warming.start()
        except Exception as error:  # of storage, formats or the device: the page says it
            self.fault = brief(error)
        finally:
            with self._changed:
                self.done = True
                self.total = len(self.images)
                self._changed.notify_all()

    def _warm(self) -> None:
        """Ask an image something, so that the first question finds tokenizer, engine and compiled code ready."""
        with suppress(Exception), closing(self.answers(self.of_changes({"text": "a photo"}))) as answers:
            next(answers, None)  # whoever asks is told what is wrong

    def _add(self, lot: Sequence[Sample]) -> None:
        found = [_image(len(self.images) + place, sample) for place, sample in enumerate(lot)]
        here = [(image, sample.image) for image, sample in zip(found, lot, strict=True) if sample.image is not None]
        if not here:
            self._arrived(found)
            return
        read = self._predictor.read([data for _, data in here], ids=[str(image.index) for image, _ in here])
        for (image, data), row in zip(here, read.table.to_pylist(), strict=True):
            image.status, image.error = row["status"], row["error"]
            if image.status == "ok":
                image.width, image.height = row["width"], row["height"]
                (thumbnail,) = fitting([data], 10**9)
                image.thumbnail = b"" if thumbnail is None else thumbnail.webp
        self._encoded += [image.index for image, _ in here if image.status == "ok"]  # before anyone can ask them
        self._arrived(found)
        self._predictor.add_images(replace(read, sources=()))  # the encoded images are not kept
        self._arrived([])

    def _arrived(self, images: Sequence[SampleImage]) -> None:
        with self._changed:
            self.images += images
            self.total = max(self.total, len(self.images))
            self._changed.notify_all()

    def arrivals(self) -> Iterator[SampleImage]:
        """Every image, those that are there at once, the others as they come; ends when all are there."""
        given = 0
        while self._waited(self.images, given):
            for image in self.images[given:]:
                given += 1
                yield image

    def answers(self, queries: Sequence[Query]) -> Generator[Answer]:
        """What every image says to the one query that is written, in the images' order, as soon as it can be had."""
        (asked,) = [query for query in queries if query.keep]
        borders, known = self.borders(asked), self._scores.setdefault(asked.digest(), {})
        given = 0
        while self._waited(self._predictor, given):
            stream = cast(
                "Generator[PredictedRows]", self._predictor.stream(queries, probabilities="float32", first=given)
            )
            with closing(stream):
                for rows in stream:
                    maps_phw = cast(np.ndarray, rows.probabilities_phw)
                    for place, score, probability_hw in zip(
                        rows.image_index_p.tolist(), rows.score_p.tolist(), maps_phw, strict=True
                    ):
                        given = place + 1
                        index = self._encoded[place]
                        known[index] = score
                        yield Answer(index, score, probability_hw.shape, packed(levels_of(probability_hw, borders)))

    def borders(self, query: Query) -> tuple[float, ...]:
        """The thresholds that the levels of its answers tell apart."""
        return borders_with([query.threshold, self.threshold])

    def of_entry(self, uid: str) -> list[Query]:
        """The query of an entry, to be written, and those without which it cannot be had."""
        with self._writing:
            entry = self.collection.of(uid)
            queries = [replace(query, keep=True) for query in self.collection.queries()]
            return only(queries, {entry.query_id})

    def of_changes(self, changes: Mapping[str, Any]) -> list[Query]:
        """A query that is not in the list."""
        return [replace(query, keep=True) for query in self.resolve([self.row_of({}, changes)])]

    def scores(self, uid: str) -> dict[int, float]:
        """By image, the greatest probability for an entry's query; asks what was not asked yet, and waits for it."""
        queries = self.of_entry(uid)
        (asked,) = [query for query in queries if query.keep]
        known = self._scores.get(asked.digest(), {})
        if not self.done or len(known) < len(self._predictor):
            known = {answer.index: answer.score for answer in self.answers(queries)}
        return dict(known)

    def image(self, index: int) -> SampleImage:
        """One that has arrived. Raises UserError."""
        if not 0 <= index < len(self.images):
            raise UserError(f"there is no image {index} in this sample")
        return self.images[index]

    def picture_of(self, index: int) -> str:
        """Keep an image of the sample as a picture for prompts; its id."""
        return self.pictures.keep(self._source.again(self.image(index).place)).id

    def entries(self) -> list[tuple[Entry, Query]]:
        """The list, each with what it means."""
        with self._writing:
            return list(zip(self.collection.entries, self.collection.queries(), strict=True))

    def close(self) -> None:
        """Let go whoever waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _waited(self, growing: Sized, beyond: int) -> bool:
        """Wait until a list has more than so many items; False where it never will."""
        with self._changed:
            while len(growing) <= beyond:
                if self.done or self._closed:
                    return False
                self._changed.wait(_WAIT_S)
            return not self._closed


def _image(index: int, sample: Sample) -> SampleImage:
    place = Place(sample.source_url, sample.key, sample.offset, sample.length or 0)
    return SampleImage(index=index, image_id=sample.image_id, place=place, status=sample.status, error=sample.error)


def _strings(cell: Any) -> list[str]:
    return [each for each in (cell if isinstance(cell, list) else [cell]) if isinstance(each, str)]
