import io
import os

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipseg_ray.boundary import Boundary
from clipseg_ray.errors import UserError
from clipseg_ray.sources.base import Shard
from clipseg_ray.sources.listing import discover
from clipseg_ray.sources.parquet import Parquet
from clipseg_ray.storage import Store


def read(folder, name="s.parquet", position=None, **settings):
    listing = discover([str(folder / name)], "parquet")
    source, shard = Parquet(listing.root, **settings), Shard.of_object(listing.objects[0])
    return list(source.samples(shard, position)), source, shard


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_bytes_column(tmp_path, kind):
    images = [None if i == 5 else f"image {i}".encode() for i in range(50)]
    table = pa.table(
        {
            "uid": [f"u{i}" if i != 7 else None for i in range(50)],
            "image": pa.array(images, kind),
            "caption": [f"c{i}" for i in range(50)],
            "other": pa.array([b"x"] * 50),
        }
    )
    pq.write_table(table, tmp_path / "s.parquet", row_group_size=20)
    samples, source, shard = read(tmp_path, id_field="uid")
    assert [s.image for s in samples] == images
    assert [s.key for s in samples] == [str(i) for i in range(50)]
    assert [s.image_id for s in samples] == [f"u{i}" if i != 7 else "s.parquet/7" for i in range(50)]
    assert samples[3].fields == {"uid": "u3", "caption": "c3"}
    assert (samples[3].offset, samples[3].length, samples[3].position) == (3, 7, 3)
    assert (samples[5].status, samples[5].error) == ("missing", "s.parquet: row 5 holds no image")
    assert source.count(shard) == 50
    for start in (1, 17, 20, 49, 50):
        assert list(source.samples(shard, start)) == samples[start:]


def test_struct_of_bytes_and_path(tmp_path):
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "a.jpg").write_bytes(b"from a file")
    rows = [
        {"bytes": b"inside", "path": "x.jpg"},
        {"bytes": None, "path": "pics/a.jpg"},
        {"bytes": None, "path": "pics/gone.jpg"},
        {"bytes": None, "path": None},
        None,
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"n": range(5), "image": pa.array(rows, kind)}), tmp_path / "s.parquet")
    samples, _, _ = read(tmp_path)
    assert [s.image for s in samples] == [b"inside", b"from a file", None, None, None]
    assert samples[1].fields == {"n": 1}
    assert samples[2].status == "missing"
    assert samples[2].error.endswith("pics/gone.jpg: not found")


def test_only_an_image_column(tmp_path):
    pq.write_table(pa.table({"content": pa.array([b"a", b"b"])}), tmp_path / "s.parquet")
    samples, _, _ = read(tmp_path)
    assert [(s.image, s.fields) for s in samples] == [(b"a", {}), (b"b", {})]


def test_columns_that_do_not_serve(tmp_path):
    pq.write_table(pa.table({"url": ["a"], "pic": pa.array([b"a"])}), tmp_path / "s.parquet")
    with pytest.raises(UserError, match=r"has no bytes column .* one of its columns: url \(string\), pic \(binary\)"):
        read(tmp_path)
    with pytest.raises(UserError, match=r"'url' \(input.image_field\) holds no bytes.*input.format: manifest"):
        read(tmp_path, image_field="url")
    with pytest.raises(UserError, match=r"no column 'uid' \(input.id_field\)"):
        read(tmp_path, image_field="pic", id_field="uid")


def test_broken_files(tmp_path):
    sink = io.BytesIO()
    images = pa.array([bytes([i]) * 5000 for i in range(60)])
    pq.write_table(pa.table({"image": images}), sink, row_group_size=20, compression="none", use_dictionary=False)
    whole = sink.getvalue()
    for data, status in ((whole[:9000], "truncated"), (b"plain text " * 50, "undecodable"), (b"", "undecodable")):
        (tmp_path / "s.parquet").write_bytes(data)
        samples, source, shard = read(tmp_path)
        assert [(s.image_id, s.status) for s in samples] == [("s.parquet/@0", status)]
        assert samples[0].error.startswith("s.parquet: cannot be read from row 0 on (")
        assert source.count(shard) == 1
    damaged = bytearray(whole)
    second = pq.ParquetFile(io.BytesIO(whole)).metadata.row_group(1).column(0).data_page_offset
    damaged[second : second + 40] = b"\xff" * 40
    (tmp_path / "s.parquet").write_bytes(damaged)
    samples, source, shard = read(tmp_path)
    assert [s.image for s in samples[:-1]] == images.to_pylist()[:20]
    assert (samples[-1].image_id, samples[-1].status) == ("s.parquet/@20", "undecodable")
    assert list(source.samples(shard, 20)) == samples[-1:]


def test_transient_faults_are_raised(flaky):
    sink = io.BytesIO()
    pq.write_table(pa.table({"image": pa.array([os.urandom(9000) for _ in range(20)])}), sink, use_dictionary=False)
    flaky.files["b/s.parquet"] = sink.getvalue()
    listing = discover(["flaky://b"], None)
    source, shard = Parquet(listing.root), Shard.of_object(listing.objects[0])
    assert len(list(source.samples(shard))) == 20
    for plan in (["raise"], [None, "raise"], [100, 0, 0], [None, 5000, 0, 0]):
        flaky.plan[:] = plan
        with pytest.raises(OSError, match=r"announced|reset"):
            list(source.samples(shard))


def test_a_path_that_is_no_text_is_its_rows_fault(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.binary())])
    rows = [{"bytes": b"one", "path": b"x"}, {"bytes": None, "path": b"caf\xe9.jpg"}, {"bytes": None, "path": b"x.jpg"}]
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), tmp_path / "s.parquet")
    (tmp_path / "x.jpg").write_bytes(b"three")
    (good, bad, beside), _, _ = read(tmp_path)
    assert (good.image, bad.status, beside.image) == (b"one", "missing", b"three")
    assert bad.error == (
        "s.parquet: row 1 names no image that can be read: byte 0xe9 in line 1 is no UTF-8; save it as UTF-8"
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "Parquet file size is 0 bytes"),
        (b"<html>Not found</html>" * 9, "it is HTML, XML or SVG text"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer, whose file `git lfs pull` fetches"),
    ],
)
def test_what_is_no_parquet_is_called_by_its_kind(tmp_path, data, said):
    (tmp_path / "s.parquet").write_bytes(data)
    (sample,), _, _ = read(tmp_path)
    assert (sample.status, sample.breaks_off) == ("undecodable", True)
    assert said in sample.error


def test_a_path_that_climbs_up_is_followed_in_a_bucket_as_on_a_disk(tmp_path):
    fsspec.filesystem("memory").store.clear()
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"image": pa.array([{"bytes": None, "path": "../images/x.jpg"}], kind)}), sink)
    Store("memory://in").put("data/s.parquet", bytes(sink.getvalue()))
    Store("memory://in").put("images/x.jpg", b"image")
    for allow, status in (("memory://in/images", "ok"), ("memory://in/other", "missing")):
        boundary = Boundary.of_input(["memory://in/data/s.parquet"], [allow])
        (sample,) = Parquet("memory://in/data", boundary=boundary).samples(Shard.at("memory://in/data/s.parquet"))
        assert sample.status == status
