"""A dataset of masks, opened for reading.

masks = clipseg_ray.open("s3://my-bucket/masks")
masks.sql("SELECT query_id, count(*) FILTER (area > 0) FROM masks GROUP BY 1")
pixels = masks.decode(masks.to_arrow("query_id = 'mug' AND score > 0.9"))
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa

from clipseg_ray.results import mask_pixels, reading
from clipseg_ray.results.mask_pixels import Rows, Size
from clipseg_ray.results.source_images import SourceImages
from clipseg_ray.storage import Store

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from clipseg_ray.torch_dataset import MasksDataset


class Masks:
    """What runs wrote to one output. Nothing is read before it is asked for.

    ``sql`` and the ``to_`` methods see the views ``masks``, ``images`` and ``queries`` and the functions
    of :data:`clipseg_ray.results.sql_functions.FUNCTIONS`.
    """

    def __init__(self, output: str, allow_source: str | Sequence[str] = ()) -> None:
        self._store = Store.of(output)
        self._allow = (allow_source,) if isinstance(allow_source, str) else tuple(allow_source)
        self.connection = reading.connect(self._store)
        """The DuckDB connection behind ``sql``."""

    @property
    def url(self) -> str:
        """Where the dataset lies."""
        return self._store.url

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection of your own, with the views and functions; close it after use."""
        return reading.connect(self._store)

    def sql(self, statement: str) -> duckdb.DuckDBPyRelation:
        """A SQL statement's result, computed when it is looked at: ``.fetchall()``, ``.df()``, ``.show()``

        Raises UserError for a statement that means nothing here, naming the columns there are.
        """
        try:
            return self.connection.sql(statement)
        except duckdb.Error as error:
            raise reading.explain(error, self.connection) from error

    def to_arrow(self, where: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows of ``masks`` for which the SQL condition holds; only the named columns are read."""
        return self._select(where, columns).to_arrow_table()

    def to_pandas(self, where: str | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The same as a pandas DataFrame."""
        return self._select(where, columns).df()

    def to_polars(self, where: str | None = None, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The same as a Polars DataFrame."""
        return self._select(where, columns).pl()

    def _select(self, where: str | None, columns: Sequence[str] | None) -> duckdb.DuckDBPyRelation:
        names = "*" if columns is None else ", ".join(map(reading.identifier, columns))
        return self.sql(f"SELECT {names} FROM masks" + (f" WHERE {where}" if where else ""))

    def decode(self, rows: Rows, size: Size = "grid") -> np.ndarray | list[np.ndarray]:
        """The masks of a row or a table as bool arrays: see :func:`clipseg_ray.results.mask_pixels.decode`."""
        return mask_pixels.decode(rows, size)

    def source_images(self, images: pa.Table) -> Iterator[bytes | Exception]:
        """The encoded image of each row of ``images``: see `clipseg_ray.results.source_images.SourceImages.fetch`."""
        return SourceImages(self._store, self._allow).fetch(images)

    def torch(self, query_ids: Sequence[str], size: int | None = None) -> MasksDataset:
        """Images with masks, map-style: :class:`clipseg_ray.torch_dataset.MasksDataset`.

        size: of their squares, in pixels; without it the side of what the model was given."""
        from clipseg_ray.torch_dataset import MasksDataset  # the one way from here to torch, for who asks

        return MasksDataset(self.connection, self.url, query_ids, size=size, allow_source=self._allow)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def __enter__(self) -> Masks:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def open(output: str, *, allow_source: str | Sequence[str] = ()) -> Masks:
    """Open the dataset at ``output`` (a path or URL). Raises UserError where none is.

    Its images are read inside its own bucket or parent folder; ``allow_source``: prefixes below which they may lie
    besides, paths or URLs.
    """
    return Masks(output, allow_source)
