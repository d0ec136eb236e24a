"""A SQL answer as rows, or as CSV, JSON or Parquet for a program."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import duckdb
from fsspec import AbstractFileSystem

from clipseg_ray.errors import UserError, brief
from clipseg_ray.results import reading

SHOWN_ROWS = 100
_COMPUTED = r"^[=+@\t\r-]"

_OPTIONS = {"csv": "FORMAT csv, HEADER", "json": "FORMAT json, ARRAY true", "parquet": "FORMAT parquet"}


def rows(connection: duckdb.DuckDBPyConnection, statement: str) -> tuple[list[str], list[tuple[Any, ...]], bool]:
    """Column names, the first ``SHOWN_ROWS`` rows, and whether there are more. Raises UserError."""
    cursor = _run(connection, statement)
    found = cursor.fetchmany(SHOWN_ROWS + 1)
    columns = [column[0] for column in cursor.description or ()]
    return columns, found[:SHOWN_ROWS], len(found) > SHOWN_ROWS


def write(connection: duckdb.DuckDBPyConnection, statement: str, form: str, path: str | None) -> None:
    """Write the whole answer as csv, json or parquet to a local file, or to standard output. Raises UserError."""
    if path is None and form == "parquet" and sys.stdout.isatty():
        raise UserError("--format parquet is nothing to read on a terminal; add -o FILE")
    sys.stdout.flush()
    stream = _StandardOutput()
    if path is None:
        connection.register_filesystem(stream)
    target = f"{stream.protocol}://stdout" if path is None else path
    copy = f"COPY ({statement.strip().rstrip(';')}\n) TO {reading.literal(target)} ({_OPTIONS[form]})"
    try:
        _run(connection, copy)
    except UserError:
        if isinstance(stream.fault, BrokenPipeError):
            raise stream.fault from None  # whoever reads has enough: the command line ends without a word
        if stream.fault is not None:
            raise UserError(f"standard output: {brief(stream.fault)}") from stream.fault
        raise
    finally:
        if path is None:
            connection.unregister_filesystem(stream.protocol)


class _StandardOutput(AbstractFileSystem):
    """Standard output as DuckDB writes to it, where it stands: opened by its name it would be cut to nothing, or
    written from its start, where a shell has it append to a file. ``fault`` is what the last write raised."""

    protocol = "answer"
    cachable = False
    fault: OSError | None = None

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """That there is nothing yet, which DuckDB asks before it writes."""
        raise FileNotFoundError(path)

    def open(self, path: str, mode: str = "wb", **_: Any) -> _StandardOutput:
        """The one file there is."""
        return self

    def write(self, data: bytes) -> int:
        """Write on."""
        with self._noted():
            return sys.stdout.buffer.write(data)

    def flush(self) -> None:
        """Hand on what has been written."""
        with self._noted():
            sys.stdout.buffer.flush()

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.fault = error
            raise

    def close(self) -> None:
        """It stays open: what else is printed follows."""
        self.flush()


def for_spreadsheets(connection: duckdb.DuckDBPyConnection, statement: str) -> str:
    """The statement with an apostrophe before text that a spreadsheet would compute: what begins with = + - @.

    Raises UserError.
    """
    body = statement.strip().rstrip(";")
    shown = []
    for name, kind, *_ in _run(connection, f"DESCRIBE ({body}\n)").fetchall():
        quoted = reading.identifier(name)
        computed = f"regexp_matches({quoted}, {reading.literal(_COMPUTED)})"
        text = f"CASE WHEN {computed} THEN chr(39) || {quoted} ELSE {quoted} END AS {quoted}"
        shown.append(text if kind == "VARCHAR" else quoted)
    return f"SELECT {', '.join(shown)} FROM ({body}\n)"


def _run(connection: duckdb.DuckDBPyConnection, statement: str) -> duckdb.DuckDBPyConnection:
    try:
        return connection.execute(statement)
    except duckdb.Error as error:
        raise reading.explain(error, connection) from error
