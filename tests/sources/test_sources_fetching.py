import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipseg_ray.sources import images
from clipseg_ray.sources.base import Shard
from clipseg_ray.sources.fetching import fetch
from clipseg_ray.sources.formats import source_of
from clipseg_ray.sources.listing import append_shards, discover
from clipseg_ray.storage import StaleObject
from tests.tars import tar_of


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(images, "BACKOFF_S", 0.0)


def picture(number: int) -> bytes:
    return f"picture {number} ".encode() * (number + 1)


def tar(mode="w") -> bytes:
    return tar_of([(f"{n:03d}.jpg", picture(n)) for n in range(100)], mode)


def write_input(folder, name):
    if name == "webdataset.gz":
        (folder / "s.tar.gz").write_bytes(tar("w:gz"))
        (folder / "t.tar.gz").write_bytes(tar("w:gz"))
    elif name == "parquet":
        rows = pa.array([picture(n) if n % 10 else None for n in range(100)], pa.binary())
        pq.write_table(pa.table({"image": rows, "n": range(100)}), folder / "s.parquet", row_group_size=30)
    else:
        for n in range(70):
            (folder / f"{n}.jpg").write_bytes(picture(n))


def read(folder, format):
    """The source, its samples, and what the images table would say of them."""
    listing = discover([str(folder)], format)
    source = source_of(format, listing.root)
    shards = append_shards([], listing, source, slice_images=4096)
    samples = [sample for shard in shards for sample in source.samples(shard)]
    columns = {
        name: [getattr(sample, name) for sample in samples] for name in ("source_url", "key", "offset", "length")
    }
    return source, samples, pa.table(columns)


def test_a_plain_tar_is_read_where_the_pictures_lie(flaky):
    flaky.files["in/s.tar"] = tar()
    source = source_of("webdataset", "flaky://in")
    samples = list(source.samples(Shard.of_object(discover(["flaky://in/s.tar"], None).objects[0])))
    flaky.requests.clear()
    rows = pa.table(
        {
            "source_url": ["flaky://in/s.tar"] * 2,
            "key": ["099", "050"],
            "offset": [samples[99].offset, samples[50].offset],
            "length": [samples[99].length, samples[50].length],
        }
    )
    asked = []
    flaky.cat_file, kept = lambda self, path, start=None, end=None: asked.append((start, end)) or b"", flaky.cat_file
    try:
        list(fetch(source, rows))
    finally:
        flaky.cat_file = kept
    assert sorted(asked) == [(samples[n].offset, samples[n].offset + samples[n].length) for n in (50, 99)]


def test_a_compressed_tar_is_passed_once_for_rows_in_order(tmp_path, monkeypatch):
    write_input(tmp_path, "webdataset.gz")
    source, samples, table = read(tmp_path, "webdataset")
    passes = []
    plain = source.samples
    monkeypatch.setattr(source, "samples", lambda shard: passes.append(shard.path) or plain(shard))
    assert list(fetch(source, table)) == [sample.image for sample in samples]
    assert passes == [str(tmp_path / "s.tar.gz"), str(tmp_path / "t.tar.gz")]


def test_what_is_gone_or_changed_stands_for_itself(tmp_path):
    write_input(tmp_path, "images")
    source, samples, table = read(tmp_path, "images")
    (tmp_path / "1.jpg").write_bytes(b"another")
    (tmp_path / "10.jpg").unlink()
    found = dict(zip((sample.key for sample in samples), fetch(source, table), strict=True))
    assert isinstance(found.pop("1.jpg"), StaleObject)
    assert isinstance(found.pop("10.jpg"), FileNotFoundError)
    assert all(isinstance(image, bytes) for image in found.values())


@pytest.mark.parametrize("name", ["webdataset.gz", "parquet"])
def test_a_shard_rewritten_shorter_is_named(tmp_path, name):
    write_input(tmp_path, name)
    source, _, table = read(tmp_path, name.partition(".")[0])
    if name == "parquet":
        pq.write_table(pa.table({"image": [picture(n) for n in range(20)]}), tmp_path / "s.parquet")
    else:
        (tmp_path / "s.tar.gz").write_bytes(tar_of([("000.jpg", picture(0))], "w:gz"))
    found = list(fetch(source, table.slice(1, 60)))
    assert isinstance(found[0], bytes) or name != "parquet"
    assert isinstance(found[45], StaleObject)


def test_faults_that_pass_are_tried_again(flaky):
    flaky.files["in/a.jpg"] = picture(1)
    flaky.plan[:] = ["raise", "raise", None]
    rows = pa.table({"source_url": ["flaky://in/a.jpg"], "key": ["a.jpg"], "offset": [0], "length": [len(picture(1))]})
    assert list(fetch(source_of("images", "flaky://in"), rows)) == [picture(1)]
