"""WebDataset shards: tar files, plain or gzip-compressed, whose consecutive members of one key form a sample.

Tar as POSIX.1-2001 (pax) and GNU tar write it; key and extension as the WebDataset format has them: the key is the
directory and the base name up to its first dot, the extension is the rest.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, Any, cast

from clipseg_ray.errors import brief
from clipseg_ray.sources.base import Place, Sample, Shard, Source
from clipseg_ray.sources.delivery import Delivery, deliver
from clipseg_ray.sources.sidecars import fields_of, is_sidecar
from clipseg_ray.storage import get_ranges

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")

_BLOCK = tarfile.BLOCKSIZE
_BAD_CONTENT = (
    tarfile.TarError, ValueError, KeyError, IndexError, OverflowError, RecursionError, EOFError, zlib.error,
)  # fmt: skip

HEADER_BYTES = 2**20
"""A longer pax or GNU header, of names and times, is no header."""
SIDECAR_BYTES = 16 * 2**20
"""A longer JSON or text member is not read."""


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
class _Entry:
    """One member of the archive: ``start`` is the offset of its first header."""

    info: tarfile.TarInfo
    start: int
    key: str
    extension: str


@dataclass(kw_only=True)
class _Open:
    """The sample whose members are being read.

    ``rank`` is its image's place in the extension list; ``excess`` says which member is too large to be read.
    """

    key: str
    position: int
    image: bytes | None = None
    offset: int | None = None
    rank: int | None = None
    excess: str = ""
    extensions: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)


class WebDataset(Source):
    """Samples of tar shards, held in memory one at a time.

    ``image_field`` is one extension or a comma-separated list, the first of which that a sample has wins. A ``json``
    member's object gives its keys as fields, text members (``txt``, ``cls``, …) give one field each (``sidecars``);
    other members are passed over unread. ``id_field`` names a field; a sample without it keeps ``<shard path>/<key>``.
    """

    name = "webdataset"
    endings = (".tar", ".tgz", ".tar.gz")

    def __init__(self, root: str, **settings: Any) -> None:
        super().__init__(root, **settings)
        given = [name.strip().lstrip(".").lower() for name in (self.image_field or "").split(",")]
        self.extensions = tuple(name for name in given if name) or IMAGE_EXTENSIONS

    def count(self, shard: Shard, at_most: int | None = None) -> int:
        """Samples in the shard, by reading it: a tar has no index."""
        return sum(1 for _ in islice(self.samples(shard), at_most))

    def estimate(self, shard: Shard, read: Sequence[Sample]) -> int:
        """See ``Source.estimate``; in a plain tar by the stretch read, headers and sidecars included."""
        start, last = read[0].position, read[-1]
        if start is None or last.offset is None or last.length is None:
            return super().estimate(shard, read)
        return round(shard.size * len(read) / (last.offset + last.length - start))

    def samples(self, shard: Shard, position: int | None = None) -> Iterator[Sample]:
        """See ``Source.samples``; positions are byte offsets of tar headers, None in a compressed tar."""
        with deliver(self.url_of(shard.path), shard.size, shard.etag) as delivery:
            if shard.path.lower().endswith((".tgz", ".gz")):
                unpacked = cast(IO[bytes], gzip.GzipFile(fileobj=cast(IO[bytes], delivery)))
                yield from self._samples(shard, delivery, unpacked, size=None, position=0, seekable=False)
            else:
                stream = cast(IO[bytes], delivery)
                size = delivery.size
                yield from self._samples(shard, delivery, stream, size=size, position=position or 0, seekable=True)

    def fetch(self, places: Sequence[Place]) -> list[bytes | Exception | None]:
        """See ``Source.fetch``: one ranged read each; None for those of compressed tars and for sparse members."""
        direct = [index for index, place in enumerate(places) if place.offset is not None]
        ranges = [
            (place.url, place.offset, place.offset + place.length) for place in places if place.offset is not None
        ]
        found: list[bytes | Exception | None] = [None] * len(places)
        for index, image in zip(direct, get_ranges(ranges, hosts=self.boundary.hosts), strict=True):
            found[index] = image
        return found

    def _samples(
        self, shard: Shard, delivery: Delivery, stream: IO[bytes], *, size: int | None, position: int, seekable: bool
    ) -> Iterator[Sample]:
        archive = _Archive(stream, position, size)
        sample: _Open | None = None
        entry: _Entry | None = None
        broken = ""
        try:
            while (entry := archive.next()) is not None:
                if sample is not None and sample.key != entry.key:
                    yield self._sample(shard, sample, seekable)
                    sample = None
                if sample is None:
                    sample = _Open(key=entry.key, position=entry.start)
                self._take(archive, entry, sample)
        except (*_BAD_CONTENT, Cut, OSError) as error:
            # What storage raises is transient and passes; the rest is the content's own fault. gzip.BadGzipFile is
            # an OSError too, hence the look at where it came from.
            if delivery.fault is not None or (isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile)):
                raise
            broken = brief(error)
        if not broken:
            if sample is not None:
                yield self._sample(shard, sample, seekable)
            return
        break_at = archive.broken_at
        # The offset of the archive's entry gives a reader entering there the same; behind a sample that has its image
        # it would not, so that place cannot be entered.
        key, start = f"@{break_at}", None
        if sample is not None and sample.image is None and not sample.links and not sample.excess:
            key, start = sample.key, sample.position
        elif sample is not None:
            yield self._sample(shard, sample, seekable)
        unit = "byte" if seekable else "byte of the uncompressed archive:"
        message = f"{shard.path}: the archive breaks off at {unit} {break_at} ({broken}); nothing behind it was read"
        yield Sample(
            image_id=f"{shard.path}/{key}",
            key=key,
            source_url=self.url_of(shard.path),
            position=start if seekable else None,
            status="truncated",
            error=message,
        )

    def _take(self, archive: _Archive, entry: _Entry, sample: _Open) -> None:
        info, extension = entry.info, entry.extension
        sample.extensions.append(extension)
        if extension in self.extensions:
            rank = self.extensions.index(extension)
            if not info.isreg():
                sample.links.append(info.name)
            elif sample.rank is None or rank < sample.rank:
                sample.image, sample.rank, sample.offset, sample.excess = None, rank, None, ""
                if info.size > self.max_image_bytes:
                    sample.excess = f"{info.name} has {info.size} of at most {self.max_image_bytes} bytes "
                    sample.excess += "(input.max_image_bytes)"
                else:
                    sample.image = archive.data(info)
                    sample.offset = None if info.issparse() else info.offset_data
        elif info.isreg() and is_sidecar(extension):
            if info.size > SIDECAR_BYTES:
                sample.excess = f"{info.name} has {info.size} of at most {SIDECAR_BYTES} bytes"
                return
            sample.fields |= fields_of(extension, archive.data(info), info.name)

    def _sample(self, shard: Shard, found: _Open, seekable: bool) -> Sample:
        sample = Sample(
            image_id=self.id_of(found.fields, f"{shard.path}/{found.key}"),
            key=found.key,
            source_url=self.url_of(shard.path),
            position=found.position if seekable else None,
            fields=found.fields,
        )
        if (why := self.without_id(found.fields)) is not None:
            sample.status, sample.error = "undecodable", f"{shard.path}: {why}"
            return sample
        if found.excess:
            sample.status, sample.error = "too_large", f"{shard.path}: {found.excess}"
            return sample
        if found.image is not None:
            sample.image, sample.length = found.image, len(found.image)
            sample.offset = found.offset if seekable else None
            return sample
        sample.status = "missing"
        if found.links:
            sample.error = f"{shard.path}: {found.links[0]} is a link; links are not followed"
        else:
            has = ", ".join(dict.fromkeys(found.extensions))
            sample.error = (
                f"{shard.path}: {found.key} has {has}, none of {', '.join(self.extensions)} (input.image_field)"
            )
        return sample


class _Archive:
    """The members of a tar in order, with nothing kept of those passed.

    ``tarfile.TarFile.next`` takes garbage midway for the end of the archive and remembers every member, so headers
    are read one by one here. ``broken_at`` is the byte offset at which reading stopped.
    """

    def __init__(self, stream: IO[bytes], position: int, size: int | None) -> None:
        # An empty archive: it only carries the state that TarInfo.fromtarfile needs.
        self._tar = tarfile.TarFile(fileobj=io.BytesIO(bytes(2 * _BLOCK)))
        self._tar.fileobj = stream
        self._tar.offset = position
        self._stream = stream
        self._size = size
        self._ended = False
        self.broken_at = position

    def next(self) -> _Entry | None:
        """The next file or link; None at the end. Raises Cut, and tarfile's errors for a broken header."""
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
            entry = _entry(info, start)
            if entry is not None:
                return entry

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


def _entry(info: tarfile.TarInfo, start: int) -> _Entry | None:
    """The member's key and extension; None for what is no part of a sample (folders, hidden and nameless files)."""
    if not (info.isreg() or info.islnk() or info.issym()):
        return None
    folder, slash, base = info.name.removeprefix("./").rpartition("/")
    stem, _, extension = base.partition(".")
    if not stem or not extension:
        return None
    return _Entry(info, start, f"{folder}{slash}{stem}", extension.lower())
