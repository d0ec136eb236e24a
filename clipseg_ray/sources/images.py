"""Single image files: a folder tree or glob, cut into slices."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import ClassVar, TypeVar

from clipseg_ray.addresses import protocol_of
from clipseg_ray.errors import TooLarge
from clipseg_ray.pixels import kinds
from clipseg_ray.redaction import redacted
from clipseg_ray.sources.base import FAILED, Member, Place, Sample, Shard, Source
from clipseg_ray.sources.faults import WEB, Fault, fault_of
from clipseg_ray.storage import StaleObject, Store, get_listed, get_many

FETCH_IMAGES = 32
"""Images asked for at once."""
FETCH_BYTES = 64 * 2**20
"""Listed bytes asked for at once (one image more at most)."""

FETCH_ATTEMPTS = 3
"""How often an image is asked for again after a fault that may pass."""
BACKOFF_S = 0.5
"""Seconds before the first of these; doubled before each further one."""

T = TypeVar("T")


class Images(Source):
    """The images a slice names, fetched a few at a time; an image's path is its key and its ``image_id``."""

    name = "images"
    endings: ClassVar[tuple[str, ...]] = tuple(f".{ending}" for ending in kinds.ENDINGS)
    slices = outside = True

    def count(self, shard: Shard, at_most: int | None = None) -> int:
        """Members of the slice."""
        count = len(shard.members or ())
        return count if at_most is None else min(count, at_most)

    def samples(self, shard: Shard, position: int | None = None) -> Iterator[Sample]:
        """See ``Source.samples``; positions are indices in the slice."""
        members = shard.members or ()
        for start, stop in pairwise(_cuts(members, position or 0)):
            fetched = self._fetch(members[start:stop])
            for index, image in enumerate(fetched, start):
                yield self._sample(members[index], index, image)

    def fetch(self, places: Sequence[Place]) -> list[bytes | Exception | None]:
        """See ``Source.fetch``: each a whole object."""
        urls = [place.url for place in places]
        return list(get_many(urls, at_most=self.max_image_bytes, hosts=self.boundary.hosts))

    def refuse(self, url: str) -> None:
        """Raise Refused for an image that may not be fetched: what a listing of the input names always may."""

    def addresses(self, members: Sequence[Member]) -> list[str]:
        """The URLs under which members are fetched."""
        return [self.url_of(member.path) for member in members]

    def _get(self, members: Sequence[Member]) -> list[bytes | Exception]:
        """Each member's image, or what stands for it; what is refused or listed as too large is not asked for."""
        found: list[bytes | Exception | None] = [self._unasked(member) for member in members]
        asked = [index for index, image in enumerate(found) if image is None]
        urls = self.addresses([members[index] for index in asked])
        listed = [(url, members[index].etag) for url, index in zip(urls, asked, strict=True)]
        fetched = get_listed(listed, at_most=self.max_image_bytes, hosts=self.boundary.hosts)
        for index, image in zip(asked, fetched, strict=True):
            found[index] = image
        return [image for image in found if image is not None]

    def _unasked(self, member: Member) -> Exception | None:
        if member.size > self.max_image_bytes:
            return TooLarge(f"{member.size} bytes, more than {self.max_image_bytes}")
        try:
            self.refuse(member.path)
        except Exception as error:  # its place is refused, or no place at all
            return error
        return None

    def _fetch(self, members: Sequence[Member]) -> list[bytes | Fault]:
        """Images or what stands for them. Raises what they share: an input that is gone, changed or shut to all.

        Hosts of the web have nothing in common: however many of them are gone, others are asked for the next images.
        """
        root = Store(self.root)
        if root.protocol == "file" and not root.fs.isdir(root.root):
            raise OSError(f"{self.root}: the input root is not on this machine")
        urls = [self.url_of(member.path) for member in members]
        fetched = patiently(lambda asked: self._get([members[index] for index in asked]), urls)
        for image in fetched:
            if isinstance(image, StaleObject):
                raise image
        found = settled(fetched, urls)
        lost = [image for image in found if isinstance(image, Fault) and image.status is None]
        if len(lost) == len(found) > 1 and not any(protocol_of(url) in WEB for url in urls):
            raise next(image for image in fetched if isinstance(image, Exception))
        return found

    def _sample(self, member: Member, index: int, image: bytes | Fault) -> Sample:
        url = self.url_of(member.path)
        fields = json.loads(member.fields) if member.fields else {}
        image_id = self.id_of(fields, member.path)
        sample = Sample(image_id=image_id, key=member.path, source_url=url, position=index, fields=fields)
        if isinstance(image, Fault):
            sample.status, sample.answered = image.status or FAILED, image.answered
            why = image.words
            if image.status == "too_large":
                why = f"more than {self.max_image_bytes} bytes (input.max_image_bytes)"
            sample.error = redacted(why if why.startswith(f"{url}: ") else f"{url}: {why}")
            return sample
        if member.size and len(image) != member.size:
            raise StaleObject(f"{url} changed since it was listed ({member.size} bytes, now {len(image)})")
        sample.image, sample.offset, sample.length = image, 0, len(image)
        return sample


def _cuts(members: Sequence[Member], start: int) -> Iterator[int]:
    """Bounds of the batches to fetch."""
    yield start
    count = size = 0
    for index in range(start, len(members)):
        count += 1
        size += members[index].size
        if count == FETCH_IMAGES or size >= FETCH_BYTES or index + 1 == len(members):
            yield index + 1
            count = size = 0


def patiently(get: Callable[[Sequence[int]], Sequence[T]], urls: Sequence[str]) -> list[T]:
    """What ``get`` gives for the images at ``urls``, by their indices; it is asked again where a fault may pass.

    Where ``get`` gives neither an image nor an exception, that is what stands there.
    """
    found = list(get(range(len(urls))))
    for attempt in range(FETCH_ATTEMPTS):
        again = [
            index
            for index, image in enumerate(found)
            if isinstance(image, Exception) and fault_of(image, urls[index]).passing
        ]
        if not again:
            break
        time.sleep(BACKOFF_S * 2**attempt)
        for index, image in zip(again, get(again), strict=True):
            found[index] = image
    return found


def settled(fetched: Sequence[bytes | Exception], urls: Sequence[str]) -> list[bytes | Fault]:
    """Images that were asked for together, and of the others what their faults mean."""
    some = any(isinstance(image, bytes) for image in fetched)
    return [
        fault_of(image, url, beside=some) if isinstance(image, Exception) else image
        for image, url in zip(fetched, urls, strict=True)
    ]
