"""The encoded images behind a dataset's masks, found again in its input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from clipseg_ray.boundary import Boundary
from clipseg_ray.pixels.opening import ImageError, opened
from clipseg_ray.results import record
from clipseg_ray.sources import fetching, formats
from clipseg_ray.storage import Store, get_many


class SourceImages:
    """Reads images from where a run found them, inside the dataset's boundary. Raises UserError where no dataset is.

    Where they are comes with the dataset, and may be anything: only what lies in the dataset's own bucket or parent
    folder is fetched, and what is below one of the prefixes ``allow``.
    """

    def __init__(self, store: Store, allow: Sequence[str] = ()) -> None:
        settings = record.require(store).input
        self._boundary = Boundary.around(store.url, allow)
        self._source = formats.source_of(
            settings["format"],
            settings["root"],
            image_field=settings["image_field"],
            id_field=settings["id_field"],
            boundary=self._boundary,
            max_image_bytes=settings["max_image_bytes"],
        )

    def fetch(self, images: pa.Table) -> Iterator[bytes | Exception]:
        """The encoded image of each row of ``images`` (rows of the images table), in order.

        An exception stands where an image cannot be had: see :func:`clipseg_ray.sources.fetching.fetch`; Refused
        where it may not be, and an ImageError where the bytes there are no image.
        """
        allowed = {url: self._boundary.allows(url) for url in images.column("source_url").unique().to_pylist()}
        mask = [allowed[url] for url in images.column("source_url").to_pylist()]
        found = fetching.fetch(self._source, images.filter(pa.array(mask, pa.bool_())))
        for url, may in zip(images.column("source_url").to_pylist(), mask, strict=True):
            yield _checked(next(found)) if may else self._boundary.refusal(url)

    def fetch_urls(self, urls: Sequence[str]) -> list[bytes | Exception]:
        """The support pictures at URLs that the dataset names, as ``fetch`` gives them."""
        allowed = [url for url in urls if self._boundary.allows(url)]
        limit = self._source.max_image_bytes
        found = dict(zip(allowed, get_many(allowed, at_most=limit, hosts=self._boundary.hosts), strict=True))
        return [_checked(found[url]) if url in found else self._boundary.refusal(url) for url in urls]


def _checked(encoded: bytes | Exception) -> bytes | Exception:
    """What was fetched, if it is an image: a file that is none is nobody's to see."""
    if isinstance(encoded, Exception):
        return encoded
    try:
        with opened(encoded) as image:
            image.load()
    except ImageError as error:
        return error
    return encoded
