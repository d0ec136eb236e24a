"""An S3 that lists millions of objects and holds a handful; the names of the others are computed when asked for."""

from __future__ import annotations

import bisect
import heapq
import io
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any


class Names:
    """Object names in one folder: each of ``stems`` with each of ``endings``, both sorted, stems of one length."""

    def __init__(self, folder: str, stems: Sequence[str], endings: Sequence[str]) -> None:
        self.folder = folder
        self._stems = stems
        self._endings = endings

    def after(self, key: str, prefix: str) -> Iterator[str]:
        """Names that begin with ``prefix`` and come behind ``key``, in order."""
        width = len(self.folder)
        first = bisect.bisect_left(self._stems, max(key, prefix)[width : width + len(self._stems[0])])
        for stem, ending in itertools.product(itertools.islice(self._stems, first, None), self._endings):
            name = f"{self.folder}{stem}{ending}"
            if name > key:
                if not name.startswith(prefix):
                    return
                yield name


class SimulatedS3:
    """What ``storage.Store`` asks of s3fs, for one bucket in memory. ``requests`` counts by kind."""

    def __init__(self, names: Sequence[Names] = ()) -> None:
        self.names = list(names)
        self.bodies: dict[str, bytes] = {}
        self.requests: Counter[str] = Counter()

    @staticmethod
    def _strip_protocol(url: str) -> str:
        return url.removeprefix("s3://").rstrip("/")

    def call_s3(self, method: str, **request: Any) -> dict[str, Any]:
        """One page of a listing."""
        assert method == "list_objects_v2"
        self.requests["list"] += 1
        start, prefix = f"{request['Bucket']}/", f"{request['Bucket']}/{request['Prefix']}"
        after = start + (request.get("ContinuationToken") or request.get("StartAfter") or "")
        held = sorted(name for name in self.bodies if name > after and name.startswith(prefix))
        folders = [each for each in self.names if prefix.startswith(each.folder) or each.folder.startswith(prefix)]
        every = heapq.merge(held, *(each.after(after, max(prefix, each.folder)) for each in folders))
        keys = list(itertools.islice(every, request["MaxKeys"] + 1))
        page = [
            {"Key": name.removeprefix(start), "Size": len(self.bodies.get(name, b"x")), "ETag": '"0"'}
            for name in keys[: request["MaxKeys"]]
        ]
        more = len(keys) > len(page)
        return {"Contents": page, "IsTruncated": more, "NextContinuationToken": page[-1]["Key"] if more else None}

    def info(self, path: str) -> dict[str, Any]:
        """Size and etag of a held object."""
        self.requests["head"] += 1
        if path not in self.bodies:
            raise FileNotFoundError(path)
        return {"name": path, "type": "file", "size": len(self.bodies[path]), "ETag": '"0"'}

    def cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes of a held object."""
        self.requests["get"] += 1
        if path not in self.bodies:
            raise FileNotFoundError(path)
        return self.bodies[path][start:end]

    def open(self, path: str, *_: Any, **__: Any) -> io.BytesIO:
        """A held object as a file."""
        return io.BytesIO(self.cat_file(path))

    def cat_ranges(
        self, paths: Sequence[str], starts: Sequence[int | None], ends: Sequence[int | None], on_error: str
    ) -> list[bytes | Exception]:
        """The bytes of several."""
        found: list[bytes | Exception] = []
        for path, start, end in zip(paths, starts, ends, strict=True):
            try:
                found.append(self.cat_file(path, start, end))
            except FileNotFoundError as error:
                found.append(error)
        return found

    def pipe_file(self, path: str, data: bytes, mode: str = "overwrite") -> None:
        """Hold an object."""
        self.requests["put"] += 1
        if mode == "create" and path in self.bodies:
            raise FileExistsError(path)
        self.bodies[path] = data
