"""A tar read header by header, with nothing kept of what was passed.

Tar as POSIX.1-2001 (pax) and GNU tar write it; key and extension as the WebDataset format has them: the key is the
directory and the base name up to its first dot, the extension is the rest.
"""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from typing import IO, Any

from clipseg_ray.outside_text import entered
from clipseg_ray.pixels.kinds import begins_as_image, is_image

_BLOCK = tarfile.BLOCKSIZE

_TOLD_BY = 16
"""Bytes by which an image without an ending is known."""

HEADER_BYTES = 2**20
"""A longer pax or GNU header, of names and times, is no header."""


class Cut(Exception):
    """The archive breaks off, though all of it was delivered."""


class _Info(tarfile.TarInfo):
    """A header that does not claim to be longer than any is: tarfile would read it all."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: Any, errors: Any) -> _Info:
        """See ``tarfile.TarInfo.frombuf``."""
        info = super().frombuf(buf, encoding, errors)
        extends = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
        if info.type in (*extends, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK) and info.size > HEADER_BYTES:
            raise tarfile.InvalidHeaderError(f"a header of {info.size} bytes")  # type: ignore[attr-defined]
        return info


@dataclass
class Entry:
    """One member of the archive: ``start`` is the offset of its first header."""

    info: tarfile.TarInfo
    start: int
    key: str
    extension: str


class Archive:
    """The members of a tar in order, with nothing kept of those passed.

    ``tarfile.TarFile.next`` takes garbage midway for the end of the archive and remembers every member, so headers
    are read one by one here. ``broken_at`` is the byte offset at which reading stopped, ``hidden`` how many images
    with a dot in front of their name were passed (resource forks, which macOS writes beside every file, are none).
    """

    def __init__(self, stream: IO[bytes], position: int, size: int | None) -> None:
        # An empty archive: it only carries the state that TarInfo.fromtarfile needs.
        self._tar = tarfile.TarFile(fileobj=io.BytesIO(bytes(2 * _BLOCK)), encoding="utf-8", errors="surrogateescape")
        self._tar.fileobj = stream
        self._tar.offset = position
        self._stream = stream
        self._size = size
        self._ended = False
        self.broken_at = position
        self.hidden = 0

    def next(self) -> Entry | None:
        """The next file, link or device; None at the end. Raises Cut, and tarfile's errors for a broken header.

        A file without an ending is one only if it begins as an image does; its ``extension`` is empty.
        """
        while True:
            start = self.broken_at = self._tar.offset
            if self._stream.tell() != start:
                self._stream.seek(start)
            try:
                info = _Info.fromtarfile(self._tar)
            except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
                # Zero blocks end an archive; joined archives go on behind them.
                self._ended = True
                self._tar.offset = start + _BLOCK
                continue
            except tarfile.EmptyHeaderError as error:  # type: ignore[attr-defined]
                if self._ended:
                    return None
                self.broken_at = self._stream.tell() if self._size is None else self._size
                raise Cut("it has no end mark") from error
            self._ended = False
            entry = entry_of(info, start)
            if entry is not None:
                return entry
            base = info.name.rpartition("/")[2]
            if (
                info.isreg()
                and info.size >= _TOLD_BY
                and base
                and not base.startswith(".")
                and begins_as_image(self._stream.read(_TOLD_BY))
            ):
                return Entry(info, start, info.name.removeprefix("./").rstrip("."), "")
            self.hidden += info.isreg() and base.startswith(".") and not base.startswith("._") and is_image(base)

    def data(self, info: tarfile.TarInfo) -> bytes:
        """A member's bytes. Raises Cut when they are not all there."""
        self.broken_at = info.offset
        if info.issparse():
            reader = self._tar.extractfile(info)
            return reader.read() if reader is not None else b""
        left = info.size if self._size is None else max(0, min(info.size, self._size - info.offset_data))
        data = self._stream.read(left)
        if len(data) < info.size:
            self.broken_at = info.offset_data + len(data)
            raise Cut(f"{info.name} has {len(data)} of {info.size} bytes")
        return data


def entry_of(info: tarfile.TarInfo, start: int) -> Entry | None:
    """The member's key and extension; None for what is no part of a sample (folders, hidden and nameless files)."""
    if not (info.isreg() or info.islnk() or info.issym() or info.isdev()):
        return None
    info.name = entered(info.name)
    folder, slash, base = info.name.removeprefix("./").rpartition("/")
    stem, _, extension = base.partition(".")
    if not stem or not extension:
        return None
    return Entry(info, start, f"{folder}{slash}{stem}", extension.lower().partition("?")[0].strip())
