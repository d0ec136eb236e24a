"""What every source of images gives: shards to read, and the samples of a shard in one sequential pass."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from clipseg_ray.addresses import absolute, located
from clipseg_ray.boundary import Boundary
from clipseg_ray.errors import UserError
from clipseg_ray.plain_text import Unread, is_missing, value_of
from clipseg_ray.redaction import redacted
from clipseg_ray.sources.chunking import Chunking
from clipseg_ray.storage import Store


@dataclass(frozen=True)
class Member:
    """One object of the input: a shard file, or one image of a slice.

    ``path`` is relative to the input root (a full URL where it lies elsewhere: see ``addresses.below``); ``size`` in
    bytes and ``etag`` as listed (0 and "" where a manifest names the image and nobody has listed it); ``fields`` is the
    JSON text of a manifest row's other columns, else None.
    """

    path: str
    size: int = 0
    etag: str = ""
    fields: str | None = None


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The unit of listing and reading: one object, or a slice of a folder or manifest.

    ``shard_id`` is 16 hex digits, a hash of (path, size, etag), for slices of the ordered member list; ``members`` is
    None for an object that holds its samples itself; ``take`` limits the shard to its first samples (``input.limit``,
    ``input.sample``). ``chunking``: where its chunks end.
    """

    shard_id: str
    path: str
    size: int
    etag: str
    members: tuple[Member, ...] | None = None
    take: int | None = None
    chunking: Chunking = Chunking()  # noqa: RUF009 (frozen)

    @classmethod
    def of_object(cls, member: Member, take: int | None = None) -> Shard:
        """The shard that is one input object."""
        shard_id = _hash([member], take)
        return cls(shard_id=shard_id, path=member.path, size=member.size, etag=member.etag, take=take)

    @classmethod
    def at(cls, url: str) -> Shard:
        """The shard that is the object at ``url`` as it lies there now. Raises FileNotFoundError."""
        entry = Store(url).entry("")
        return cls.of_object(Member(url, entry.size, entry.etag))

    @classmethod
    def of_slice(cls, members: Sequence[Member]) -> Shard:
        """The shard that is a slice: its path is its first member's."""
        size = sum(member.size for member in members)
        path, held = members[0].path, tuple(members)
        return cls(shard_id=_hash(members, None), path=path, size=size, etag="", members=held)

    @property
    def images(self) -> int | None:
        """How many images it holds at most, where the listing tells."""
        return len(self.members) if self.members else self.take

    def cut(self, limits: Chunking) -> Shard:
        """The same shard with chunks that fit it, none larger than ``limits``."""
        return replace(self, chunking=limits.of_shard(self.images, self.size))


def _hash(members: Sequence[Member], take: int | None) -> str:
    digest = hashlib.sha256()
    for member in members:
        digest.update(repr((member.path, member.size, member.etag, member.fields)).encode())
    if take is not None:
        digest.update(f"take {take}".encode())
    return digest.hexdigest()[:16]


FAILED = "failed"

MAX_IMAGE_BYTES = 256 * 2**20
"""Of one encoded image, unless ``input.max_image_bytes`` says otherwise."""


@dataclass(kw_only=True)
class Sample:
    """One image of a shard as it was read, before decoding.

    ``position`` says where a reader may start to get this sample first (a byte offset in a tar, a row index in a
    Parquet file, an index in a slice; None where the format cannot be entered midway). ``source_url``, ``offset`` and
    ``length`` find the encoded image again (offset: bytes in a tar, row index in a Parquet file; length in bytes).
    ``image`` is None exactly when ``status`` is not "ok"; ``error`` then says why for a person. Status ``FAILED`` is
    no verdict: the image could not be had this time, and its chunk must be tried again; ``answered``: by the word of a
    server, which shows that the network is there. ``held``: whether the image's bytes are the shard's own, not only
    named there.

    ``asked``: ids of the queries to put to it, None for all.

    ``made_of``: where several members of an archive make one sample, the name they share and what they are beside it.
    ``further``: images that lie in it too and are not taken. ``breaks_off``: it stands for the rest of a shard that
    cannot be read.
    """

    image_id: str
    key: str
    source_url: str
    image: bytes | None = None
    position: int | None = None
    offset: int | None = None
    length: int | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    status: str = "ok"
    error: str | None = None
    held: bool = True
    answered: bool = False
    asked: tuple[str, ...] | None = None
    made_of: tuple[str, tuple[str, ...]] | None = None
    further: int = 0
    breaks_off: bool = False


