import gzip
import io
import json
import os
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipseg_ray.errors import UserError
from clipseg_ray.sources import chunks
from clipseg_ray.sources.base import Sample, Shard
from clipseg_ray.sources.chunking import Chunking
from clipseg_ray.sources.chunks import Chunk, ShardRecord, read_chunks
from clipseg_ray.sources.formats import source_of
from clipseg_ray.sources.listing import append_shards, discover
from clipseg_ray.storage import StaleObject, Store
from tests.tars import tar_of


def store_images(flaky, kind, sizes, cut):
    images = [bytes([65 + i % 26]) * size for i, size in enumerate(sizes)]
    flaky.files.clear()
    if kind == "images":
        for i, image in enumerate(images):
            flaky.files[f"b/{i:03}.jpg"] = image
        return "flaky://b"
    if kind == "parquet":
        sink = io.BytesIO()
        pq.write_table(pa.table({"image": pa.array(images, pa.binary())}), sink, row_group_size=3)
        flaky.files["b/s.parquet"] = sink.getvalue()
        return "flaky://b/s.parquet"
    data = tar_of([(f"{i:03}.jpg", image) for i, image in enumerate(images)])
    if cut:
        data = data[: len(data) - 10240 - cut]
    flaky.files["b/s.tar" if kind == "tar" else "b/s.tgz"] = data if kind == "tar" else gzip.compress(data)
    return "flaky://b/s.tar" if kind == "tar" else "flaky://b/s.tgz"


def source_and_shard(url, take=None):
    listing = discover([url], None)
    source = source_of(listing.format, listing.root)
    shard = append_shards([], listing, source, slice_images=4096)[0]
    return source, replace(shard, take=take)


def test_ids_that_repeat_in_a_shard_are_in_its_record(flaky):
    flaky.files.clear()
    flaky.plan.clear()
    flaky.files["b/s.tar"] = tar_of([(f"{key}.jpg", b"x") for key in "abacbd"])
    source, shard = source_and_shard("flaky://b/s.tar")
    *_, record = read_chunks(source, shard, Chunking(2), lambda _: False)
    assert record.repeated == ("s.tar/a", "s.tar/b")
    assert ShardRecord.from_values(json.loads(record.to_json())) == record


FAULT = st.one_of(st.none(), st.none(), st.just("raise"), st.integers(0, 3000))


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["tar", "tgz", "parquet", "images"]),
    sizes=st.lists(st.integers(1, 900), min_size=1, max_size=20),
    images=st.integers(1, 6),
    size=st.one_of(st.none(), st.integers(1, 2500)),
    take=st.one_of(st.none(), st.integers(1, 22)),
    wanted=st.sets(st.integers(0, 20)),
    plan=st.lists(FAULT, max_size=12).filter(lambda p: sum(f is not None for f in p) <= 3),
    with_record=st.booleans(),
    cut=st.integers(0, 700),
)
def test_chunks_are_a_function_of_bytes_and_chunking(
    flaky, kind, sizes, images, size, take, wanted, plan, with_record, cut
):
    source, shard = source_and_shard(store_images(flaky, kind, sizes, cut), take)
    chunking = Chunking(images) if size is None else Chunking(images, size)
    flaky.plan.clear()
    *reference, record = read_chunks(source, shard, chunking, lambda _: True)
    assert isinstance(record, ShardRecord)
    assert [chunk.index for chunk in reference] == list(range(len(reference)))
    assert all(len(chunk.samples) <= images for chunk in reference)
    assert sum(len(chunk.samples) for chunk in reference) == record.samples == min(take or 10**9, source.count(shard))
    if kind in ("parquet", "images"):
        assert record.samples == min(take or 10**9, len(sizes))
    assert ShardRecord.from_values(json.loads(record.to_json())) == record

    if kind == "images":  # here a body that stops early is another object, not a fault
        plan = [fault if fault in (None, "raise") else None for fault in plan]
    flaky.plan[:] = plan
    found = list(read_chunks(source, shard, chunking, wanted, record if with_record else None))
    flaky.plan.clear()
    if not with_record:
        assert found.pop().to_json() == record.to_json()
    assert found == [chunk for chunk in reference if chunk.index in wanted]


def test_a_record_lets_reading_enter_midway(flaky):
    source, shard = source_and_shard(store_images(flaky, "tar", [800] * 12, 0))
    *reference, record = read_chunks(source, shard, Chunking(2), lambda _: True)
    flaky.requests.clear()
    assert list(read_chunks(source, shard, Chunking(2), {2, 3, 5}, record)) == [reference[i] for i in (2, 3, 5)]
    assert [start for _, start, _ in flaky.requests] == [record.chunks[2].position, record.chunks[5].position]
    flaky.requests.clear()
    assert list(read_chunks(source, shard, Chunking(2), set(), record)) == []
    assert flaky.requests == []


def test_without_positions_one_pass_serves_all_gaps(flaky):
    source, shard = source_and_shard(store_images(flaky, "tgz", [800] * 12, 0))
    *reference, record = read_chunks(source, shard, Chunking(2), lambda _: True)
    assert [chunk.position for chunk in record.chunks] == [None] * 6
    flaky.requests.clear()
    assert list(read_chunks(source, shard, Chunking(2), {1, 4}, record)) == [reference[i] for i in (1, 4)]
    assert len(flaky.requests) == 1


