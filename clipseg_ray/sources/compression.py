"""Compressed archives, known by their first bytes, unpacked front to back; each may be several streams joined."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from typing import IO, Any, cast

import pyarrow as pa

ENDINGS = {
    "gzip": (".tar.gz", ".tgz"),
    "bzip2": (".tar.bz2", ".tbz2", ".tbz"),
    "xz": (".tar.xz", ".txz"),
    "zstd": (".tar.zst", ".tzst", ".tar.zstd"),
}
"""Of the names of tars, by what compresses them."""

HEAD_BYTES = tarfile.BLOCKSIZE
"""How much of a file is looked at."""

_SIGNATURES = {"gzip": b"\x1f\x8b\x08", "xz": b"\xfd7zXZ\x00", "zstd": b"\x28\xb5\x2f\xfd"}
_BZIP2, _BZIP2_BLOCK = b"BZh", b"1AY&SY"  # a digit between them; a tar may begin with BZh too, in a name
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"  # behind a byte 0x50 to 0x5f: pzstd begins so


def compression_of(head: bytes, name: str) -> str | None:
    """What compresses a tar that begins with ``head``, one of ``ENDINGS``; None for a plain one.

    What a file holds counts, not how it is called; by its name goes only what begins as none of them and as no tar.
    """
    for kind, signature in _SIGNATURES.items():
        if head.startswith(signature):
            return kind
    if head[:3] == _BZIP2 and head[4:10] == _BZIP2_BLOCK:
        return "bzip2"
    if head[1:4] == _ZSTD_SKIPPABLE and head[:1] in b"PQRSTUVWXYZ[\\]^_":
        return "zstd"
    if _is_tar(head):
        return None
    return next((kind for kind, endings in ENDINGS.items() if name.lower().endswith(endings)), None)


def unpacked(stream: Any, kind: str) -> IO[bytes]:
    """A forward reader of what ``stream`` holds, compressed by ``kind``.

    Raises for damaged content: OSError, EOFError, zlib.error, lzma.LZMAError.
    """
    if kind == "gzip":
        return cast(IO[bytes], gzip.GzipFile(fileobj=stream))
    if kind == "bzip2":
        return bz2.BZ2File(stream)
    if kind == "xz":
        return lzma.LZMAFile(stream)
    return io.BufferedReader(_Zstandard(stream), _BUFFER_BYTES)


_BUFFER_BYTES = 2**18


class _Zstandard(io.RawIOBase):
    """Arrow's decompressor as a file that can be sought forward, by reading."""

    def __init__(self, stream: Any) -> None:
        self._unpacked = pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd")
        self._at = 0

    def readinto(self, buffer: Any) -> int:
        data = self._unpacked.read(len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        left = offset - self._at
        if whence != io.SEEK_SET or left < 0:
            raise io.UnsupportedOperation("a compressed archive is read front to back")
        while left and (data := self._unpacked.read(min(left, _BUFFER_BYTES))):
            left -= len(data)
            self._at += len(data)
        return self._at


def _is_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head, tarfile.ENCODING, "surrogateescape")
    except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
        return True  # an archive without a member, or without a byte
    except tarfile.TarError:
        return False
    return True
