"""Many small files into one folder: their names, and writing them a few at a time."""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from urllib.parse import quote

from clipseg_ray.errors import UserError
from clipseg_ray.storage import Store, plain_errors

_AT_ONCE = 8
_LONGEST = 200  # bytes of one name; file systems allow 255, and an extension follows
_LONGEST_PATH = 800  # bytes below the export; S3 allows 1,024 with the folder in front, file systems 4,096
_KEPT = " ()[]{}+=@,;!'&$"


def name_of(image_id: str, extension: str, mark: str = "") -> str:
    """A path below the export for an image: its id and ``extension`` (with the dot).

    Folders of the id stay folders; characters no file system likes are percent-encoded, and a name over 200 bytes is
    cut and ends in a hash of the id. A path over 800 bytes becomes its last name with such a hash. Different ids give
    different names; what ``mark`` tells apart besides has a hash of both.
    """
    digest = _digest(f"{image_id}\0{mark}" if mark else image_id)
    segments = [_segment(segment, digest) for segment in image_id.split("/")]
    if mark:
        segments[-1] = _cut(segments[-1], digest)
    path = "/".join(segments) + extension
    return path if len(path) <= _LONGEST_PATH else _cut(segments[-1].removesuffix(f"-{digest}"), digest) + extension


def one_name(text: str) -> str:
    """``text`` as the name of one file or folder, by the same rules; a slash in it is percent-encoded too."""
    return _segment(text, _digest(text))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _segment(text: str, digest: str) -> str:
    safe = quote(text, safe=_KEPT)
    if text.strip(".") == "":  # none, or "." and "..", which would lead elsewhere
        safe = "%2E" * len(text) or "%"
    return _cut(safe, digest) if len(safe) > _LONGEST else safe


def _cut(name: str, digest: str) -> str:
    return f"{name[: _LONGEST - 17]}-{digest}"


class Files:
    """Puts files into a folder, a few at once and never more than those in memory; errors come at the next call."""

    def __init__(self, destination: str) -> None:
        self.store = Store.of(destination)
        with plain_errors(self.store.url):
            present = next(iter(self.store.list()), None)
        if present is not None:
            raise UserError(f"{self.store.url}: not empty (it has {present.path}); export into a new or empty folder")
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        self._under_way: deque[Future[None]] = deque()

    def put(self, name: str, data: bytes) -> None:
        """Write one file, now or soon."""
        if len(self._under_way) >= _AT_ONCE:
            self._settle()
        self._under_way.append(self._pool.submit(self.store.put, name, data))

    def _settle(self) -> None:
        with plain_errors(self.store.url):
            self._under_way.popleft().result()

    def __enter__(self) -> Files:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            while kind is None and self._under_way:
                self._settle()
        finally:
            self._pool.shutdown(cancel_futures=True)
