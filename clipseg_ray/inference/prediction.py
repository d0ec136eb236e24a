"""What a ``Predictor`` answers: rows as they come, and all of them together."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from PIL import Image

from clipseg_ray.errors import UserError, meant
from clipseg_ray.inference.images import ImageLike, original
from clipseg_ray.masks import rle
from clipseg_ray.printable import printable
from clipseg_ray.queries.query import Query
from clipseg_ray.report.export.painted import painted
from clipseg_ray.results.parts import in_order


def called(query: Query) -> str:
    """A query in a few words: its wording where it has one, else its id."""
    return query.prompts[0] if len(query.prompts) == 1 and not query.supports else query.query_id


@dataclass(frozen=True, kw_only=True)
class Lot:
    """Images that are encoded and decoded together.

    first: the place of the first among all. images: their rows of ``images.SCHEMA``. features: as the model keeps
    them, of ``nbytes``. sources: where each can be had in its own size.
    """

    first: int
    images: pa.Table
    features: Any
    nbytes: int
    sources: tuple[ImageLike, ...]

    def __len__(self) -> int:
        return self.images.num_rows


@dataclass(frozen=True, kw_only=True)
class PredictedRows:
    """Some (image, query) rows.

    image_index_p, query_index_p: int64 [p], into the predictor's images and into ``queries``. score_p: float32 [p].
    table: the rows as a run's ``masks`` has them. probabilities_phw: uint8 (255 for 1) or float32 [p, h, w] at the
    model's size (that of an image's tiles), upright, where they were asked for; of queries that compete the map that
    was decided, 0 where another took the pixel.
    """

    queries: tuple[Query, ...]
    image_index_p: np.ndarray
    query_index_p: np.ndarray
    score_p: np.ndarray
    table: pa.Table
    probabilities_phw: np.ndarray | None

    def maps_of(self, image: int) -> np.ndarray:
        """The probabilities of one image, in the order of ``queries``: [queries, h, w]; they were asked for."""
        assert self.probabilities_phw is not None
        row_k = np.flatnonzero(self.image_index_p == image)
        return self.probabilities_phw[row_k[np.argsort(self.query_index_p[row_k])]]

    def of_images(self, first: int) -> PredictedRows:
        """The rows of images from the ``first`` on."""
        row_k = np.flatnonzero(self.image_index_p >= first)
        maps_phw = self.probabilities_phw
        return replace(
            self,
            image_index_p=self.image_index_p[row_k],
            query_index_p=self.query_index_p[row_k],
            score_p=self.score_p[row_k],
            table=self.table.take(pa.array(row_k)),
            probabilities_phw=None if maps_phw is None else maps_phw[row_k],
        )


class Prediction:
    """The answers of some queries on some images. Images are given by their place or id, queries by place or id too.

    queries: in the order of ``scores``. scores: float32 [images, queries], the greatest probability.
    """

    def __init__(
        self,
        queries: Sequence[Query],
        lots: Sequence[Lot],
        parts: Sequence[PredictedRows],
        maps: Callable[[Lot, int, bool], np.ndarray],
    ) -> None:
        """parts: the rows of all ``lots``. maps: the probabilities of an image in one, by its place there and whether
        at the image's size."""
        self.queries = tuple(queries)
        self._lots, self._maps = tuple(lots), maps
        self._table = pa.concat_tables([part.table for part in parts])
        image_p, query_p, score_p = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("image_index_p", "query_index_p", "score_p")
        )
        shape = (sum(len(lot) for lot in lots), len(self.queries))
        self.scores = np.zeros(shape, np.float32)
        self.scores[image_p, query_p] = score_p
        self._row_bq = np.zeros(shape, np.int64)
        self._row_bq[image_p, query_p] = np.arange(len(score_p))

    @cached_property
    def image_ids(self) -> list[str]:
        """In the order of ``scores``."""
        return [image_id for lot in self._lots for image_id in lot.images["image_id"].to_pylist()]

    def to_arrow(self) -> pa.Table:
        """Every (image, query) row with the columns of a run's ``masks``, in the order of its files."""
        return in_order(self._table)

    def masks(self, image: int | str = 0) -> np.ndarray:
        """The masks of one image, upright: bool [queries, h, w], at the size that was asked for."""
        rows = self._rows(image)
        (height,), (width,) = set(rows["height"].to_pylist()), set(rows["width"].to_pylist())
        return rle.decode(rows["counts"], height, width)

    def probabilities(self, image: int | str = 0, size: Literal["model", "image"] = "model") -> np.ndarray:
        """The probabilities of one image, upright: float32 [queries, h, w], at the model's size or its own.

        They are decoded again. A pixel is inside its query's mask of that size where this is above the threshold. Of
        queries that compete it is the map that was decided, 0 where another took the pixel.
        """
        place = self._place(image)
        lot = self._lot(place)
        return self._maps(lot, place - lot.first, size == "image")

    def coverages(self, image: int | str = 0) -> np.ndarray:
        """The share of one image that each mask takes: float32 [queries]; 0 where nothing was found."""
        return self._rows(image)["coverage"].to_numpy()

    def original(self, image: int | str = 0) -> Image.Image:
        """One image in its own size, upright, RGB; read again where it was given by a path or URL."""
        place = self._place(image)
        lot = self._lot(place)
        return original(lot.sources[place - lot.first])

    def overlay(self, image: int | str = 0) -> Image.Image:
        """One image with what was found painted over it, and a legend with scores below."""
        rows = self._rows(image)
        label_p = np.flatnonzero(rows["area"].to_numpy()) + 1
        names = {number: printable(called(query)) for number, query in enumerate(self.queries, 1)}
        return painted(self.original(image), rows.take(pa.array(label_p - 1)), label_p, names)

    def _repr_png_(self) -> bytes:
        """The first image's overlay, for notebooks."""
        sink = io.BytesIO()
        self.overlay().save(sink, "PNG")
        return sink.getvalue()

    def __repr__(self) -> str:
        return f"Prediction({len(self.image_ids)} image(s), {len(self.queries)} queries)"

    def _rows(self, image: int | str) -> pa.Table:
        return self._table.take(pa.array(self._row_bq[self._place(image)]))

    def _lot(self, place: int) -> Lot:
        return next(lot for lot in self._lots if place < lot.first + len(lot))

    def _place(self, image: int | str) -> int:
        if isinstance(image, str):
            if image not in self.image_ids:
                raise UserError(f"image {image!r} is not among them; {meant(image, self.image_ids, '{!r}')}")
            return self.image_ids.index(image)
        return range(len(self.image_ids))[image]
