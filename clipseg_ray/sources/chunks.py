"""Cutting a shard into chunks in one sequential pass that survives transient faults."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from clipseg_ray.sources.base import Sample, Shard, Source
from clipseg_ray.sources.chunking import Chunking
from clipseg_ray.sources.faults import may_pass
from clipseg_ray.sources.occurrences import Occurrences
from clipseg_ray.storage import StaleObject

ATTEMPTS = 4
"""How often reading is tried without a new sample before the fault is raised."""
BACKOFF_S = 0.5
"""Seconds before the first new attempt; doubled before each further one."""


@dataclass
class Chunk:
    """Consecutive samples of one shard; ``index`` counts the shard's chunks from 0."""

    index: int
    samples: list[Sample]


@dataclass(frozen=True)
class ChunkRecord:
    """One chunk of a shard that was read to its end.

    ``position`` is the first sample's (see ``Sample``; None where the format cannot be entered there), ``first_key``
    its key; ``bytes`` sums the encoded images.
    """

    samples: int
    position: int | None
    first_key: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """What ``_shards/`` holds of a shard: a pure function of the shard's bytes and the chunking.

    ``repeated``: image ids that occur more than once in the shard, in the order they do so first. ``further``: images
    that lie in its samples too and were not taken. ``broken``: why nothing of it could be read, else empty.
    """

    shard_id: str
    path: str
    samples: int
    chunks: tuple[ChunkRecord, ...]
    repeated: tuple[str, ...] = ()
    further: int = 0
    broken: str = ""

    def to_json(self) -> bytes:
        """UTF-8 JSON, byte-identical for equal records."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> ShardRecord:
        """The record that ``to_json`` wrote, from its JSON object."""
        fields = dict(values)
        chunks = tuple(ChunkRecord(**chunk) for chunk in fields.pop("chunks"))
        return cls(**{**fields, "chunks": chunks, "repeated": tuple(fields.get("repeated", ()))})


def read_chunks(
    source: Source,
    shard: Shard,
    chunking: Chunking,
    wanted: Callable[[int], bool] | Collection[int],
    record: ShardRecord | None = None,
) -> Iterator[Chunk | ShardRecord]:
    """The wanted chunks of a shard in order; nothing is kept of the others.

    Without ``record`` the shard is read to its end and its ShardRecord comes last. With the record of an earlier run
    reading enters at the first wanted chunk, seeks over gaps where positions are known, stops after the last wanted
    chunk, and yields no record. The chunks are a pure function of the shard's bytes and ``chunking``, whatever is
    wanted and whatever faults occur on the way.

    Raises UserError where members of one sample do not lie together; what the source raises once ``ATTEMPTS`` attempts
    in a row brought no new sample; at once what cannot pass (``faults.may_pass``: a shard that is gone, among others);
    StaleObject when the shard is not as ``record`` has it.
    """
    is_wanted = wanted if callable(wanted) else wanted.__contains__
    if record is None:
        return _whole(source, shard, chunking, is_wanted)
    return _known(source, shard, record, is_wanted)


def _whole(
    source: Source, shard: Shard, chunking: Chunking, is_wanted: Callable[[int], bool]
) -> Iterator[Chunk | ShardRecord]:
    records: list[ChunkRecord] = []
    kept: list[Sample] = []
    count = size = further = 0
    first: tuple[int | None, str] = (None, "")
    keep = False
    seen = Occurrences(source, shard)
    broken = ""
    # In a slice the listed sizes count, and of images that a shard only names none: one that cannot be fetched now must
    # not move the chunks behind it.
    listed = iter([member.size for member in shard.members]) if shard.members else None
    for sample in itertools.islice(_steady(source, shard, None), shard.take):
        if not count:
            first = (sample.position, sample.key)
            keep = is_wanted(len(records))
        count += 1
        size += next(listed) if listed else len(sample.image or b"") if sample.held else 0
        seen.add(sample)
        further += sample.further
        if sample.breaks_off and not records and count == 1:
            broken = str(sample.error)
        if keep:
            kept.append(sample)
        if chunking.full(count, size):
            records.append(ChunkRecord(count, *first, size))
            if keep:
                _confirm(source, shard)
                yield Chunk(len(records) - 1, kept)
            kept, count, size = [], 0, 0
    _confirm(source, shard)
    if count:
        records.append(ChunkRecord(count, *first, size))
        if keep:
            yield Chunk(len(records) - 1, kept)
    samples = sum(chunk.samples for chunk in records)
    yield ShardRecord(
        shard_id=shard.shard_id,
        path=shard.path,
        samples=samples,
        chunks=tuple(records),
        repeated=tuple(seen.repeated),
        further=further,
        broken=broken,
    )


def _known(source: Source, shard: Shard, record: ShardRecord, is_wanted: Callable[[int], bool]) -> Iterator[Chunk]:
    stream: Iterator[Sample] | None = None
    at = 0  # the chunk the stream gives next
    for index, known in enumerate(record.chunks):
        if not is_wanted(index):
            continue
        entry = _entry(record, index)
        if stream is None or entry > at:
            stream, at = _steady(source, shard, record.chunks[entry].position), entry
        for passed in record.chunks[at:index]:
            for _ in itertools.islice(stream, passed.samples):
                pass
        at = index + 1
        samples = list(itertools.islice(stream, known.samples))
        if len(samples) < known.samples or samples[0].key != known.first_key:
            raise StaleObject(f"{source.url_of(shard.path)}: chunk {index} is not what was read from it before")
        _confirm(source, shard)
        yield Chunk(index, samples)


def _confirm(source: Source, shard: Shard) -> None:
    """Raise StaleObject where what was read may not be what was listed: a file can be replaced under its reader."""
    for attempt in range(ATTEMPTS):
        try:
            return source.confirm(shard)
        except Exception as error:
            if attempt + 1 == ATTEMPTS or not may_pass(error):
                raise
        time.sleep(BACKOFF_S * 2**attempt)
    return None


def _entry(record: ShardRecord, index: int) -> int:
    """The chunk nearest before ``index`` at which the shard can be entered."""
    while index and record.chunks[index].position is None:
        index -= 1
    return index


def _steady(source: Source, shard: Shard, position: int | None) -> Iterator[Sample]:
    """The samples from ``position`` on, each once, re-entering the shard after transient faults."""
    known = 0  # samples that an attempt gives again before new ones
    fruitless = 0
    while True:
        repeated = known
        advanced = False
        try:
            with contextlib.closing(_as_generator(source.samples(shard, position))) as stream:
                for sample in stream:
                    if repeated:
                        repeated -= 1
                        continue
                    advanced = True
                    if sample.position is None:
                        known += 1
                    else:
                        position, known = sample.position, 1
                    yield sample
            return
        except Exception as error:
            fruitless = 0 if advanced else fruitless + 1
            if fruitless >= ATTEMPTS or not may_pass(error):
                raise
        time.sleep(BACKOFF_S * 2 ** max(fruitless - 1, 0))


def _as_generator(samples: Iterator[Sample]) -> Generator[Sample, None, None]:
    yield from samples
