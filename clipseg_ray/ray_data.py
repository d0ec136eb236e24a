"""Masks inside a Ray Data pipeline of one's own: what a run computes, as a column.

    from clipseg_ray.ray_data import SegmentBatch

    photos = ray.data.read_images("photos/", include_paths=True)
    photos.map_batches(
        SegmentBatch,
        fn_constructor_kwargs=dict(checkpoint="CIDAS/clipseg-rd64-refined", queries=["a red chair"], id_field="path"),
        batch_size=16, num_gpus=1, compute=ray.data.ActorPoolStrategy(size=1),
    )

Nothing here promises what a run does (nothing lost, nothing twice, resume): that is ``clipseg-ray run``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipseg_ray.errors import UserError, meant
from clipseg_ray.inference.asked import QueryLike
from clipseg_ray.inference.predictor import Predictor, Size
from clipseg_ray.pixels.decode import Mode
from clipseg_ray.queries.table import load_queries
from clipseg_ray.results.optional_columns import masks_schema
from clipseg_ray.results.parts import in_order

MASKS, ERROR = "masks", "masks_error"
"""The columns that are added."""

Batch = TypeVar("Batch", pa.Table, Mapping[str, Any])


class SegmentBatch:
    """A class for ``Dataset.map_batches``, made once in each actor: batches in, the same with two columns more.

    ``masks``: a list of structs, a row of a run's ``masks`` for each query, sorted by query_id; its ``image_id`` is the
    value of ``id_field``, and without that the struct has none. Empty where the image could not be read; then
    ``masks_error`` says why, which is null elsewhere.

    checkpoint, revision, device, precision, decode: see ``Predictor``. queries, or a ``table`` and ``where``,
    threshold, size: see ``Predictor.predict``. image: the column of images, encoded bytes or arrays uint8 [h, w, 3] as
    ``ray.data.read_images`` gives them; null is no image. keep_empty: whether queries that found nothing have a row.
    """

    def __init__(
        self,
        checkpoint: str,
        queries: QueryLike | Sequence[QueryLike] | None = None,
        *,
        table: str | None = None,
        where: str | None = None,
        threshold: float = 0.5,
        size: Size = "model",
        image: str = "image",
        id_field: str | None = None,
        keep_empty: bool = True,
        revision: str | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
        decode: Mode = "fast",
    ) -> None:
        """Load the checkpoint. Raises UserError as ``Predictor`` and ``predict`` do."""
        # Ray gives an actor a share of the machine: one thread, as an actor of a run takes.
        self._predictor = Predictor(checkpoint, revision, device=device, precision=precision, decode=decode, threads=1)
        if table is not None and queries is None:
            self._queries = load_queries(table, where, threshold)
        elif queries is not None and table is None:
            self._queries = self._predictor.queries(queries, threshold)
        else:
            raise UserError("SegmentBatch: give queries, or a table")
        self._size: Size = size
        self._image, self._id_field, self._keep_empty = image, id_field, keep_empty
        fields = [field for field in masks_schema(()) if id_field is not None or field.name != "image_id"]
        self._struct = pa.struct(fields)

    def __call__(self, batch: Batch) -> Batch:
        """A batch in the format ``numpy`` (Ray Data's default: a mapping of arrays) or ``pyarrow``, and the columns.

        Raises UserError where it lacks a column, or one of images holds text: what data names is not fetched.
        """
        for column in filter(None, (self._image, self._id_field)):
            names = batch.column_names if isinstance(batch, pa.Table) else list(batch)
            if column not in names:
                raise UserError(f"SegmentBatch: the batch has no column {column!r}; {meant(column, names)}")
        images = _values(batch[self._image])
        if any(isinstance(each, str) for each in images):
            raise UserError(f"SegmentBatch: column {self._image!r} holds text; read the images it names before")
        ids = None if self._id_field is None else [str(each) for each in _values(batch[self._id_field])]
        masks, errors = self._masks(images, ids)
        if isinstance(batch, pa.Table):
            column = pa.chunked_array([_lists(masks, self._struct)])
            return batch.append_column(MASKS, column).append_column(ERROR, pa.array(errors, pa.string()))
        # A list of Arrow arrays becomes one column of lists of exactly their type.
        return {**batch, MASKS: masks, ERROR: np.array(errors, object)}

    def _masks(self, images: Sequence[Any], ids: list[str] | None) -> tuple[list[pa.Array], list[str | None]]:
        """For each image an array of structs, and why there are none."""
        places = [str(place) for place in range(len(images))]
        read = self._predictor.read(images, places)
        errors = read.table["error"].to_pylist()
        found: dict[str, pa.Array] = {}
        if len(read.pixels):
            self._predictor.set_images(read)
            for part in self._predictor.stream(self._queries, size=self._size):
                for place in range(int(part.image_index_p.min()), int(part.image_index_p.max()) + 1):
                    rows = in_order(part.table.take(pa.array(np.flatnonzero(part.image_index_p == place))))
                    if not self._keep_empty:
                        rows = rows.filter(pc.greater(rows["area"], 0))
                    own = self._predictor.image_ids[place]
                    found[own] = self._structs(rows, None if ids is None else ids[int(own)])
        nothing = pa.array([], self._struct)
        return [found.get(place, nothing) for place in places], errors

    def _structs(self, rows: pa.Table, image_id: str | None) -> pa.Array:
        if image_id is not None:
            place = rows.schema.get_field_index("image_id")
            rows = rows.set_column(place, rows.schema.field(place), pa.array([image_id] * rows.num_rows, pa.string()))
        columns = [rows[field.name].combine_chunks() for field in self._struct]
        return pa.StructArray.from_arrays(columns, fields=list(self._struct))


def _lists(arrays: Sequence[pa.Array], struct: pa.StructType) -> pa.Array:
    """One array of lists, [n], of n arrays of structs."""
    offsets = np.cumsum([0, *map(len, arrays)], dtype=np.int32)
    values = pa.concat_arrays([pa.array([], struct), *arrays])
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _values(column: Any) -> list[Any]:
    """The values of a column as Python and NumPy have them; tensors, which are Ray's own types, as arrays."""
    if isinstance(column, pa.ChunkedArray):
        values = [value for chunk in column.chunks for value in _of_chunk(chunk)]
    else:
        values = list(column)
    return [value.as_py() if isinstance(value, pa.Scalar) else value for value in values]


def _of_chunk(chunk: pa.Array) -> Sequence[Any]:
    if isinstance(chunk, pa.ExtensionArray):
        return chunk.to_numpy(zero_copy_only=False)
    return chunk.to_pylist()