@dataclass(frozen=True)
class Place:
    """Where an encoded image lies, as the images table has it: ``source_url``, ``key``, ``offset``, ``length``."""

    url: str
    key: str
    offset: int | None
    length: int


class Source(ABC):
    """One input format. Built from the run's input settings; pickled to the workers; holds no open file.

    ``root`` is the input root: member paths are relative to it. ``boundary``: what images that the data only names may
    lie below. An encoded image of more than ``max_image_bytes`` is not read: its status is "too_large". ``text_field``:
    the field that phrases are taken from, so that a format reads it that would leave it out.
    ``formats.SOURCES`` is the table of all formats.
    """

    name: ClassVar[str]
    """What ``input.format`` calls it."""
    endings: ClassVar[tuple[str, ...]]
    """Of the names (lower case) by which the format is known when none is set."""
    further_endings: ClassVar[tuple[str, ...]] = ()
    """Of names that are read too once the format is set."""
    one_object: ClassVar[bool] = False
    """Whether only a single name shows the format: several such files are likely to be something else."""
    slices: ClassVar[bool] = False
    """Whether the listing names single images, to be cut into slices, rather than shards."""
    outside: ClassVar[bool] = False
    """Whether images may lie outside of the shards, so that one that is not there today may be tomorrow."""

    def __init__(
        self,
        root: str,
        *,
        image_field: str | None = None,
        id_field: str | None = None,
        text_field: str | None = None,
        boundary: Boundary = Boundary(),  # noqa: B008 (frozen)
        max_image_bytes: int = MAX_IMAGE_BYTES,
    ) -> None:
        self.root = absolute(root)
        self.image_field = image_field
        self.id_field = id_field
        self.text_field = text_field
        self.boundary = boundary
        self.max_image_bytes = max_image_bytes

    def url_of(self, path: str) -> str:
        """The full URL of a member path."""
        return located(path, self.root)

    def members(self, objects: Sequence[Member]) -> Sequence[Member]:
        """The members a listing of objects stands for: themselves, or the images a manifest names."""
        return objects

    def identity(self, member: Member) -> str:
        """What makes a member one and the same between listings: its path, unless the format knows better."""
        return member.path

    def id_of(self, fields: Mapping[str, Any], default: str) -> str:
        """The ``image_id`` of a sample or member with these fields: what ``id_field`` has, else ``default``.

        What is null, NaN or blank is none. Secrets in URLs are hidden.
        """
        value = None if self.id_field is None else fields.get(self.id_field)
        return default if is_missing(value) or isinstance(value, Unread) else redacted(str(value))

    def without_id(self, fields: Mapping[str, Any]) -> str | None:
        """Why the id that these fields should give cannot be read; None where it can, or nothing should give one."""
        value = None if self.id_field is None else value_of(fields, self.id_field)
        return f"{self.id_field} (input.id_field): {value}" if isinstance(value, Unread) else None

    def torn(self, shard: Shard, sample: Sample) -> UserError:
        """What to say where members of a sample that was given before come again, apart from the others."""
        return UserError(f"{shard.path}: the parts of {sample.key} are not together")

    def confirm(self, shard: Shard) -> None:
        """Raise StaleObject where a shard that is one object is not the one listed any more.

        Images of a slice are held against the listing one by one as they are read.
        """
        if shard.members is None and shard.etag:
            Store(self.url_of(shard.path)).confirm("", shard.etag)

    @abstractmethod
    def count(self, shard: Shard, at_most: int | None = None) -> int:
        """Number of samples in a shard, as cheaply as the format allows (``shard.take`` not applied).

        Counting may stop at ``at_most``.
        """

    def estimate(self, shard: Shard, read: Sequence[Sample]) -> int:
        """About how many samples a shard holds, from the first of them (at least one with an image)."""
        return round(shard.size * len(read) / sum(len(sample.image or b"") for sample in read))

    @abstractmethod
    def samples(self, shard: Shard, position: int | None = None) -> Iterator[Sample]:
        """The shard's samples in order, in one sequential pass, from ``position`` on (None: from the start).

        Never skips silently: an unreadable sample is yielded with its status and error. Final verdicts (undecodable
        container fully delivered, a member that is not there) are samples; a shard that is gone and transient faults
        (timeouts, 5xx, short bodies,
        StaleObject) are raised, and the caller may call again from the position of the last sample it kept.
        ``shard.take`` is applied by the caller.
        """

    @abstractmethod
    def fetch(self, places: Sequence[Place]) -> list[bytes | Exception | None]:
        """The encoded images at these places, in their order, as ``samples`` gave them.

        An exception stands where one cannot be had; None where it can only be had by reading its shard from the start.
        """
