"""A remote store's files in a form that DuckDB's threads can share."""

from __future__ import annotations

import fnmatch
import threading
from datetime import UTC, datetime
from typing import Any

from fsspec import AbstractFileSystem

from clipseg_ray.storage import Entry, Store


class SharedFiles(AbstractFileSystem):
    """A store as a file system for ``duckdb.DuckDBPyConnection.register_filesystem``, for reading only.

    DuckDB (2.0) lets several threads seek and read one open file at once, which in fsspec's own files moves one
    thread's position under another's read: a join of a table with itself then reads garbage. Here a position belongs
    to its thread, and a read is one ranged request. Sizes come from the listing, without a request per file.
    """

    cachable = False

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.protocol = store.protocol
        self._store = store
        self._entries: dict[str, Entry] = {}

    def _relative(self, path: str) -> str:
        return path.removeprefix(f"{self._store.url}/")

    def _entry(self, path: str) -> Entry:
        name = self._relative(path)
        if name not in self._entries:
            self._entries[name] = self._store.entry(name)
        return self._entries[name]

    def glob(self, path: str, maxdepth: int | None = None, **_: Any) -> list[str]:
        """URLs that match a pattern of ``*``, sorted."""
        pattern = self._relative(path)
        folder = pattern.partition("*")[0].rpartition("/")[0]
        depth = pattern.count("/")
        found = {entry.path: entry for entry in self._store.list(folder)}
        self._entries |= found
        return [
            self._store.url_of(name)
            for name in sorted(found)
            if name.count("/") == depth and fnmatch.fnmatchcase(name, pattern)
        ]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Name, size and type of one file."""
        entry = self._entry(path)
        return {"name": path, "size": entry.size, "type": "file", "etag": entry.etag}

    def size(self, path: str) -> int:
        """Bytes of one file."""
        return self._entry(path).size

    def modified(self, path: str) -> datetime:
        """The same moment for every file: what a dataset holds is never rewritten."""
        return datetime.fromtimestamp(0, UTC)

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        return _SharedFile(self._store, self._relative(path), self._entry(path).size)


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
