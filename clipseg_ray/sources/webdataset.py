"""WebDataset shards: tar files, plain or compressed, whose consecutive members of one key form a sample.

Tar as POSIX.1-2001 (pax) and GNU tar write it; key and extension as the WebDataset format has them: the key is the
directory and the base name up to its first dot, the extension is the rest.
"""

from __future__ import annotations

import lzma
import re
import shlex
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, Any, cast

from clipseg_ray.errors import UserError, brief
from clipseg_ray.outside_text import entered_value
from clipseg_ray.pixels import kinds
from clipseg_ray.plain_text import Unread
from clipseg_ray.sources import compression
from clipseg_ray.sources.archive import Archive, Cut, Entry
from clipseg_ray.sources.base import Place, Sample, Shard, Source
from clipseg_ray.sources.delivery import Delivery, deliver
from clipseg_ray.sources.sidecars import fields_of, is_sidecar
from clipseg_ray.storage import get_ranges

EVERY = "*"
"""What ``image_field`` says to take every image of a sample."""

_BAD_CONTENT = (
    tarfile.TarError, ValueError, KeyError, IndexError, OverflowError, RecursionError, EOFError, zlib.error,
    lzma.LZMAError,
)  # fmt: skip

SIDECAR_BYTES = 16 * 2**20
"""A longer JSON or text member is not read."""


@dataclass(slots=True)
class _Image:
    """An image member that is taken; ``data`` is None where ``why`` says why it is not read, and ``status`` too."""

    extension: str
    data: bytes | None
    offset: int | None
    why: str = ""

    @property
    def status(self) -> str:
        """What becomes of one without data."""
        return "too_large" if "input.max_image_bytes" in self.why else "missing"


@dataclass(kw_only=True)
class _Open:
    """The sample whose members are being read.

    ``seen``: its image members, taken or not. ``links``: why those that are links, devices or pipes are not read.
    ``excess`` says which sidecar is too large to be read.
    """

    key: str
    position: int
    images: list[_Image] = field(default_factory=list)
    seen: int = 0
    excess: str = ""
    extensions: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)


