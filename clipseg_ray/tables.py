"""Parquet files of ours as Arrow tables; the large ones, which are cut into row groups, are written by `results.parts`.

Every page carries its checksum, and every reading of ours asks for it: a bit that storage or network turned is an
error, never another row.
"""

from collections.abc import Sequence
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from clipseg_ray.errors import UserError, brief

UNREADABLE = (pa.ArrowException, OSError)
"""What Arrow raises for bytes that are no Parquet file."""


def parquet_bytes(table: pa.Table) -> bytes:
    """A whole Parquet file, compressed with zstd."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return bytes(sink.getvalue())


def opened(file: bytes | IO[bytes]) -> pq.ParquetFile:
    """A Parquet file to read from. Raises one of ``UNREADABLE`` for what is none; its ``read`` does for pages that were
    damaged."""
    source = pa.BufferReader(file) if isinstance(file, bytes) else file
    return pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True)


def read_parquet(file: bytes | IO[bytes], columns: Sequence[str] | None = None) -> pa.Table:
    """All rows, of the named columns in that order or of all.

    Raises one of ``UNREADABLE`` as ``opened``, KeyError for no column.
    """
    # On this thread alone: those of pyarrow.parquet.read_table now and then abort a process that is ending.
    table = opened(file).read(None if columns is None else list(columns), use_threads=False)
    return table if columns is None else table.select(list(columns))


def parquet_table(data: bytes, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The same of the file called ``name``. Raises UserError that names it."""
    try:
        return read_parquet(data, columns)
    except (*UNREADABLE, KeyError) as error:
        what = "is empty" if not data else f"cannot be read as Parquet ({brief(error, 200)})"
        raise UserError(f"{name}: {what}; put back the file it was") from error
