"""The dataset as DuckDB sees it: views ``images``, ``masks`` and ``queries`` over the Parquet files, at any URL."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import duckdb

from clipseg_ray.errors import UserError
from clipseg_ray.results import layout, own_files, record
from clipseg_ray.results.shared_files import SharedFiles
from clipseg_ray.results.sql_functions import FUNCTIONS, register
from clipseg_ray.storage import Entry, Store, plain_errors

_AT_ONCE = 16


def connect(store: Store, only: Mapping[str, Sequence[str]] | None = None) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with a view for each table that has files, and the functions of mask algebra.

    ``only``: for some tables the files to look at, where all of them would be too many. Else the views are of the
    files that are there now. Remote files are read through fsspec, so that no
    DuckDB extension need be fetched. Close it, or use it in a ``with``. Raises UserError where no dataset is.
    """
    return _connected({"main": (store, _files(store, only or {}))})


def connect_each(stores: Mapping[str, Store]) -> duckdb.DuckDBPyConnection:
    """The same of several datasets at once: the views of each are in a schema of its name, ``a.masks``."""
    return _connected({name: (store, _files(store, {})) for name, store in stores.items()})


_Files = dict[str, list[Entry]]


def _connected(stores: Mapping[str, tuple[Store, _Files]]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    try:
        connection.execute("SET enable_progress_bar = false")
        if any(store.protocol != "file" for store, _ in stores.values()):
            listed = [(store, [each for found in files.values() for each in found]) for store, files in stores.values()]
            connection.register_filesystem(SharedFiles(*listed))
        for number, (schema, (store, files)) in enumerate(stores.items()):
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            for name, entries in files.items():
                if entries:
                    named = ", ".join(literal(_as_duckdb_names(store, number, entry.path)) for entry in entries)
                    _view(connection, f"{schema}.{name}", named)
        register(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _view(connection: duckdb.DuckDBPyConnection, name: str, files: str) -> None:
    # Folders above the dataset may be called area=7: nothing is taken from a path. Some sets have further columns in
    # their file of queries.
    merged = ", union_by_name = true" if name.endswith(f".{layout.QUERIES}") else ""
    connection.execute(
        f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{files}], hive_partitioning = false{merged})"
    )


def _files(store: Store, only: Mapping[str, Sequence[str]]) -> _Files:
    """The files to look at by table, sorted."""
    with plain_errors(store.url):
        return _listed(store, only)


def _listed(store: Store, only: Mapping[str, Sequence[str]]) -> _Files:
    listing = own_files.compacted if "compacted" in record.require(store).masks else own_files.listed
    folders = [f"{layout.MASKS}/{name}" for name in store.folders(layout.MASKS)]
    found = {layout.IMAGES: [layout.IMAGES], layout.MASKS: [folder for folder in folders if layout.is_of_set(folder)]}
    files: _Files = {}
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for table, within in found.items():
            if table in only:
                files[table] = list(threads.map(store.entry, only[table]))
            else:
                files[table] = sorted(entry for folder in within for entry in listing(store, folder))
    return {**files, layout.QUERIES: sorted(own_files.listed(store, layout.QUERIES))}


def _as_duckdb_names(store: Store, number: int, path: str) -> str:
    """``path`` so that DuckDB, which takes every name for a pattern, finds that file alone."""
    if store.protocol != "file":
        return SharedFiles.name_of(path, number)
    return re.sub(r"[*?[]", r"[\g<0>]", store.url_of(path))


def columns(connection: duckdb.DuckDBPyConnection, view: str) -> list[str]:
    """The names of a view's columns; those of ``queries`` depend on what is asked in the dataset."""
    return [name for name, *_ in connection.execute(f"DESCRIBE {view}").fetchall()]


def written_queries(connection: duckdb.DuckDBPyConnection) -> str:
    """The queries that have masks, as SQL to select from: those computed for others alone are in the view too."""
    return "(FROM queries WHERE keep IS NOT FALSE)" if "keep" in columns(connection, "queries") else "queries"


def literal(text: str) -> str:
    """``text`` as a SQL string."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A column's name as SQL, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


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
