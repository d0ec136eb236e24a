"""Folders of images and manifests."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipseg_ray.boundary import Boundary
from clipseg_ray.errors import UserError
from clipseg_ray.sources.base import FAILED
from clipseg_ray.sources.chunking import Chunking
from clipseg_ray.sources.chunks import read_chunks
from clipseg_ray.sources.formats import source_of
from clipseg_ray.sources.listing import append_shards, discover
from clipseg_ray.storage import StaleObject, Store


def shards_of(url, format=None, slice_images=100, **settings):
    listing = discover([str(url)], format)
    source = source_of(listing.format, listing.root, **settings)
    return source, append_shards([], listing, source, slice_images=slice_images)


def test_a_folder_of_images(tmp_path):
    for i in range(70):
        (tmp_path / f"{i % 3}").mkdir(exist_ok=True)
        (tmp_path / f"{i % 3}" / f"{i}.jpg").write_bytes(b"" if i == 4 else b"image %d" % i)
    source, shards = shards_of(tmp_path, slice_images=40)
    assert [source.count(shard) for shard in shards] == [40, 30]
    samples = [sample for shard in shards for sample in source.samples(shard)]
    assert len(samples) == 70
    assert samples[0].image_id == samples[0].key == "0/0.jpg"
    assert {s.image_id: s.image for s in samples}["1/4.jpg"] == b""
    assert samples[0].source_url == f"{tmp_path}/0/0.jpg"
    assert list(source.samples(shards[0], 33)) == samples[33:40]
    (tmp_path / samples[2].key).unlink()
    assert [(s.status, s.error) for s in source.samples(shards[0])][2] == (
        "missing",
        f"{tmp_path}/{samples[2].key}: not found",
    )
    (tmp_path / samples[5].key).write_bytes(b"something longer than before")
    with pytest.raises(StaleObject, match="changed since it was listed"):
        list(source.samples(shards[0]))


def test_a_passing_fault_of_an_image_is_tried_again(flaky, monkeypatch):
    monkeypatch.setattr("clipseg_ray.sources.images.BACKOFF_S", 0.001)
    flaky.files |= {f"b/{i}.jpg": b"image" for i in range(3)}
    source, shards = shards_of("flaky://b")
    flaky.plan += [None, "raise"]
    assert [sample.status for sample in source.samples(shards[0])] == ["ok", "ok", "ok"]


def test_an_image_that_cannot_be_had_now_is_no_verdict_and_moves_no_chunk(tmp_path, server, monkeypatch):
    monkeypatch.setattr("clipseg_ray.sources.images.BACKOFF_S", 0.001)
    (tmp_path / "list.csv").write_text("url\n" + "".join(f"{server}/{code}.jpg\n" for code in (200, 503, 201, 202)))
    source, (shard,) = shards_of(tmp_path / "list.csv", boundary=Boundary.of_input([], [server]))
    first, second, record = read_chunks(source, shard, Chunking(2), {0, 1})
    assert [sample.status for sample in first.samples] == ["ok", FAILED]
    assert "503" in first.samples[1].error
    assert [sample.status for sample in second.samples] == ["ok", "ok"]
    assert record.samples == 4


def test_an_absent_root_is_no_verdict_on_its_images(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"a")
    source, (shard,) = shards_of(tmp_path / "in")
    (tmp_path / "in" / "a.jpg").unlink()
    assert [sample.status for sample in source.samples(shard)] == ["missing"]
    (tmp_path / "in").rmdir()
    with pytest.raises(OSError, match="the input root is not on this machine"):
        list(source.samples(shard))


def test_camera_names_are_not_hidden(tmp_path):
    for name in ("_MG_1234.JPG", "a.jpg", ".hidden.jpg", "_notes.txt", "_cache/b.jpg", "sub/_DSC1.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = discover([str(tmp_path)], None)
    assert [member.path for member in found.objects] == ["_MG_1234.JPG", "a.jpg", "sub/_DSC1.jpg"]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "pq"])
def test_manifest_formats(tmp_path, kind):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "sub").mkdir()
    elsewhere = tmp_path / "elsewhere.jpg"
    for path, data in (("lists/a.jpg", b"a"), ("lists/sub/b.jpg", b"b"), ("elsewhere.jpg", b"c")):
        (tmp_path / path).write_bytes(data)
    rows = [
        {"file_name": "a.jpg", "id": "007", "caption": '"one" line' if kind == "tsv" else "two\nlines"},
        {"file_name": "sub/b.jpg", "id": "8", "caption": ""},
        {"file_name": f"file://{elsewhere}", "id": "9", "caption": "x, y"},
    ]
    table = tmp_path / "lists" / f"list.{kind}"
    if kind in ("parquet", "pq"):
        pq.write_table(pa.Table.from_pylist(rows), table)
    elif kind == "jsonl":
        table.write_text("\n".join(map(json.dumps, rows)) + "\n")
    else:
        separator, quote = (",", '"') if kind == "csv" else ("\t", "")
        lines = [separator.join(f"{quote}{value}{quote}" for value in row.values()) for row in rows]
        table.write_text("\n".join([separator.join(rows[0]), *lines]) + "\n")
    source, (shard,) = shards_of(table, "manifest" if kind in ("parquet", "pq") else None)
    samples = list(source.samples(shard))
    assert [(s.image_id, s.key, s.image) for s in samples] == [
        ("a.jpg", "a.jpg", b"a"),
        ("sub/b.jpg", "sub/b.jpg", b"b"),
        (str(elsewhere), str(elsewhere), b"c"),
    ]
    assert [s.fields for s in samples] == [{k: v for k, v in row.items() if k != "file_name"} for row in rows]
    source, (shard,) = shards_of(table, "manifest", id_field="id")
    assert [s.image_id for s in source.samples(shard)] == ["007", "8", "9"]


def test_manifest_paths_follow_a_root_recorded_higher_up(tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "lists" / "list.csv").write_text("image\n../a.jpg\n")
    for root, path in ((str(tmp_path), "a.jpg"), (None, f"{tmp_path}/a.jpg")):
        listing = discover([str(tmp_path / "lists" / "list.csv")], None, root)
        source = source_of("manifest", listing.root)
        (shard,) = append_shards([], listing, source, slice_images=10)
        assert [(s.key, s.image) for s in source.samples(shard)] == [(path, b"a")]


def test_manifest_faults(tmp_path):
    def members(text, name="list.csv", **settings):
        (tmp_path / name).write_text(text)
        return shards_of(tmp_path / name, "manifest", **settings)

    with pytest.raises(UserError, match=r"list.csv: it has no column image, .* one of: foto, id"):
        members("foto,id\na.jpg,1\n")
    with pytest.raises(UserError, match=r"no column 'pic'; set input.image_field"):
        members("foto,id\na.jpg,1\n", image_field="pic")
    with pytest.raises(UserError, match=r"row 3: it names a.jpg as list.csv row 1 does, with other columns"):
        members("url,c\na.jpg,1\nb.jpg,1\na.jpg,2\n")
    with pytest.raises(UserError, match=r"row 2: c '1' \(input.id_field\) is taken by list.csv row 1"):
        members("url,c\na.jpg,1\nb.jpg,1\n", id_field="c")
    with pytest.raises(UserError, match=r"list.csv: line 2 has 3 cells, the header 2"):
        members("url,c\na.jpg,1,2\n")
    with pytest.raises(UserError, match=r"list.jsonl: line 2 is no JSON"):
        members('{"url": "a"}\n{url}\n', "list.jsonl")
    with pytest.raises(UserError, match=r"gopher"):
        members("url\ngopher://x/a.jpg\n")
    source, shards = members("url,c\na.jpg,1\na.jpg,2\n", id_field="c")
    assert [s.image_id for s in source.samples(shards[0])] == ["1", "2"]
    source, shards = members("url,c\na.jpg,1\na.jpg,1\n,3\n")
    assert [(s.key, s.status) for s in source.samples(shards[0])] == [("a.jpg", "missing"), ("list.csv@3", "missing")]


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        code = int(self.path.strip("/").split(".")[0])
        self.send_response(code)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"image")

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


def test_http_answers(tmp_path, server):
    (tmp_path / "list.csv").write_text("url\n" + "".join(f"{server}/{code}.jpg\n" for code in (200, 404, 403, 410)))
    boundary = Boundary.of_input([], [server])
    source, (shard,) = shards_of(tmp_path / "list.csv", boundary=boundary)
    samples = list(source.samples(shard))
    assert [(s.status, s.image) for s in samples] == [("ok", b"image"), *[("missing", None)] * 3]
    assert [s.error for s in samples[1:]] == [
        f"{server}/404.jpg: not found",
        f"{server}/403.jpg: the server answers 403 Forbidden",
        f"{server}/410.jpg: the server answers 410 Gone",
    ]
    for code in (503, 429, 408):
        (tmp_path / "list.csv").write_text(f"url\n{server}/{code}.jpg\n")
        source, (shard,) = shards_of(tmp_path / "list.csv", boundary=boundary)
        (sample,) = source.samples(shard)
        assert sample.status == FAILED
        assert str(code) in sample.error


def test_an_image_replaced_with_one_of_its_size_is_not_taken_for_it(tmp_path):
    for index in range(3):
        (tmp_path / f"{index}.jpg").write_bytes(b"before")
    source, (shard,) = shards_of(tmp_path)
    (tmp_path / "1.jpg").write_bytes(b"after!")
    os.utime(tmp_path / "1.jpg", ns=(0, 1))
    with pytest.raises(StaleObject, match=r"1\.jpg changed since it was listed"):
        list(source.samples(shard))


def test_an_object_replaced_with_one_of_its_size_is_not_taken_for_it(bucket):
    store = Store.of(f"{bucket}/photos")
    for index in range(3):
        store.put(f"{index}.jpg", b"before")
    source, (shard,) = shards_of(store.url)
    assert [sample.image for sample in source.samples(shard)] == [b"before"] * 3
    store.put("1.jpg", b"after!")
    with pytest.raises(StaleObject, match=r"1\.jpg changed since it was listed"):
        list(source.samples(shard))
    store.delete("1.jpg")
    assert [sample.status for sample in source.samples(shard)] == ["ok", "missing", "ok"]
