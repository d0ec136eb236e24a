"""The dataset as DuckDB sees it: views ``images``, ``masks`` and ``queries`` over the Parquet files, at any URL."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import duckdb

from clipseg_ray.errors import UserError
from clipseg_ray.results import layout, record
from clipseg_ray.results.shared_files import SharedFiles
from clipseg_ray.results.sql_functions import FUNCTIONS, register
from clipseg_ray.storage import Store, plain_errors

_TABLES = {
    "images": f"{layout.IMAGES}/*.parquet",
    "masks": f"{layout.MASKS}/*/*.parquet",
    "queries": f"{layout.QUERIES}/*.parquet",
}


def connect(store: Store, only: Mapping[str, Sequence[str]] | None = None) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with a view for each table that has files, and the functions of mask algebra.

    ``only``: for some tables the files to look at, where all of them would be too many.
    Remote files are read through fsspec, so that no
    DuckDB extension need be fetched. Close it, or use it in a ``with``. Raises UserError where no dataset is.
    """
    with plain_errors(store.url):
        record.require(store)
        present = [name for name in _TABLES if next(iter(store.list(name)), None) is not None]
    connection = duckdb.connect()
    try:
        connection.execute("SET enable_progress_bar = false")
        if store.protocol != "file":
            connection.register_filesystem(SharedFiles(store))
        for name in present:
            paths = (only or {}).get(name, [_TABLES[name]])
            urls = ", ".join(literal(store.url_of(path)) for path in paths)
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{urls}], hive_partitioning = false)")
        register(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def literal(text: str) -> str:
    """``text`` as a SQL string."""
    return "'" + text.replace("'", "''") + "'"


def explain(error: duckdb.Error, connection: duckdb.DuckDBPyConnection) -> UserError:
    """What is wrong with a statement in one line, with the columns or the signature it could have meant."""
    text = str(error).partition("Error: ")[2] or str(error)
    text = text.removeprefix("Python exception occurred while executing the UDF: UserError: ")
    said = " ".join(text.replace("^", "").partition("You might need")[0].split()).rstrip(" .")
    function = re.search(r"\b(mask_\w+)\(", said)
    if function and function[1] in FUNCTIONS:
        said += f"; {FUNCTIONS[function[1]].signature(function[1])}"
    elif isinstance(error, duckdb.BinderException | duckdb.CatalogException) and "Function" not in said:
        found = connection.execute(
            "SELECT table_name, string_agg(column_name, ', ' ORDER BY column_index) FROM duckdb_columns() "
            "WHERE NOT internal GROUP BY table_name ORDER BY max(table_name = 'masks') DESC, table_name"
        ).fetchall()
        said += "".join(f"; {table} has {columns}" for table, columns in found)
    return UserError(f"SQL: {said}")
