"""Parquet shards: encoded images in a bytes column, or in a struct of bytes and path as Hugging Face has it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby, islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clipseg_ray.addresses import is_whole, joined, protocol_of, without_query
from clipseg_ray.errors import UserError, brief
from clipseg_ray.pixels import kinds
from clipseg_ray.plain_text import Unread
from clipseg_ray.redaction import redacted
from clipseg_ray.sources.base import FAILED, Place, Sample, Shard, Source
from clipseg_ray.sources.cells import records
from clipseg_ray.sources.compression import HEAD_BYTES
from clipseg_ray.sources.delivery import Delivery, deliver
from clipseg_ray.sources.faults import Fault
from clipseg_ray.sources.images import patiently, settled
from clipseg_ray.storage import StaleObject, get_many
from clipseg_ray.tables import is_bytes, plain_id, twice

IMAGE_COLUMNS = ("image", *kinds.ENDINGS, "bytes", "content")
_BATCH_ROWS = 16
_BUFFER_BYTES = 2**20
_MAGIC = b"PAR1"


class Parquet(Source):
    """Rows of Parquet shards, read row group by row group in small batches.

    ``image_field`` names the image column; by default the first of ``IMAGE_COLUMNS`` that holds bytes. ``id_field``
    names a column; rows where it is null keep ``<shard path>/<row>``. Columns without binary content become fields.
    """

    name = "parquet"
    endings = (".parquet", ".pq")
    outside = True

    def count(self, shard: Shard, at_most: int | None = None) -> int:
        """Rows as the file's footer states them; 1, an error row, for a file that cannot be read."""
        try:
            with deliver(self.url_of(shard.path), shard.size, shard.etag) as delivery:
                rows = _guarded(delivery, lambda: pq.ParquetFile(delivery).metadata.num_rows)
        except _Unreadable:
            return 1
        return rows if at_most is None else min(rows, at_most)

    def estimate(self, shard: Shard, read: Sequence[Sample]) -> int:
        """See ``Source.estimate``; the footer knows."""
        return self.count(shard)

    def fetch(self, places: Sequence[Place]) -> list[bytes | Exception | None]:
        """See ``Source.fetch``: offsets are rows; each row group that holds one of them is entered once."""
        rows_of: dict[str, set[int]] = {}
        for place in places:
            rows_of.setdefault(place.url, set()).add(int(place.key))
        found: dict[tuple[str, int], bytes | Exception] = {}
        for url, rows in rows_of.items():
            try:
                for row, image in self._at(url, sorted(rows)):
                    found[url, row] = image
            except Exception as error:
                found |= {(url, row): error for row in rows if (url, row) not in found}
        gone = StaleObject("the file has fewer rows than when it was read")
        return [found.get((place.url, int(place.key)), gone) for place in places]

    def _at(self, url: str, rows: Sequence[int]) -> Iterator[tuple[int, bytes | Exception]]:
        """The images in these rows, which ascend."""
        shard = Shard.at(url)
        with deliver(url, shard.size, shard.etag) as delivery:
            file = _guarded(delivery, lambda: pq.ParquetFile(delivery).metadata)
            ends = list(accumulate(file.row_group(group).num_rows for group in range(file.num_row_groups)))
            for _, near in groupby(rows, lambda row: bisect_right(ends, row)):
                wanted = list(near)
                stretch = islice(self._rows(shard, delivery, wanted[0]), wanted[-1] - wanted[0] + 1)
                for row, sample in enumerate(stretch, wanted[0]):
                    if row in wanted:
                        lost = OSError if sample.status == FAILED else FileNotFoundError  # may come back, or not
                        yield row, sample.image or lost(sample.error)

    def samples(self, shard: Shard, position: int | None = None) -> Iterator[Sample]:
        """See ``Source.samples``; positions and offsets are row indices."""
        url = self.url_of(shard.path)
        row = position or 0
        with deliver(url, shard.size, shard.etag) as delivery:
            try:
                for sample in self._rows(shard, delivery, row):
                    yield sample
                    row += 1
            except _Unreadable as error:
                status = "truncated" if _is_cut(delivery) else "undecodable"
                said = f"{error}{_other_kind(delivery)}"
                message = f"{shard.path}: cannot be read from row {row} on ({said}); nothing behind it was read"
                image_id, key = f"{shard.path}/@{row}", f"@{row}"
                yield Sample(
                    image_id=image_id,
                    key=key,
                    source_url=url,
                    position=row,
                    status=status,
                    error=message,
                    breaks_off=True,
                )

    def _rows(self, shard: Shard, delivery: Delivery, start: int) -> Iterator[Sample]:
        # Without pre-buffering and with a read buffer, Arrow streams a column instead of loading its whole chunk.
        file = _guarded(delivery, lambda: pq.ParquetFile(delivery, buffer_size=_BUFFER_BYTES, pre_buffer=False))
        schema = file.schema_arrow
        if (name := twice(schema.names)) is not None:
            raise UserError(f"{shard.path}: two columns are named {name!r}; give each its own name")
        column = self._image_column(schema, shard)
        is_struct = pa.types.is_struct(schema.field(column).type)
        has_path = is_struct and schema.field(column).type.get_field_index("path") >= 0
        asked = (self.id_field, self.text_field)  # their text may be kept as bytes
        others = [field for field in schema if field.name != column]
        small = [field.name for field in others if field.name in asked or not _holds_binary(field.type)]
        if self.id_field is not None and self.id_field not in small:
            raise UserError(
                f"{shard.path}: it has no column '{self.id_field}' (input.id_field) to take ids from; it has "
                f"{', '.join(schema.names)}"
            )
        beside = small + ([f"{column}.path"] if has_path else [])
        first = 0
        for group in range(file.metadata.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if first + rows > start:
                # Small columns at once, then the images alone: reading them side by side would jump between
                # distant parts of the file with each batch.
                # By name: a column's path is also that of those named like it with a point and more.
                fields = _read_group(delivery, file, group, beside).select(small + ([column] if has_path else []))
                images = self._images(delivery, file, group, column, f"{column}.bytes" if is_struct else column)
                done = 0
                for batch in images:
                    skip = min(max(start - first - done, 0), len(batch))
                    lines = records(fields.slice(done + skip, len(batch) - skip))
                    lines = lines or [{} for _ in range(len(batch) - skip)]
                    paths = [(line.pop(column, None) or {}).get("path") if has_path else None for line in lines]
                    encoded = self._fetched(shard, batch[skip:], paths)
                    for row, image in enumerate(encoded, skip):
                        line, path = lines[row - skip], paths[row - skip]
                        sample = self._sample(shard, first + done + row, image, fields=line, path=path)
                        sample.held = batch[row] is not None
                        yield sample
                    done += len(batch)
            first += rows

    def _images(
        self, delivery: Delivery, file: pq.ParquetFile, group: int, name: str, leaf: str
    ) -> Iterator[list[bytes | None]]:
        batches = file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=[leaf], use_threads=False)
        while (batch := _guarded(delivery, lambda: next(batches, None))) is not None:
            column = batch.column(name)
            if isinstance(column, pa.StructArray):
                column = column.flatten()[0]
            yield column.to_pylist()

    def _fetched(
        self, shard: Shard, encoded: Sequence[bytes | None], paths: Sequence[str | Unread | None]
    ) -> list[bytes | Fault | None]:
        """The images with those that are only named fetched, or what stands for these."""
        boundary = self.boundary.beside(self._folder(shard))
        named = [
            index
            for index, image in enumerate(encoded)
            if image is None and paths[index] and not isinstance(paths[index], Unread)
        ]
        urls = [self._beside(shard, str(paths[index])) for index in named]

        def get(asked: Sequence[int]) -> list[bytes | Exception]:
            allowed = [url for index in asked if boundary.allows(url := urls[index])]
            fetched = get_many(allowed, at_most=self.max_image_bytes, hosts=boundary.hosts)
            bodies = dict(zip(allowed, fetched, strict=True))
            return [bodies[url] if (url := urls[index]) in bodies else boundary.refusal(url) for index in asked]

        found: list[bytes | Fault | None] = list(encoded)
        for index, image in zip(named, settled(patiently(get, urls), urls), strict=True):
            found[index] = image
        return found

    def _folder(self, shard: Shard) -> str:
        return without_query(self.url_of(shard.path)).rpartition("/")[0] or "/"

    def _beside(self, shard: Shard, path: str) -> str:
        if is_whole(path) or path.startswith("~"):
            return path
        folder = self._folder(shard)
        return f"{folder.rstrip('/')}/{path}" if protocol_of(folder) == "file" else joined(folder, path)

    def _sample(
        self,
        shard: Shard,
        row: int,
        image: bytes | Fault | None,
        *,
        fields: dict[str, Any],
        path: str | Unread | None,
    ) -> Sample:
        if self.id_field in fields:
            fields[self.id_field] = plain_id(fields[self.id_field])
        image_id, url = self.id_of(fields, f"{shard.path}/{row}"), self.url_of(shard.path)
        sample = Sample(image_id=image_id, key=str(row), source_url=url, position=row, offset=row, fields=fields)
        fault = image if isinstance(image, Fault) else None
        if (why := self.without_id(fields)) is not None:
            sample.status, sample.error = "undecodable", f"{shard.path}: row {row}: {why}"
        elif fault and fault.status != "too_large":
            sample.status, named = fault.status or FAILED, redacted(self._beside(shard, str(path)))
            why = fault.words if fault.words.startswith(named) else f"{named}: {redacted(fault.words)}"
            sample.error, sample.answered = f"{shard.path}: row {row} names {why}", fault.answered
        elif fault or (isinstance(image, bytes) and len(image) > self.max_image_bytes):
            limit = f"{self.max_image_bytes} bytes (input.max_image_bytes)"
            sample.status, sample.error = "too_large", f"{shard.path}: row {row} has more than {limit}"
        elif isinstance(image, bytes):
            sample.image, sample.length = image, len(image)
        elif isinstance(path, Unread):
            sample.status, sample.error = "missing", f"{shard.path}: row {row} names no image that can be read: {path}"
        else:
            sample.status, sample.error = "missing", f"{shard.path}: row {row} holds no image"
        return sample

    def _image_column(self, schema: pa.Schema, shard: Shard) -> str:
        names = (self.image_field,) if self.image_field else IMAGE_COLUMNS
        for name in names:
            if name in schema.names and _is_image(schema.field(name).type):
                return str(name)
        has = ", ".join(f"{field.name} ({field.type})" for field in schema)
        if self.image_field in schema.names:
            raise UserError(
                f"{shard.path}: column '{self.image_field}' (input.image_field) holds no bytes; it has {has[:500]}. "
                "Where a column names image files, set input.format: manifest"
            )
        wanted = f"column '{self.image_field}'" if self.image_field else f"bytes column {', '.join(IMAGE_COLUMNS)}"
        raise UserError(f"{shard.path}: it has no {wanted}; set input.image_field to one of its columns: {has[:500]}")


