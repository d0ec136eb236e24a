"""An object store in memory that counts requests and fails on demand, and builders of input files."""

from __future__ import annotations

import hashlib
from typing import Any

import fsspec
import pytest
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from clipseg_ray.sources import chunks


class FlakyFile(AbstractBufferedFile):
    def _fetch_range(self, start: int, end: int) -> bytes:
        return self.fs.request(self.path, start, end)


class FlakyFS(AbstractFileSystem):
    """``plan`` holds one entry per coming request: None, "raise", or a number of bytes after which the body stops."""

    protocol = "flaky"
    cachable = False
    files: dict[str, bytes] = {}  # noqa: RUF012
    plan: list[Any] = []  # noqa: RUF012
    requests: list[tuple[str, int, int]] = []  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(path).removeprefix("flaky://").strip("/")

    def request(self, path: str, start: int, end: int) -> bytes:
        FlakyFS.requests.append((path, start, end))
        fault = FlakyFS.plan.pop(0) if FlakyFS.plan else None
        if fault == "raise":
            raise ConnectionResetError("connection reset by peer")
        if isinstance(fault, Exception):
            raise fault
        return FlakyFS.files[path][start:end][:fault]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        if path in FlakyFS.files:
            data = FlakyFS.files[path]
            return {"name": path, "size": len(data), "type": "file", "etag": hashlib.md5(data).hexdigest()}
        if any(name.startswith(path + "/") for name in FlakyFS.files):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        path = self._strip_protocol(path)
        below = {
            f"{path}/{name[len(path) + 1 :].split('/')[0]}" for name in FlakyFS.files if name.startswith(path + "/")
        }
        found = [self.info(path)] if path in FlakyFS.files else [self.info(name) for name in sorted(below)]
        return found if detail else [each["name"] for each in found]

    def _open(self, path: str, mode: str = "rb", **settings: Any) -> FlakyFile:
        return FlakyFile(self, path, mode, **settings)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        path = self._strip_protocol(path)
        self.info(path)
        return self.request(path, 0, len(FlakyFS.files[path]))


fsspec.register_implementation("flaky", FlakyFS, clobber=True)


@pytest.fixture
def flaky() -> Any:
    clear_flaky()
    yield FlakyFS
    clear_flaky()


def clear_flaky() -> None:
    FlakyFS.files.clear()
    FlakyFS.plan.clear()
    FlakyFS.requests.clear()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "BACKOFF_S", 0.0)
