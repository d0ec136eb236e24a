"""Images that are each asked some queries alone: pairs that were frozen, and the images found again where they lie.

A file of pairs is the shard here. It is named by its bytes, so that none can be taken for another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from clipseg_ray.errors import UserError
from clipseg_ray.redaction import redacted
from clipseg_ray.sources.base import FAILED, Place, Sample, Shard, Source
from clipseg_ray.sources.faults import fault_of
from clipseg_ray.sources.fetching import fetch
from clipseg_ray.storage import StaleObject, Store
from clipseg_ray.tables import parquet_bytes, parquet_table

SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("source_url", pa.string(), nullable=False),
        pa.field("offset", pa.int64()),
        pa.field("length", pa.int64()),
        pa.field("queries", pa.list_(pa.string()), nullable=False),
        pa.field("phrases", pa.list_(pa.string()), nullable=False),
    ]
)
"""Of a file of pairs: a row for each image, with the ids of the queries of tables that it is asked, and the phrases
that came with it."""


def to_parquet(table: pa.Table) -> tuple[str, bytes]:
    """A file of pairs, and its name without ending: 16 hex digits of its SHA-256."""
    body = parquet_bytes(table.cast(SCHEMA))
    return _name_of(body), body


def from_parquet(body: bytes, name: str) -> pa.Table:
    """The inverse; ``name``: of the file, its last part without ending its own. Raises UserError for other bytes."""
    table = parquet_table(body, name, SCHEMA.names)
    if _name_of(body) != name.rpartition("/")[2].removesuffix(".parquet"):
        raise UserError(f"{name}: its bytes are not those that were frozen; put back the file it was")
    return table


def _name_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:16]


class Pairs(Source):
    """The images that files of pairs in ``folder`` name, read by the ``images`` source that has them.

    A shard has the name of its file as its id, path and etag of the object that held the images, and where images are
    objects themselves those as its members, in the order of the file's rows. ``text_field``: under which field of a
    sample its phrases are given.
    """

    name: ClassVar[str] = "pairs"

    def __init__(self, images: Source, folder: str, text_field: str | None) -> None:
        super().__init__(
            images.root,
            image_field=images.image_field,
            id_field=images.id_field,
            text_field=text_field,
            boundary=images.boundary,
            max_image_bytes=images.max_image_bytes,
        )
        self._images, self._folder = images, folder

    @property
    def outside(self) -> bool:  # type: ignore[override]
        """See ``Source.outside``."""
        return self._images.outside

    def count(self, shard: Shard, at_most: int | None = None) -> int:
        """Images of the file."""
        count = shard.images or 0
        return count if at_most is None else min(count, at_most)

    def samples(self, shard: Shard, position: int | None = None) -> Iterator[Sample]:
        """See ``Source.samples``; positions are rows of the file."""
        start = position or 0
        table = self._table(shard).slice(start)
        rows = table.to_pylist()
        found = self._images.samples(shard, start) if shard.members else self._fetched(table, rows, start)
        for row, sample in zip(rows, found, strict=True):
            if sample.image_id != row["image_id"]:
                raise StaleObject(f"{sample.source_url}: is image {sample.image_id!r} now, not {row['image_id']!r}")
            sample.asked = tuple(row["queries"])
            sample.fields = {} if self.text_field is None else {self.text_field: row["phrases"]}
            yield sample

    def fetch(self, places: Sequence[Place]) -> list[bytes | Exception | None]:
        """See ``Source.fetch``."""
        return self._images.fetch(places)

    def _table(self, shard: Shard) -> pa.Table:
        store, name = Store.of(self._folder), f"{shard.shard_id}.parquet"
        return from_parquet(store.get(name), store.url_of(name))

    def _fetched(self, table: pa.Table, rows: Sequence[dict[str, Any]], start: int) -> Iterator[Sample]:
        """Images inside of larger objects. Raises what is no fault of an image, but of the object."""
        for position, (row, image) in enumerate(zip(rows, fetch(self._images, table), strict=True), start):
            sample = Sample(
                image_id=row["image_id"],
                key=row["key"],
                source_url=row["source_url"],
                position=position,
                offset=row["offset"],
                held=not self.outside,
            )
            if isinstance(image, bytes):
                sample.image, sample.length = image, len(image)
            elif isinstance(image, StaleObject) or not self.outside:
                raise image
            else:
                fault = fault_of(image, row["source_url"])
                sample.status, sample.answered = fault.status or FAILED, fault.answered
                sample.error = redacted(f"{row['source_url']}: {fault.words}")
            yield sample
