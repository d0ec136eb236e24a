"""First step of a chunk: read one shard front to back, decode its images, hand on chunks of pixels."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from clipseg_ray.errors import UserError
from clipseg_ray.pipeline.row import ChunkRow
from clipseg_ray.pipeline.work import ShardWork
from clipseg_ray.pixels.decode import DecodedImage, decode_all
from clipseg_ray.pixels.preprocessing import Preprocessing
from clipseg_ray.pixels.viewed_images import Gathering
from clipseg_ray.pixels.views import Views
from clipseg_ray.queries.phrase_set import phrases_of
from clipseg_ray.redaction import redacted
from clipseg_ray.results import layout, parts, shard_records
from clipseg_ray.results.schema import IMAGES
from clipseg_ray.sources.base import FAILED, Sample, Shard, Source
from clipseg_ray.sources.chunking import Chunking
from clipseg_ray.sources.chunks import Chunk, ShardRecord, read_chunks
from clipseg_ray.sources.faults import UNREACHABLE, Unreached
from clipseg_ray.storage import Store, explain

WHOLE_SHARD = -1
READER_VERSION = 2
"""Counts the changes in what is read of the same bytes: where chunks end, which status an image gets, its pixels.

A part of the fingerprint: a dataset is not gone on with by another reader than the one that began it.
"""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads shards; made on the driver, pickled to the read tasks.

    ``give_up``: images that cannot be had now become rows with status unreachable, instead of failing their chunk.
    """

    source: Source
    preprocessing: Preprocessing
    views: Views | None = None
    decode: Literal["fast", "exact"]
    output: str
    phrase_field: str | None = None
    threads: int = 1
    give_up: bool = False

    def rows(self, work: ShardWork) -> Iterator[ChunkRow]:
        """The chunks of a shard that lack a part, in order, as rows for the Segmenter.

        At the end of a shard read in full its record is put. Whatever stops the pass becomes a row with ``failure``:
        the chunks it leaves out stay missing and are named by the final check.
        """
        store = Store.of(self.output)
        started = time.perf_counter()
        position = WHOLE_SHARD
        try:
            for item in self.chunks(work):
                if isinstance(item, ShardRecord):
                    shard_records.put(store, item)
                    continue
                position = item.index
                try:
                    yield self.row(work, item, started)
                except UserError as error:
                    hosts_gone = isinstance(error, Unreached) and error.hosts_gone
                    yield self._failure(work, item.index, started, str(error), hosts_gone)
                started = time.perf_counter()
        except Exception as error:
            explained = error if isinstance(error, UserError) else explain(error, self.source.url_of(work.shard.path))
            message = str(explained or f"{work.shard.path}: {type(error).__name__}: {error}")
            yield self._failure(
                work, WHOLE_SHARD, started, f"after chunk {position}: {message}" if position >= 0 else message
            )

    def chunks(self, work: ShardWork) -> Iterator[Chunk | ShardRecord]:
        """The encoded chunks of a shard that lack a part, in order, and at the end of one read in full its record."""
        return read_chunks(
            self.source,
            work.shard,
            self.chunking(work.shard),
            lambda chunk: bool(work.lacking(chunk)),
            # The offsets are read here and not planned with: a driver of a hundred thousand shards holds none.
            None if work.known is None else shard_records.read(Store.of(self.output), work.shard.shard_id, work.known),
        )

    def chunking(self, shard: Shard) -> Chunking:
        """Where the shard's chunks end."""
        return shard.chunking.decoded(self.decoded_bytes)

    @property
    def decoded_bytes(self) -> int:
        """Of an image, at most."""
        size = self.preprocessing.size
        return 3 * size**2 if self.views is None else self.views.image_bytes(size)

    def _failure(self, work: ShardWork, chunk: int, started: float, message: str, hosts_gone: bool = False) -> ChunkRow:
        return ChunkRow(
            shard=work.shard.shard_id,
            chunk=chunk,
            folders=(),
            images=IMAGES.empty_table(),
            pixels=Gathering(0, self.preprocessing.size, None).done(),
            phrases=[],
            read_s=time.perf_counter() - started,
            failure=redacted(message),
            hosts_gone=hosts_gone,
        )

    def row(self, work: ShardWork, chunk: Chunk, started: float) -> ChunkRow:
        """A chunk decoded; ``started`` (``time.perf_counter``) is when reading it began.

        Raises Unreached when images could not be had this time, and nobody gives them up.
        """
        written = self._written(work, chunk.index)
        settled = {image_id: row for image_id, row in written.items() if row["status"] in ("missing", UNREACHABLE)}
        unreached = [each for each in chunk.samples if each.status == FAILED and each.image_id not in settled]
        if unreached and not self.give_up:
            raise Unreached(unreached, len(chunk.samples))
        decoding = time.perf_counter()
        encoded = [sample for sample in chunk.samples if sample.image is not None and sample.image_id not in settled]
        decoded = decode_all(encoded, _image, self.preprocessing, self.decode, threads=self.threads, views=self.views)
        gathering = Gathering(len(encoded), self.preprocessing.size, self.views)
        rows = []
        phrases = []
        asked: list[list[str]] | None = None
        for sample in chunk.samples:
            if sample.image_id in settled:
                rows.append(settled[sample.image_id])
                continue
            row = {
                "image_id": sample.image_id,
                "key": sample.key,
                "shard": work.shard.shard_id,
                "chunk": chunk.index,
                "source_url": sample.source_url,
                "offset": sample.offset,
                "length": sample.length,
                "status": UNREACHABLE if sample.status == FAILED else sample.status,
                "error": sample.error and redacted(sample.error),
            }
            if sample.image is not None:
                _, found = next(decoded)
                if isinstance(found, DecodedImage):
                    gathering.add(found.pixels_hwc, found.large_hwc)
                    own, row["error"] = self._phrases(sample)
                    phrases.append(own)
                    if sample.asked is not None:
                        asked = [*(asked or []), list(sample.asked)]
                    row |= {"width": found.width, "height": found.height, "orientation": found.orientation}
                else:
                    row |= {"status": found.status, "error": found.message}
            if row["status"] != "ok" and written.get(sample.image_id, row)["status"] == "ok":
                raise UserError(self._gone(work, row))
            rows.append(row)
        return ChunkRow(
            shard=work.shard.shard_id,
            chunk=chunk.index,
            folders=work.lacking(chunk.index),
            images=pa.Table.from_pylist(rows, schema=IMAGES),
            pixels=gathering.done(),
            phrases=phrases,
            asked=asked,
            read_s=decoding - started,
            decode_s=time.perf_counter() - decoding,
        )

    def _written(self, work: ShardWork, chunk: int) -> dict[str, dict[str, Any]]:
        """The rows of the chunk's images part, by image_id; none where it lacks that part.

        Later masks must agree with it: an image that was not there then and has come back stays as that part has it
        (a retry removes the part), and one that is gone since would leave a hole. Images inside a shard can do neither.
        """
        if not self.source.outside or layout.IMAGES in work.lacking(chunk):
            return {}
        part = parts.read_images(Store.of(self.output), work.shard.shard_id, chunk).to_pylist()
        return {row["image_id"]: row for row in part}

    def _gone(self, work: ShardWork, row: dict[str, Any]) -> str:
        part = layout.part_name(work.shard.shard_id, row["chunk"])
        return (
            f"{row['image_id']}: it was there when the first masks of its chunk were computed, now: {row['error']}; "
            f"put it back, or remove {part} from every folder of {self.output}/masks and then from {self.output}/"
            f"{layout.IMAGES}, to have the chunk computed anew without it"
        )

    def _phrases(self, sample: Sample) -> tuple[list[str], str | None]:
        """What a sample asks of its image, or why what it has cannot be asked: other queries still are."""
        try:
            asked = [] if self.phrase_field is None else phrases_of(sample.fields, self.phrase_field, sample.image_id)
        except UserError as error:
            return [], str(error)
        return asked, None


def _image(sample: Sample) -> bytes:
    assert sample.image is not None
    return sample.image
