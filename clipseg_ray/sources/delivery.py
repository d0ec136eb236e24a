"""An open input object that distinguishes a cut transfer from a cut file."""

from __future__ import annotations

import io
from typing import IO, Any

from clipseg_ray.addresses import protocol_of
from clipseg_ray.storage import Store


class ShortBody(OSError):
    """Storage delivered fewer bytes than it announced: a transient fault."""


class Delivery:
    """A seekable binary reader over one object whose reads are complete or raise.

    A read returns fewer bytes than asked only at the announced end of the object. Anything less raises ShortBody.
    ``size`` is the announced size in bytes, None where the server announces none. ``fault`` is the last exception a
    read or seek raised: with it a caller of a parsing library distinguishes storage trouble from bad content.
    """

    def __init__(self, handle: IO[bytes], size: int | None, url: str) -> None:
        self.size = size
        self.fault: Exception | None = None
        self._handle = handle
        self._url = url
        self._at = 0
        self._ahead = b""

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes; all that is left for a negative ``size``."""
        try:
            data = self._read(size)
        except RecursionError:  # the content's own: headers upon headers
            raise
        except Exception as error:
            self.fault = error
            raise
        self._at += len(data)
        return data

    def _read(self, size: int) -> bytes:
        if self.size is not None:
            left = max(self.size - self._at, 0)
            size = left if size < 0 else min(size, left)
        ahead, self._ahead = self._ahead, b""
        if size < 0:
            return ahead + self._handle.read()
        if len(ahead) > size:
            ahead, self._ahead = ahead[:size], ahead[size:]
        data = ahead + self._handle.read(size - len(ahead)) if ahead else self._handle.read(size)
        if len(data) == size:
            return data
        pieces = [data]
        missing = size - len(data)
        while missing and (piece := self._handle.read(missing)):
            pieces.append(piece)
            missing -= len(piece)
        if missing and self.size is not None:
            at = self._at + size - missing
            raise ShortBody(f"{self._url}: {at} bytes came of {self.size} announced")
        return b"".join(pieces)

    def peek(self, size: int) -> bytes:
        """The next bytes, up to ``size``, which the next read gives again."""
        self._ahead = self.read(size)
        self._at -= len(self._ahead)
        return self._ahead

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a byte offset; past the end is allowed, as in a file."""
        if whence == io.SEEK_CUR:
            offset += self._at
        elif whence == io.SEEK_END:
            if self.size is None:
                raise io.UnsupportedOperation(f"{self._url}: its size is not known")
            offset += self.size
        if offset != self._at:
            try:
                self._handle.seek(offset)
            except Exception as error:
                self.fault = error
                raise
            self._at = offset
            self._ahead = b""
        return offset

    def tell(self) -> int:
        """The byte offset of the next read."""
        return self._at

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def writable(self) -> bool:
        """Never."""
        return False

    def flush(self) -> None:
        """Nothing to flush: pyarrow and gzip call it."""

    @property
    def closed(self) -> bool:
        """Whether the object's handle is closed."""
        return self._handle.closed

    def close(self) -> None:
        """Close the object's handle."""
        self._handle.close()

    def __enter__(self) -> Delivery:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def deliver(url: str, size: int, etag: str) -> Delivery:
    """Open the object at ``url`` as it was listed. Raises FileNotFoundError, StaleObject, and what storage raises."""
    handle = Store.of(url).open("", etag or None)
    local = protocol_of(url) == "file"  # where a file is listed with its size, though it be 0
    return Delivery(handle, size or getattr(handle, "size", size if local and etag else None), url)
