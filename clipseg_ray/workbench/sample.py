"""The images of a workbench: a few of an input, drawn as a run would draw them, read with the run's own readers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from clipseg_ray.boundary import Boundary
from clipseg_ray.config import RunConfig
from clipseg_ray.errors import UserError
from clipseg_ray.sources import formats
from clipseg_ray.sources.base import Place, Sample
from clipseg_ray.sources.listing import append_shards, discover


@dataclass(kw_only=True)
class SampleImage:
    """One image. ``index``: its place in the sample. width, height: upright pixels, 0 until it was decoded.

    ``status``: ``waiting``, then ``ok`` or what a run would give it, ``error`` saying why. ``thumbnail``: a WebP, empty
    until then.
    """

    index: int
    image_id: str
    place: Place
    width: int = 0
    height: int = 0
    status: str = "waiting"
    error: str | None = None
    thumbnail: bytes = field(default=b"", repr=False)


class Images:
    """Which images they are, and their bytes, read once and again where one is taken as a picture prompt.

    ``total``: how many there are as far as the listing tells. Raises UserError where the input has no image.
    """

    def __init__(self, config: RunConfig, images: int) -> None:
        settings = config.input
        listing = discover(settings.url, settings.format)
        self._source = formats.source_of(
            listing.format,
            listing.root,
            image_field=settings.image_field,
            id_field=settings.id_field,
            boundary=Boundary.of_input(settings.url, settings.allow),
            max_image_bytes=settings.max_image_bytes,
        )
        drawn = images if settings.limit is None else None
        self._shards = append_shards(
            (), listing, self._source, slice_images=images, limit=settings.limit, sample=drawn, seed=settings.seed
        )
        if not self._shards:
            raise UserError(f"{', '.join(settings.url)}: holds no image; check it")
        self.paths = tuple(shard.path for shard in self._shards)
        listed = [shard.images for shard in self._shards]
        self.total = min(images, sum(count or images for count in listed))

    def read(self) -> Iterator[Sample]:
        """The samples, in the input's order, one sequential pass a shard."""
        left = self.total
        for shard in self._shards:
            for sample in islice(self._source.samples(shard), min(left, shard.take or left)):
                left -= 1
                yield sample
            if not left:
                return

    def again(self, place: Place) -> bytes:
        """The encoded image of a sample. Raises UserError where it cannot be had any more."""
        found = self._source.fetch([place])[0]
        if not isinstance(found, bytes):
            raise UserError(f"{place.key}: cannot be read again ({found})")
        return found
