"""Rows of the masks table to pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol, TypeGuard

import numpy as np
import pyarrow as pa

from clipseg_ray.errors import UserError
from clipseg_ray.masks import algebra, rle

Size = Literal["grid", "image"] | tuple[int, int]


class ArrowStream(Protocol):
    """A table that Arrow can take: pyarrow's, a data frame of pandas or Polars, a DuckDB relation."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...


Rows = ArrowStream | Mapping[str, Any]
"""A table, or one row of it by column."""


def decode(rows: Rows, size: Size = "grid") -> np.ndarray | list[np.ndarray]:
    """The masks of one row (a mapping), or of any table that Arrow can take, as bool arrays.

    rows: has ``counts``, ``height`` and ``width``; with ``size="image"`` also ``image_height`` and ``image_width``.
    size: ``"grid"`` as they are; ``"image"`` or (height, width): resized, every pixel that of the nearest centre.

    Gives [height, width] for one row; [P, height, width] for a table whose masks are of one size, else a list of P
    arrays. Arrays are column-major in memory, as run lengths are.
    """
    if _is_one(rows):
        return decode(pa.table({name: [rows[name]] for name in _columns(size)}), size)[0]
    table = rows if isinstance(rows, pa.Table) else pa.table(rows)
    if absent := [name for name in _columns(size) if name not in table.column_names]:
        raise UserError(f"the rows lack {', '.join(absent)}; select them too")
    counts, height, width = (table.column(name) for name in ("counts", "height", "width"))
    if size != "grid":
        if size == "image":
            new = [table.column("image_height"), table.column("image_width")]
        else:
            new = [pa.repeat(pa.scalar(side, pa.int64()), len(counts)) for side in size]
        counts = algebra.resize(counts, height, width, *new)
        height, width = new
    sizes_p2 = np.stack([np.asarray(height), np.asarray(width)], 1)
    if not len(sizes_p2):
        return np.zeros((0, 0, 0), np.bool_)
    if (sizes_p2 == sizes_p2[0]).all():
        return rle.decode(counts, *sizes_p2[0].tolist())
    return [rle.decode(counts.slice(row, 1), *own)[0] for row, own in enumerate(sizes_p2.tolist())]


def _columns(size: Size) -> list[str]:
    return ["counts", "height", "width", *(["image_height", "image_width"] if size == "image" else [])]


def _is_one(rows: Any) -> TypeGuard[Mapping[str, Any]]:
    try:
        return isinstance(rows["counts"], str | bytes)
    except (TypeError, KeyError, IndexError, AttributeError):
        return False
