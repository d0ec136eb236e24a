"""Remote stores' files in a form that DuckDB's threads can share."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from fsspec import AbstractFileSystem

from clipseg_ray.storage import Entry, Store


class SharedFiles(AbstractFileSystem):
    """Stores as a file system for ``duckdb.DuckDBPyConnection.register_filesystem``, for reading only.

    DuckDB (2.0) lets several threads seek and read one open file at once, which in fsspec's own files moves one
    thread's position under another's read: a join of a table with itself then reads garbage. Here a position belongs
    to its thread, and a read is one ranged request. Files and sizes are those given: nothing is listed or asked for.
    """

    protocol = "dataset"
    cachable = False

    def __init__(self, *stores: tuple[Store, Iterable[Entry]]) -> None:
        super().__init__()
        self._files: dict[str, tuple[Store, Entry]] = {
            self.name_of(entry.path, number): (store, entry)
            for number, (store, entries) in enumerate(stores)
            for entry in entries
        }

    @classmethod
    def name_of(cls, path: str, number: int = 0) -> str:
        """What a file of the store of this number, by its relative path, is called here: without what lies above, where
        any character may occur that means something to DuckDB."""
        return f"{cls.protocol}://{number}/{path}"

    def _file(self, name: str) -> tuple[Store, Entry]:
        return self._files[f"{self.protocol}://{self._strip_protocol(name)}"]

    def glob(self, path: str, maxdepth: int | None = None, **_: Any) -> list[str]:
        """The file of that name: DuckDB asks so for every file, and none of ours is a pattern."""
        return [path] if f"{self.protocol}://{self._strip_protocol(path)}" in self._files else []

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Name, size and type of one file."""
        entry = self._file(path)[1]
        return {"name": path, "size": entry.size, "type": "file", "etag": entry.etag}

    def size(self, path: str) -> int:
        """Bytes of one file."""
        return self._file(path)[1].size

    def modified(self, path: str) -> datetime:
        """The same moment for every file: what a dataset holds is never rewritten."""
        return datetime.fromtimestamp(0, UTC)

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        store, entry = self._file(path)
        return _SharedFile(store, entry.path, entry.size)


class _SharedFile:
    """A file whose position is each thread's own."""

    def __init__(self, store: Store, name: str, size: int) -> None:
        self.size = size
        self._store = store
        self._name = name
        self._own = threading.local()

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move this thread's position."""
        self._own.at = offset + (0, self.tell(), self.size)[whence]
        return self.tell()

    def tell(self) -> int:
        """This thread's position."""
        return getattr(self._own, "at", 0)

    def read(self, length: int = -1) -> bytes:
        """Up to ``length`` bytes, all that is left if it is negative."""
        start = self.tell()
        stop = self.size if length < 0 else min(start + length, self.size)
        data: bytes = (
            self._store.fs.cat_file(self._store.full(self._name), start=start, end=stop) if start < stop else b""
        )
        self._own.at = start + len(data)
        return data

    def close(self) -> None:
        """Nothing is held open."""
