"""Single image files: a folder tree or glob, cut into slices."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from http.client import responses
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from clipseg_ray.errors import Refused, TooLarge, brief
from clipseg_ray.pixels import kinds
from clipseg_ray.redaction import redacted
from clipseg_ray.sources.base import FAILED, Member, Place, Sample, Shard, Source
from clipseg_ray.storage import StaleObject, get_listed, get_many, protocol_of

FETCH_IMAGES = 32
"""Images asked for at once."""
FETCH_BYTES = 64 * 2**20
"""Listed bytes asked for at once (one image more at most)."""

FETCH_ATTEMPTS = 3
"""How often an image is asked for again after a fault that may pass."""
BACKOFF_S = 0.5
"""Seconds before the first of these; doubled before each further one."""

_TRY_AGAIN = (408, 425, 429)


class Images(Source):
    """The images a slice names, fetched a few at a time; an image's path is its key and its ``image_id``."""

    name = "images"
    endings: ClassVar[tuple[str, ...]] = tuple(f".{ending}" for ending in kinds.ENDINGS)
    slices = True

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
        except Refused as error:
            return error
        return None

    def _fetch(self, members: Sequence[Member]) -> list[bytes | Exception]:
        """Images or what stands for them; faults that may pass are tried again, and raised if nothing else comes."""
        if protocol_of(self.root) == "file" and not Path(self.root).is_dir():
            raise OSError(f"{self.root}: the input root is not on this machine")
        fetched = self._get(members)
        for attempt in range(FETCH_ATTEMPTS):
            again = [index for index, image in enumerate(fetched) if may_pass(image)]
            if not again:
                break
            time.sleep(BACKOFF_S * 2**attempt)
            for index, image in zip(again, self._get([members[index] for index in again]), strict=True):
                fetched[index] = image
        for image in fetched:
            if isinstance(image, StaleObject):
                raise image
            if isinstance(image, Refused) or not isinstance(image, PermissionError):
                continue
            if all(isinstance(other, Exception) for other in fetched):
                raise image
        if len(fetched) > 1 and all(may_pass(image) for image in fetched):
            raise next(image for image in fetched if isinstance(image, Exception))
        return fetched

    def _sample(self, member: Member, index: int, image: bytes | Exception) -> Sample:
        url = self.url_of(member.path)
        fields = json.loads(member.fields) if member.fields else {}
        image_id = self.id_of(fields, member.path)
        sample = Sample(image_id=image_id, key=member.path, source_url=url, position=index, fields=fields)
        if isinstance(image, Exception):
            verdict = _verdict(image)
            sample.status, why = (
                ("missing", verdict) if verdict else (FAILED, f"{type(image).__name__}: {brief(image)}")
            )
            if isinstance(image, TooLarge):
                sample.status, why = "too_large", f"more than {self.max_image_bytes} bytes (input.max_image_bytes)"
            sample.error = redacted(f"{url}: {why}")
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


def may_pass(image: object) -> bool:
    """Whether this stands for a fault that may pass: not for an image, nor for one that will never come."""
    settled = isinstance(image, PermissionError | StaleObject)
    return isinstance(image, Exception) and not settled and _verdict(image) is None


def _verdict(error: Exception) -> str | None:
    """Why an image will never come, or None for a fault that may pass."""
    if isinstance(error, FileNotFoundError):
        return "not found"
    if isinstance(error, Refused | TooLarge):
        return str(error)
    if isinstance(error, IsADirectoryError | NotADirectoryError):
        return "not a file"
    code = getattr(error, "status", None)  # aiohttp.ClientResponseError
    if isinstance(code, int) and 400 <= code < 500 and code not in _TRY_AGAIN:
        return f"the server answers {code} {responses.get(code, '')}".rstrip()  # its own words may be anything
    if type(error).__name__ in ("InvalidURL", "InvalidUrlClientError", "NonHttpUrlClientError"):
        return "not a valid URL"
    if type(error).__name__ in ("InvalidUrlRedirectClientError", "NonHttpUrlRedirectClientError"):
        return "the server redirects to what is no HTTP URL"
    return None
