"""The dataset as DuckDB sees it: views ``images``, ``masks`` and ``queries`` over the Parquet files, at any URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from clipseg_ray.errors import UserError
from clipseg_ray.results import layout
from clipseg_ray.storage import Store, plain_errors

_TABLES = {
    "images": f"{layout.IMAGES}/*.parquet",
    "masks": f"{layout.MASKS}/*/*.parquet",
    "queries": f"{layout.QUERIES}/*.parquet",
}


@contextmanager
def connect(store: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB connection with a view for each table that has files. Raises UserError where no dataset is.

    ``masks`` has the column ``prompt_set`` from the folder names. Remote files are read through fsspec, so that no
    DuckDB extension need be fetched.
    """
    with plain_errors(store.url):
        if not store.exists(layout.DATASET):
            raise UserError(f"{store.url}: no dataset here (no {layout.DATASET}); check the URL")
    connection = duckdb.connect()
    try:
        prefix = store.root
        if store.protocol != "file":
            connection.register_filesystem(store.fs)
            prefix = f"{store.protocol}://{store.root.lstrip('/')}"
        for name, pattern in _TABLES.items():
            folder = pattern.partition("/")[0]
            if next(iter(store.list(folder)), None) is None:
                continue
            url = f"{prefix.rstrip('/')}/{pattern}".replace("'", "''")
            hive = ", hive_partitioning = true" if name == "masks" else ""
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{url}'{hive})")
        yield connection
    finally:
        connection.close()
