"""The tars that tests read: every test that needs one writes it here."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from typing import IO

import pyarrow as pa

Members = Mapping[str, bytes] | Iterable[tuple[str | tarfile.TarInfo, bytes]]
"""Names with contents, in order; pairs where a name occurs twice or a header says more than a name."""


def tar_of(members: Members, mode: str = "w", format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar with these members in this order; mode ``w:gz`` compresses it, as do ``bz2``, ``xz`` and ``zst``."""
    if mode == "w:zst":
        return bytes(pa.compress(tar_of(members, "w", format), codec="zstd", asbytes=True))
    sink = io.BytesIO()
    write_tar(sink, members, mode, format)
    return sink.getvalue()


def write_tar(file: IO[bytes], members: Members, mode: str = "w", format: int = tarfile.PAX_FORMAT) -> None:
    """The same into a file, one member in memory at a time."""
    with tarfile.open(fileobj=file, mode=mode, format=format) as tar:
        for name, data in members.items() if isinstance(members, Mapping) else members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
