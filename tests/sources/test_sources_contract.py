"""What every source keeps, whatever its format and wherever its input lies."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipseg_ray.sources.base import Sample, Shard, Source
from clipseg_ray.sources.chunking import Chunking
from clipseg_ray.sources.chunks import Chunk, ShardRecord, read_chunks
from clipseg_ray.sources.fetching import fetch
from clipseg_ray.sources.formats import SOURCES, source_of
from clipseg_ray.sources.images import FETCH_IMAGES
from clipseg_ray.sources.listing import append_shards, discover, from_parquet, to_parquet
from clipseg_ray.storage import Store
from tests.tars import tar_of

ABSENT = 4
"""The sample that has no image."""


def picture(number: int) -> bytes:
    return f"picture {number} ".encode() * (number + 1)


def write_tar(ending: str, mode: str) -> Callable[[Store, str, Sequence[int]], None]:
    def write(store: Store, name: str, numbers: Sequence[int]) -> None:
        members = []
        for n in numbers:
            members += [(f"{n:03d}.jpg", picture(n))] * (n != ABSENT)
            members += [(f"{n:03d}.json", json.dumps({"n": n}).encode())]
        store.put(f"{name}{ending}", tar_of(members, mode))

    return write


def write_parquet(store: Store, name: str, numbers: Sequence[int]) -> None:
    images = pa.array([None if n == ABSENT else picture(n) for n in numbers], pa.binary())
    _put_table(store, name, pa.table({"image": images, "n": list(numbers)}))


def write_struct(store: Store, name: str, numbers: Sequence[int]) -> None:
    """Every third image is a file of its own."""
    rows = []
    for n in numbers:
        beside = n % 3 == 0
        if beside:
            store.put(f"beside/{n}.bin", picture(n))
        rows.append(
            {"bytes": None if beside or n == ABSENT else picture(n), "path": f"beside/{n}.bin" if beside else None}
        )
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    _put_table(store, name, pa.table({"image": pa.array(rows, kind), "n": list(numbers)}))


def _put_table(store: Store, name: str, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=7)
    store.put(f"{name}.parquet", bytes(sink.getvalue()))


def write_images(store: Store, name: str, numbers: Sequence[int]) -> None:
    for n in numbers:
        store.put(f"{name}/{n:03d}.jpg", picture(n))


def write_manifest(store: Store, name: str, numbers: Sequence[int]) -> None:
    write_images(store, name, [n for n in numbers if n != ABSENT])
    lines = store.get("list.csv").decode() if store.exists("list.csv") else "image,n\n"
    store.put("list.csv", (lines + "".join(f"{name}/{n:03d}.jpg,{n}\n" for n in numbers)).encode())


@dataclass(frozen=True)
class Kind:
    """How to write some of the images as the input's part ``a`` or ``b``, and what the samples then hold."""

    format: str
    write: Callable[[Store, str, Sequence[int]], None]
    enters_midway: bool = True
    fields: Callable[[int], dict] = lambda n: {"n": n}


KINDS = {
    "tar": Kind("webdataset", write_tar(".tar", "w")),
    "tar.gz": Kind("webdataset", write_tar(".tar.gz", "w:gz"), enters_midway=False),
    "tgz": Kind("webdataset", write_tar(".tgz", "w:gz"), enters_midway=False),
    "tar.bz2": Kind("webdataset", write_tar(".tar.bz2", "w:bz2"), enters_midway=False),
    "tar.xz": Kind("webdataset", write_tar(".tar.xz", "w:xz"), enters_midway=False),
    "tar.zst": Kind("webdataset", write_tar(".tar.zst", "w:zst"), enters_midway=False),
    "parquet": Kind("parquet", write_parquet),
    "parquet of structs": Kind("parquet", write_struct),
    "images": Kind("images", write_images, fields=lambda n: {}),
    "manifest": Kind("manifest", write_manifest, fields=lambda n: {"n": str(n)}),
}


@dataclass(frozen=True)
class Input:
    """An input as it was written and listed: parts ``a`` and ``b``, read one after the other."""

    kind: Kind
    pictures: int
    source: Source
    shards: list[Shard]

    def whole(self) -> list[Sample]:
        return [sample for shard in self.shards for sample in self.source.samples(shard)]