class _Unreadable(Exception):
    """The file's content, fully delivered, is not what Parquet asks for."""


def _guarded(delivery: Delivery, action: Any) -> Any:
    """Run a reading action of pyarrow. Raises the storage's own fault, else _Unreadable."""
    try:
        return action()
    except MemoryError:
        raise
    except Exception as error:
        if delivery.fault is not None:
            raise delivery.fault from (None if error is delivery.fault else error)
        raise _Unreadable(brief(error)) from error


def _read_group(delivery: Delivery, file: pq.ParquetFile, group: int, columns: list[str]) -> pa.Table:
    return _guarded(delivery, lambda: file.read_row_group(group, columns=columns, use_threads=False))


def _is_cut(delivery: Delivery) -> bool:
    """Whether the file begins as Parquet and lacks its end."""
    size = delivery.size or 0
    delivery.seek(0)
    head = delivery.read(len(_MAGIC))
    delivery.seek(max(size - len(_MAGIC), 0))
    return head == _MAGIC and delivery.read(len(_MAGIC)) != _MAGIC


def _other_kind(delivery: Delivery) -> str:
    """What a file is that does not begin as Parquet: words to add to why it cannot be read."""
    delivery.seek(0)
    head = delivery.read(HEAD_BYTES)
    return f": it is {kinds.detected(head)}" if head and not head.startswith(_MAGIC) else ""


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and is_bytes(kind.field(index).type)
    return is_bytes(kind)


def _holds_binary(kind: pa.DataType) -> bool:
    return is_bytes(kind) or any(_holds_binary(kind.field(index).type) for index in range(kind.num_fields))


def image_columns(schema: pa.Schema) -> list[str]:
    """The columns that can hold the images: bytes, or a struct with bytes in it."""
    return [field.name for field in schema if _is_image(field.type)]