class WebDataset(Source):
    """Samples of tar shards, held in memory one at a time.

    ``image_field`` is one extension or a list (``jpg;png`` or ``jpg,png``), the first of which that a sample has wins;
    ``*`` takes every image of a sample, each as ``<key>.<extension>``. A ``json`` member's object gives its keys as
    fields, text members (``txt``, ``cls``, …) give one field each (``sidecars``); other members are passed over unread.
    ``id_field`` names a field; a sample without it keeps ``<shard path>/<key>``.
    """

    name = "webdataset"
    endings = (".tar", *(ending for endings in compression.ENDINGS.values() for ending in endings))

    def __init__(self, root: str, **settings: Any) -> None:
        super().__init__(root, **settings)
        given = [name.strip().lstrip(".").lower() for name in re.split("[,;]", self.image_field or "")]
        self.every = EVERY in given
        self.extensions = (not self.every and tuple(name for name in given if name)) or kinds.ENDINGS

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
        url = self.url_of(shard.path)
        with deliver(url, shard.size, shard.etag) as delivery:
            # Only a plain tar gives positions.
            head = delivery.peek(compression.HEAD_BYTES) if position is None else b""
            kind = compression.compression_of(head, shard.path) if position is None else None
            stream = cast(IO[bytes], delivery) if kind is None else compression.unpacked(delivery, kind)
            archive = Archive(stream, position or 0, delivery.size if kind is None else None)
            yield from self._samples(shard, url, delivery, archive, head=head, seekable=kind is None)

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

    def torn(self, shard: Shard, sample: Sample) -> UserError:
        """See ``Source.torn``: with the command that sorts the tar."""
        name = shard.path.rpartition("/")[2]
        folder = name.partition(".tar")[0] or name
        unpack, pack = shlex.quote(name), shlex.quote(f"{folder}-sorted.tar")
        key, extensions = sample.made_of or (sample.key, ())
        return UserError(
            f"{shard.path}: its samples are not consecutive: {', '.join(extensions)} of {key} "
            f"comes apart from what came before, so it is not known what belongs together. Sort it: mkdir "
            f"{shlex.quote(folder)} && tar -xf {unpack} -C {shlex.quote(folder)} && tar --sort=name -cf {pack} -C "
            f"{shlex.quote(folder)} . , and read that into another output.url"
        )

    def _samples(
        self, shard: Shard, url: str, delivery: Delivery, archive: Archive, *, head: bytes, seekable: bool
    ) -> Iterator[Sample]:
        sample: _Open | None = None
        entry: Entry | None = None
        broken = ""
        try:
            while (entry := archive.next()) is not None:
                if sample is not None and sample.key != entry.key:
                    yield from self._of(shard, url, sample, archive, seekable)
                    sample = None
                if sample is None:
                    sample = _Open(key=entry.key, position=entry.start)
                self._take(archive, entry, sample)
        except (*_BAD_CONTENT, Cut, OSError) as error:
            # What storage raises is transient and passes; the rest is the content's own fault: of what unpacks it, too.
            if delivery.fault is not None:
                raise
            broken = brief(error)
        if not broken:
            if sample is not None:
                yield from self._of(shard, url, sample, archive, seekable)
            return
        break_at = archive.broken_at
        # The offset of the archive's entry gives a reader entering there the same; behind a sample that has its image
        # it would not, so that place cannot be entered.
        key, start = f"@{break_at}", None
        if sample is not None and not sample.images and not sample.links and not sample.excess:
            key, start = sample.key, sample.position
        elif sample is not None:
            yield from self._of(shard, url, sample, archive, seekable)
        unit = "byte" if seekable else "byte of the uncompressed archive:"
        if break_at == 0 and head:
            broken += f": it is {kinds.detected(head)}"
        elif delivery.size == 0:
            broken = "it has no bytes"
        message = f"{shard.path}: the archive breaks off at {unit} {break_at} ({broken}); nothing behind it was read"
        yield Sample(
            image_id=f"{shard.path}/{key}",
            key=key,
            source_url=url,
            position=start if seekable else None,
            status="truncated",
            error=message,
            breaks_off=True,
        )

    def _take(self, archive: Archive, entry: Entry, sample: _Open) -> None:
        info, extension = entry.info, entry.extension
        sample.extensions.append(extension)
        kind = extension.rpartition(".")[2]
        if kind in kinds.ENDINGS or extension in self.extensions:
            sample.seen += 1
        if self.every and kind in self.extensions:
            sample.images.append(self._image(archive, entry))
        elif extension in self.extensions:
            rank = self.extensions.index(extension)
            if not info.isreg():
                sample.links.append(_no_file(info))
            elif not sample.images or rank < self.extensions.index(sample.images[0].extension):
                sample.images = [self._image(archive, entry)]
        elif is_sidecar(extension):
            if not info.isreg():
                sample.fields[extension] = Unread(_no_file(info))
                return
            if info.size > SIDECAR_BYTES:
                sample.excess = f"{info.name} has {info.size} of at most {SIDECAR_BYTES} bytes"
                return
            sample.fields |= fields_of(extension, archive.data(info), info.name)

    def _image(self, archive: Archive, entry: Entry) -> _Image:
        info = entry.info
        if not info.isreg():
            return _Image(entry.extension, None, None, _no_file(info))
        if info.size > self.max_image_bytes:
            limit = f"{self.max_image_bytes} bytes (input.max_image_bytes)"
            return _Image(entry.extension, None, None, f"{info.name} has {info.size} of at most {limit}")
        data = archive.data(info)
        return _Image(entry.extension, data, None if info.issparse() else info.offset_data)

    def _of(self, shard: Shard, url: str, found: _Open, archive: Archive, seekable: bool) -> Iterator[Sample]:
        """The sample that these members make; one for each of its images, the first with what is said of them all."""
        fields = entered_value(found.fields)
        image_id = self.id_of(fields, f"{shard.path}/{found.key}")
        further = archive.hidden + (found.seen - len(found.images) if found.images else 0)
        archive.hidden = 0
        for index, image in enumerate(found.images or [_Image("", None, None, self._lacking(found))]):
            beside = f".{image.extension}" if self.every and image.extension else ""
            sample = Sample(
                image_id=image_id + beside,
                key=found.key + beside,
                source_url=url,
                position=found.position if seekable and not index else None,
                fields=fields,
                made_of=None if index else (found.key, tuple(found.extensions)),
                further=0 if index else further,
            )
            if (why := self.without_id(fields)) is not None:
                sample.status, sample.error = "undecodable", f"{shard.path}: {why}"
            elif found.excess:
                sample.status, sample.error = "too_large", f"{shard.path}: {found.excess}"
            elif image.data is None:
                sample.status, sample.error = image.status, f"{shard.path}: {image.why}"
            else:
                sample.image, sample.length = image.data, len(image.data)
                sample.offset = image.offset if seekable else None
            yield sample

    def _lacking(self, found: _Open) -> str:
        if found.links:
            return found.links[0]
        if "" in found.extensions:
            return f"{found.key} has no ending, by which images are known; name it {found.key}.jpg or as what it is"
        has = ", ".join(dict.fromkeys(found.extensions))
        unread = not kinds.HEIF.is_read and set(found.extensions) & set(kinds.HEIF.endings)
        hint = f"; {kinds.HEIF_HINT}" if unread else ""
        return f"{found.key} has {has}, none of {', '.join(self.extensions)} (input.image_field){hint}"


def _no_file(info: tarfile.TarInfo) -> str:
    kind = "a link; links are not followed" if info.islnk() or info.issym() else "a device or pipe, and no file"
    return f"{info.name} is {kind}"
