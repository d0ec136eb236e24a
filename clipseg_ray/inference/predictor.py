"""The door for a few pictures: a model on this machine, images encoded once, anything asked of them. No Ray.

    from clipseg_ray import Predictor

    predictor = Predictor("CIDAS/clipseg-rd64-refined")
    predictor.set_images(["desk.jpg", "https://example.org/kitchen.jpg"])
    found = predictor.predict(["a red chair", {"image": "mug.jpg", "mask": [40, 30, 200, 180]}], threshold=0.4)
    found.overlay(0).save("desk-overlay.png")

What it computes is what a run computes, with the run's own code: the same images in the same order, table, precision,
batch and chunk give the same bytes.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import torch

from clipseg_ray.config import ViewsConfig
from clipseg_ray.errors import UserError
from clipseg_ray.inference import images as given_images
from clipseg_ray.inference.asked import Asked, QueryLike, queries_of
from clipseg_ray.inference.finer import Finer
from clipseg_ray.inference.images import SCHEMA, ImageLike, ReadImages
from clipseg_ray.inference.kept import nbytes_of
from clipseg_ray.inference.maps import maps_at_size
from clipseg_ray.inference.mask_rows import MaskRows
from clipseg_ray.inference.prediction import Lot, PredictedRows, Prediction
from clipseg_ray.model import checkpoint as checkpoints
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.model.precision import default_batching, resolve_precision
from clipseg_ray.model.stage import PROBABILITIES
from clipseg_ray.pixels.decode import Mode
from clipseg_ray.pixels.viewed_images import ViewedImages
from clipseg_ray.queries.prompt_set import embed
from clipseg_ray.queries.query import Query
from clipseg_ray.queries.table import load_queries

Size: TypeAlias = Literal["model", "image"]
Probabilities: TypeAlias = Literal["uint8", "float32"]

MOST_BYTES = 4 * 2**30
"""Features that are kept, at most."""
_REMEMBERED = 16
"""Questions whose conditionals are kept, so that another threshold embeds nothing."""


class Predictor:
    """A checkpoint at work on this machine, and the images that it has encoded.

    checkpoint, revision, precision: as ``model`` of a configuration has them. device: auto takes a GPU where there is
    one. batch: images encoded together (default: as a run takes). decode: see ``input.decode``. threads: batches of
    images computed at once on a CPU (default: as many as there are cores), each on one thread as a run's actors do.
    views: ``model.views`` of a configuration, such as ``{"tiles": 2}``. refine, refine_radius, refine_epsilon: see
    ``masks``. Only images side by side that have as many tiles share a batch.

    An image's features are kept: 186 kB with the released weights in bfloat16, 372 kB in float32 (of several views that
    of each, and the image), and ``MOST_BYTES`` of them at most. Methods may be called from several threads at once.
    """

    def __init__(
        self,
        checkpoint: str,
        revision: str | None = None,
        *,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
        batch: int | None = None,
        decode: Mode = "fast",
        threads: int | None = None,
        views: ViewsConfig | Mapping[str, Any] | None = None,
        refine: Literal["guided"] | None = None,
        refine_radius: int | None = None,
        refine_epsilon: float | None = None,
    ) -> None:
        """Load the checkpoint. Raises UserError where it cannot be, or the device cannot compute so."""
        self._finer = Finer.of(views, refine, refine_radius, refine_epsilon)
        self.device = _device(device)
        self.precision, _ = resolve_precision(precision, self.device)
        own_batch, decode_chunk = default_batching(self.device, self.precision)
        self.checkpoint = checkpoints.load(checkpoint, checkpoints.resolve_revision(checkpoint, revision))
        self._finer.refuse(self.checkpoint)
        self._model = make_model(
            self.checkpoint,
            device=self.device,
            precision=self.precision,
            batch=batch or own_batch,
            decode_chunk=decode_chunk,
            columns=self._finer.columns,
        )
        self.grid: tuple[int, int] = self._model.grid
        self._decode: Mode = decode
        self._engines: dict[str | None, Engine] = {None: self._engine_of({})}
        self._lots: tuple[Lot, ...] = ()
        self._conditionals: dict[tuple[str, ...], np.ndarray] = {}
        self._adding = threading.Lock()
        # A GPU is one: what several threads launch there stands in its captured graphs' way.
        self._turn: AbstractContextManager[Any] = threading.Lock() if self.device == "cuda" else nullcontext()
        self._workers = threads or _cores()
        self._pool = ThreadPoolExecutor(self._workers, "predictor", initializer=torch.set_num_threads, initargs=(1,))

    def __len__(self) -> int:
        return sum(len(lot) for lot in self._lots)

    @property
    def image_ids(self) -> list[str]:
        """The ids of the encoded images, in order."""
        return [image_id for lot in self._lots for image_id in lot.images["image_id"].to_pylist()]

    @property
    def images(self) -> pa.Table:
        """Ids and sizes of the encoded images, in order: the columns of ``inference.images.SCHEMA``."""
        return pa.concat_tables([SCHEMA.empty_table(), *(lot.images for lot in self._lots)])

    @property
    def nbytes(self) -> int:
        """Bytes of the features that are kept."""
        return sum(lot.nbytes for lot in self._lots)

    def read(self, images: ImageLike | Sequence[ImageLike], ids: Sequence[str] | None = None) -> ReadImages:
        """Read and decode images as a run does, without encoding them yet; what is none is said in the table.

        images: paths, URLs, encoded bytes, PIL images, arrays uint8 [h, w, 3]. ids: their names; unless given a path or
        URL as it is, and ``image-<place>`` for others.
        """
        preprocessing = self.checkpoint.preprocessing
        return given_images.read(images, ids, preprocessing, self._decode, self._pool, views=self._finer.views)

    def set_image(self, image: ImageLike) -> None:
        """Encode one image, in place of those that were there. Raises UserError where it is none."""
        self.set_images([image])

    def set_images(self, images: Sequence[ImageLike] | ReadImages, ids: Sequence[str] | None = None) -> None:
        """Encode images, in place of those that were there.

        Raises UserError that names each that is none; of ``read`` images those with status ok are taken.
        """
        lots = self._encoded(images, ids, ())
        with self._adding:
            self._lots = lots

    def add_images(self, images: Sequence[ImageLike] | ReadImages, ids: Sequence[str] | None = None) -> None:
        """The same, behind those that are there; as a run's next chunk."""
        with self._adding:
            self._lots += self._encoded(images, ids, self._lots)

    def queries(self, asked: QueryLike | Sequence[QueryLike], threshold: float = 0.5) -> list[Query]:
        """What is asked as resolved queries. Raises UserError that lists every fault."""
        return queries_of(asked, threshold)

    def stream(
        self,
        queries: QueryLike | Sequence[QueryLike],
        *,
        threshold: float = 0.5,
        size: Size = "model",
        probabilities: Probabilities | None = None,
        first: int = 0,
    ) -> Iterator[PredictedRows]:
        """Ask all images that are there now, or those from the ``first`` on; their answers as they come, in order.

        size: of the masks, see ``masks.size``. probabilities: also maps at the model's size, so typed (255 for 1).
        Some batches are computed ahead of the caller; closing the iterator ends that. Raises UserError as ``queries``
        does.
        """
        asked = self._ask(queries_of(queries, threshold))
        lots = [lot for lot in self._lots if lot.first + len(lot) > first]
        return self._stream(asked, lots, size, probabilities, first)

    def predict(
        self,
        queries: QueryLike | Sequence[QueryLike] | None = None,
        *,
        table: str | None = None,
        where: str | None = None,
        threshold: float = 0.5,
        size: Size = "model",
    ) -> Prediction:
        """Ask all images: texts, ``Query`` objects, rows of a query table, or the ``table`` at a path or URL.

        A row is a mapping such as ``{"text": "a mug", "image": "mug.jpg", "mask": [40, 30, 200, 180], "alpha": 0.5}``;
        picture and mask may be arrays, PIL images or bytes (``inference.asked.QueryLike``). where: an SQL condition
        over the table's columns. threshold: for queries without their own. size: of the masks, see ``masks.size``.
        Raises UserError that lists every fault, and where no image has been set.
        """
        if (queries is None) == (table is None):
            raise UserError("predict: give queries, or a table")
        if table is not None:
            wanted = load_queries(table, where, threshold)
        elif where is not None:
            raise UserError("predict: where is a condition over the columns of a table, and none is given")
        else:
            wanted = queries_of(queries or (), threshold)
        if not self._lots:
            raise UserError("predict: no image has been set; call set_images first")
        asked, lots = self._ask(wanted), self._lots
        parts = list(self._stream(asked, lots, size, None, 0))

        return Prediction(asked.queries, lots, parts, partial(self._maps, asked))

    def _maps(self, asked: Asked, lot: Lot, image: int, at_image_size: bool) -> np.ndarray:
        """Probabilities of the image at a place of the lot: float32 [queries, h, w]."""
        if not at_image_size:
            return next(self._stream(asked, [lot], "model", "float32", 0)).maps_of(lot.first + image)
        size = lot.images.slice(image, 1).to_pylist()[0]

        def compute(features: Any) -> np.ndarray:
            with self._turn:
                return maps_at_size(self._engines[None], asked, features, size["height"], size["width"])

        return next(self._ahead(compute, [lot.features[image : image + 1]]))

    def _rows(self, asked: Asked, lot: Lot, size: Size, probabilities: Probabilities | None) -> PredictedRows:
        """The answers of one batch of images."""
        rows = MaskRows(lot.images, asked.questions, at_image_size=size == "image")
        images: list[np.ndarray] = []
        queries: list[np.ndarray] = []
        maps: list[np.ndarray] = []
        with self._turn:
            for block in self._engine(probabilities).segment(
                lot.features,
                asked.questions.prompts,
                asked.questions.threshold_logits_q,
                competition=asked.questions.competition,
                want_logits=size == "image",
            ):
                if probabilities is not None:
                    maps.append(np.array(block.optional.pop(PROBABILITIES)))
                images.append(block.image_index_p)
                queries.append(block.query_index_p)
                rows.add(block)
        table = rows.table(keep_empty=True)
        return PredictedRows(
            queries=asked.queries,
            image_index_p=np.concatenate(images) + lot.first,
            query_index_p=asked.place_q[np.concatenate(queries)],
            score_p=table["score"].to_numpy(),
            table=table,
            probabilities_phw=np.concatenate(maps) if maps else None,
        )

    def _engine(self, probabilities: Probabilities | None) -> Engine:
        if probabilities not in self._engines:
            self._engines[probabilities] = self._engine_of({PROBABILITIES: probabilities})
        return self._engines[probabilities]

    def _engine_of(self, optional: Mapping[str, Any]) -> Engine:
        return Engine(self._model, optional, self._finer.refine, self._finer.views)

    def _ask(self, queries: Sequence[Query]) -> Asked:
        return Asked.of(queries, self._embed, self._engines[None].embed)

    def _embed(self, queries: Sequence[Query]) -> np.ndarray:
        """``prompt_set.embed``; the last few answers are kept."""
        key = tuple(str(query.prompt_definition()) for query in queries if query.is_prompt)
        if key not in self._conditionals:
            found = embed(queries, self.checkpoint)
            kept = list(self._conditionals.items())[1 - _REMEMBERED :]
            self._conditionals = {**dict(kept), key: found}
            return found
        return self._conditionals[key]

    def _encoded(
        self, images: Sequence[ImageLike] | ReadImages, ids: Sequence[str] | None, before: Sequence[Lot]
    ) -> tuple[Lot, ...]:
        if not isinstance(images, ReadImages):
            images = self.read(images, ids)
            images.require()
        table, engine = images.ok, self._engines[None]
        kept = {image_id for lot in before for image_id in lot.images["image_id"].to_pylist()}
        if again := [image_id for image_id in table["image_id"].to_pylist() if image_id in kept]:
            raise UserError(f"image {again[0]!r} is there already; give each image an id of its own (ids)")
        first, bytes_kept = sum(len(lot) for lot in before), sum(lot.nbytes for lot in before)
        lots: list[Lot] = []
        starts = _starts(images.pixels.tiles_b, engine.batch)
        pixels = [images.pixels[start:stop] for start, stop in pairwise(starts)]
        for start, features in zip(starts, self._ahead(self._encode, pixels), strict=False):
            rows = slice(start, start + len(features))
            lot = Lot(
                first=first + start,
                images=table.slice(start, len(features)),
                features=features,
                nbytes=nbytes_of(features, self._finer.views),
                sources=images.sources[rows],
            )
            bytes_kept += lot.nbytes
            if bytes_kept > MOST_BYTES:
                raise UserError(
                    f"images: the features of {table.num_rows + first:,} images take more than "
                    f"{MOST_BYTES / 2**30:.0f} GiB; set at most {first + start:,} at a time"
                )
            lots.append(lot)
        return tuple(lots)

    def _encode(self, pixels: ViewedImages) -> Any:
        with self._turn:
            return self._engines[None].encode(pixels)

    def _stream(
        self, asked: Asked, lots: Sequence[Lot], size: Size, probabilities: Probabilities | None, first: int
    ) -> Iterator[PredictedRows]:
        self._engine(probabilities)
        for rows in self._ahead(lambda lot: self._rows(asked, lot, size, probabilities), lots):
            yield rows if rows.image_index_p.min() >= first else rows.of_images(first)

    def _ahead(self, compute: Any, items: Sequence[Any]) -> Iterator[Any]:
        """``compute`` of each, in order, on the pool's threads; two more than there are workers are under way."""
        waiting: deque[Future[Any]] = deque()
        try:
            for item in items:
                waiting.append(self._pool.submit(compute, item))
                if len(waiting) > self._workers + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _starts(tiles_b: np.ndarray, batch: int) -> list[int]:
    """Where batches of images with as many tiles begin, and where the last ends."""
    bounds = [0, *(np.flatnonzero(np.diff(tiles_b)) + 1).tolist(), len(tiles_b)]
    return [start for first, stop in pairwise(bounds) for start in range(first, stop, batch)] + [len(tiles_b)]


def _device(device: str) -> str:
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise UserError("device: cuda is asked for and there is no GPU here; take cpu or auto")
    return "cuda" if there and device != "cpu" else "cpu"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