def test_a_record_of_other_content_is_refused(flaky):
    source, shard = source_and_shard(store_images(flaky, "tgz", [8] * 4, 0))
    *_, record = read_chunks(source, shard, Chunking(3), lambda _: True)
    source, shard = source_and_shard(store_images(flaky, "tgz", [8] * 3, 0))
    with pytest.raises(StaleObject, match="chunk 1 is not what was read from it before"):
        list(read_chunks(source, shard, Chunking(3), {1}, record))


class Failing:
    """A source whose every attempt fails, after one more sample each time for the first ``progress`` attempts."""

    def __init__(self, error, progress=0):
        self.error, self.progress, self.opened = error, progress, 0

    def confirm(self, shard):
        pass

    def samples(self, shard, position=None):
        self.opened += 1
        for i in range(position or 0, min(self.opened, self.progress)):
            yield Sample(image_id=str(i), key=str(i), source_url="", image=b"x", position=i)
        if self.error is not None:
            raise self.error


def test_attempts_are_counted_without_progress():
    shard = Shard(shard_id="id", path="p", size=0, etag="")
    source = Failing(TimeoutError("slow"), progress=9)
    with pytest.raises(TimeoutError):
        list(read_chunks(source, shard, Chunking(3), lambda _: True))
    assert source.opened == 9 + chunks.ATTEMPTS
    for error in (PermissionError("no"), StaleObject("other"), UserError("wrong column")):
        source = Failing(error)
        with pytest.raises(type(error)):
            list(read_chunks(source, shard, Chunking(3), lambda _: True))
        assert source.opened == 1


def test_unwanted_samples_are_not_held():
    import weakref

    alive = weakref.WeakSet()

    class Bytes(bytes):
        pass

    class Endless:
        def confirm(self, shard):
            pass

        def samples(self, shard, position=None):
            for i in range(50):
                sample = Sample(image_id=str(i), key=str(i), source_url="", image=Bytes(b"x"), position=i)
                ref = Marker()
                sample.fields["marker"] = ref
                alive.add(ref)
                yield sample
                del sample, ref
                assert len(alive) <= 12

    class Marker:
        pass

    out = list(read_chunks(Endless(), Shard(shard_id="id", path="p", size=0, etag=""), Chunking(10), {0}))
    assert [type(item) for item in out] == [Chunk, ShardRecord]


def rewrite_in_place(path, data):
    """As a program does that writes over a file: no new file, the same size, another moment."""
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


@pytest.mark.parametrize("kind", ["tar", "tgz", "parquet"])
@pytest.mark.parametrize("how", ["in place", "renamed over"])
@pytest.mark.parametrize("known", [False, True])
def test_a_shard_replaced_under_its_reader_gives_no_chunk(flaky, tmp_path, kind, how, known):
    """Half of one content and half of another would be recorded under the old etag."""
    url = store_images(flaky, kind, [700] * 12, 0)
    before = flaky.files[url.removeprefix("flaky://")]
    path = tmp_path / url.rpartition("/")[2]
    path.write_bytes(before)
    source, shard = source_and_shard(str(path))
    *_, record = read_chunks(source, shard, Chunking(3), lambda _: True)
    found = read_chunks(source, shard, Chunking(3), {0, 1, 2, 3}, record if known else None)
    first = next(found)
    after = before[:-1] + bytes([before[-1] ^ 1])
    if how == "in place":
        rewrite_in_place(path, after)
    else:
        (tmp_path / "new").write_bytes(after)
        (tmp_path / "new").replace(path)
    with pytest.raises(StaleObject, match="changed since it was listed"):
        next(found)
    assert first.index == 0


def test_no_record_of_a_shard_replaced_after_its_last_chunk(flaky, tmp_path):
    url = store_images(flaky, "tar", [700] * 6, 0)
    path = tmp_path / "s.tar"
    path.write_bytes(flaky.files[url.removeprefix("flaky://")])
    source, shard = source_and_shard(str(path))
    found = read_chunks(source, shard, Chunking(3), {0, 1})
    assert [next(found).index, next(found).index] == [0, 1]
    rewrite_in_place(path, path.read_bytes())
    with pytest.raises(StaleObject):
        next(found)


@pytest.mark.parametrize("kind", ["images", "tar", "parquet"])
def test_an_object_replaced_under_its_reader_gives_no_chunk(flaky, bucket, kind):
    url = store_images(flaky, kind, [700] * 70, 0)
    store = Store.of(bucket)
    for name, data in flaky.files.items():
        store.put(name, data)
    source, shard = source_and_shard(url.replace("flaky:/", bucket))
    found = read_chunks(source, shard, Chunking(20), {0, 1, 2, 3})
    assert next(found).index == 0
    for name, data in flaky.files.items():
        store.put(name, data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(StaleObject, match="changed since it was listed"):
        list(found)


def test_a_confirmation_that_fails_for_a_while_is_asked_for_again(flaky, monkeypatch):
    source, shard = source_and_shard(store_images(flaky, "tar", [7] * 2, 0))
    entry, faults = Store.entry, [TimeoutError("slow")] * 3
    opened = []

    def slow(self, path):
        opened.append(path)
        if len(opened) > 1 and faults:
            raise faults.pop()
        return entry(self, path)

    monkeypatch.setattr(Store, "entry", slow)
    assert len(list(read_chunks(source, shard, Chunking(2), {0}))) == 2
    assert not faults