def written(url: str, kind: Kind, pictures: int) -> Input:
    """The listing is the same each time and adds nothing to itself; slices hold what one slice would."""
    store = Store.of(url)
    half = pictures // 2
    kind.write(store, "a", range(half))
    kind.write(store, "b", range(half, pictures))
    asked = [f"{url}/list.csv" if kind.format == "manifest" else url]
    listing = discover(asked, None)
    assert listing.format == kind.format
    assert discover(asked, kind.format) == discover(asked, None, url) == listing
    source = source_of(listing.format, listing.root)
    shards = append_shards([], listing, source, slice_images=half - 1)
    assert (
        append_shards([], listing, source, slice_images=half - 1)
        == from_parquet(to_parquet(shards), "listing")
        == shards
    )
    assert append_shards(shards, listing, source, slice_images=3) == []
    assert len({shard.shard_id for shard in shards}) == len(shards) == (3 if source.slices else 2)
    for limit in (1, half, half + 1, pictures, pictures + 1):
        first = append_shards([], listing, source, slice_images=half - 1, limit=limit)
        assert sum(min(source.count(shard), shard.take or pictures) for shard in first) == min(limit, pictures)
        assert [shard.path for shard in first] == [shard.path for shard in shards][: len(first)]
    for sample in (1, half + 1, pictures + 1):
        drawn = append_shards([], listing, source, slice_images=half - 1, sample=sample, seed=1)
        assert sum(min(source.count(shard), shard.take or pictures) for shard in drawn) == min(sample, pictures)
        assert append_shards([], listing, source, slice_images=half - 1, sample=sample, seed=1) == drawn
    if kind.format == "images":  # a folder lists no image that is not there
        store.delete(f"a/{ABSENT:03d}.jpg")
    return Input(kind, pictures, source, shards)


def samples_are_what_was_written(given: Input) -> None:
    """All of them, in order, each time and in every process; a sample without its image says why."""
    found = given.whole()
    assert [sample.image for sample in found] == [None if n == ABSENT else picture(n) for n in range(given.pictures)]
    assert [sample.fields for sample in found] == [given.kind.fields(n) for n in range(given.pictures)]
    assert [sample.status for sample in found] == ["missing" if n == ABSENT else "ok" for n in range(given.pictures)]
    assert [bool(sample.error) for sample in found] == [sample.image is None for sample in found]
    assert len({sample.image_id for sample in found}) == len({(each.source_url, each.key) for each in found})
    assert len({sample.image_id for sample in found}) == given.pictures
    assert given.whole() == found
    source, shards = pickle.loads(pickle.dumps((given.source, given.shards)))
    assert [sample for shard in shards for sample in source.samples(shard)] == found
    for shard in given.shards:
        count = len(list(given.source.samples(shard)))
        assert [given.source.count(shard, at_most) for at_most in (None, 1, count, count + 1)] == [
            count, 1, count, count,
        ]  # fmt: skip


def reading_enters_at_every_position(given: Input) -> None:
    for shard in given.shards:
        found = list(given.source.samples(shard))
        assert [sample.position is not None for sample in found] == [given.kind.enters_midway] * len(found)
        for index, sample in enumerate(found):
            if sample.position is not None:
                assert list(given.source.samples(shard, sample.position)) == found[index:]


def chunks_are_the_same_whichever_are_wanted(given: Input) -> None:
    """With and without a record of the shard, and in a shard of which only the first samples are taken."""
    for shard in given.shards:
        found = list(given.source.samples(shard))
        for take in (None, 1, 4, len(found) - 1, len(found) + 1):
            taken = replace(shard, take=take)
            *chunks, record = read_chunks(given.source, taken, Chunking(3), lambda index: True)
            assert isinstance(record, ShardRecord)
            assert [sample for chunk in chunks for sample in chunk.samples] == found[:take]
            assert (record.samples, record.repeated) == (len(found[:take]), ())
            for skipped in range(len(chunks)):
                wanted = {chunk.index for chunk in chunks} - {skipped}
                rest = [chunk for chunk in chunks if chunk.index != skipped]
                assert list(read_chunks(given.source, taken, Chunking(3), {skipped}, record)) == [chunks[skipped]]
                assert list(read_chunks(given.source, taken, Chunking(3), wanted, record)) == rest
                assert list(read_chunks(given.source, taken, Chunking(3), wanted)) == [*rest, record]
            assert all(isinstance(chunk, Chunk) for chunk in chunks)


def pictures_are_found_again(given: Input) -> None:
    """By what the images table says of them: in order, out of it, and twice."""
    found = given.whole()
    names = ("source_url", "key", "offset", "length")
    table = pa.table({name: [getattr(sample, name) for sample in found] for name in names})
    order = [*range(len(found)), 3, 3, len(found) - 1, ABSENT, 1]
    for n, image in zip(order, fetch(given.source, table.take(order)), strict=True):
        if n == ABSENT:
            assert isinstance(image, FileNotFoundError)
        else:
            assert image == picture(n)


@pytest.mark.parametrize("kind", KINDS)
def test_promises_here(tmp_path: Path, kind: str) -> None:
    given = written(str(tmp_path / "in"), KINDS[kind], 2 * FETCH_IMAGES + 6)
    samples_are_what_was_written(given)
    reading_enters_at_every_position(given)
    chunks_are_the_same_whichever_are_wanted(given)
    pictures_are_found_again(given)


@pytest.mark.parametrize("s3", ["moto"], indirect=True)
@pytest.mark.parametrize("kind", KINDS)
def test_promises_on_s3(bucket: str, kind: str) -> None:
    given = written(f"{bucket}/in", KINDS[kind], 10)
    samples_are_what_was_written(given)
    reading_enters_at_every_position(given)
    pictures_are_found_again(given)


def test_every_format_is_held_to_its_promises() -> None:
    assert {kind.format for kind in KINDS.values()} == set(SOURCES)
