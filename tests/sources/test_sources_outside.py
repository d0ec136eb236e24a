"""Any bytes as names, cells, sidecars and URLs: each image is a sample, and no lost one is asked for again."""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipseg_ray.boundary import Boundary
from clipseg_ray.plain_text import Unread, value_of
from clipseg_ray.redaction import HIDDEN
from clipseg_ray.sources.base import FAILED, Sample
from clipseg_ray.sources.chunking import Chunking
from clipseg_ray.sources.chunks import Chunk, ShardRecord, read_chunks
from clipseg_ray.sources.fetching import fetch
from clipseg_ray.sources.formats import source_of
from clipseg_ray.sources.listing import append_shards, discover, from_parquet, to_parquet
from clipseg_ray.storage import Store
from tests.tars import tar_of

EACH_IN_A_FOLDER = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(url: str, format: str | None = None, **given: Any) -> list[Sample]:
    """Every sample of an input, by way of a frozen listing and of chunks, twice; what lies in it is found again."""
    listing = discover([url], format)
    source = source_of(listing.format, listing.root, **given)
    frozen = append_shards([], listing, source, slice_images=7)
    shards = from_parquet(to_parquet(frozen), "listing")
    assert shards == frozen
    assert append_shards(shards, discover([url], format, listing.root), source, slice_images=7) == []
    samples: list[Sample] = []
    for shard in shards:
        items = list(read_chunks(source, shard, Chunking(3), lambda _: True))
        assert isinstance(items[-1], ShardRecord)
        record = ShardRecord.from_values(json.loads(items[-1].to_json()))
        again = list(read_chunks(source, shard, Chunking(3), lambda _: True, record))
        assert again == items[:-1]
        samples += [sample for item in items if isinstance(item, Chunk) for sample in item.samples]
    names = ("image_id", "key", "source_url", "status", "error", "offset", "length")
    rows = pa.Table.from_pylist([{name: getattr(sample, name) for name in names} for sample in samples])
    rows.validate(full=True)
    if samples:
        found = fetch(source, rows.set_column(6, "length", [[sample.length for sample in samples]]))
        for sample, image in zip(samples, found, strict=True):
            if HIDDEN not in sample.source_url:
                assert (None if isinstance(image, Exception) else image) == sample.image
    return samples


NAME = st.binary(min_size=1, max_size=12).filter(
    lambda name: not set(name) & {0, ord("/")} and name not in (b".", b"..")
)


@given(st.sets(NAME, min_size=1, max_size=10))
@EACH_IN_A_FOLDER
def test_any_bytes_are_the_name_of_an_image_in_a_folder(
    tmp_path_factory: pytest.TempPathFactory, names: set[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("in")
    for name in names:
        (folder / os.fsdecode(b"n" + name + b".jpg")).write_bytes(b"image " + name)
    samples = read(str(folder), "images")
    assert {sample.image for sample in samples} == {b"image " + name for name in names}
    assert {sample.status for sample in samples} == {"ok"}
    assert len({sample.image_id for sample in samples}) == len(names)


@given(st.lists(NAME, unique=True, min_size=1, max_size=8), st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
@EACH_IN_A_FOLDER
def test_any_bytes_are_the_name_of_a_member(
    tmp_path_factory: pytest.TempPathFactory, names: list[bytes], format: int
) -> None:
    keys = sorted({name.replace(b".", b"") or b"x" for name in names})
    members = [(os.fsdecode(b"k" + key + b".jpg"), b"image " + key) for key in keys]
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=format, encoding="utf-8") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    url = str(tmp_path_factory.mktemp("in") / "t.tar")
    Store.of("/").put(url[1:], sink.getvalue())
    samples = read(url)
    assert [sample.image for sample in samples] == [data for _, data in members]
    assert len({sample.image_id for sample in samples}) == len(members)


TEXT = st.text(alphabet=st.characters(min_codepoint=0, max_codepoint=0x10FFFF, categories=None), max_size=12)
VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.one_of(VALUE.map(lambda value: json.dumps(value).encode()), st.binary()), min_size=1, max_size=6))
@EACH_IN_A_FOLDER
def test_any_bytes_are_a_sidecar(tmp_path_factory: pytest.TempPathFactory, sidecars: list[bytes]) -> None:
    members = []
    for number, sidecar in enumerate(sidecars):
        members += [(f"{number}.jpg", b"image"), (f"{number}.json", sidecar), (f"{number}.txt", sidecar)]
    url = str(tmp_path_factory.mktemp("in") / "t.tar")
    Store.of("/").put(url[1:], tar_of(members))
    for id_field in (None, "txt"):
        samples = read(url, id_field=id_field)
        assert len(samples) == len(sidecars)
        for sample in samples:
            unread = id_field is not None and isinstance(value_of(sample.fields, id_field), Unread)
            assert (sample.image, sample.status) == ((None, "undecodable") if unread else (b"image", "ok"))
            assert bool(sample.error) == unread
            json.dumps(sample.fields, ensure_ascii=False, default=str).encode()


CELL = st.one_of(
    VALUE,
    st.lists(
        st.sampled_from(["a.jpg", "../", "./", "/", "//", "~", "~x", "x\ud83d", "\0", "\udce9", "\n", "n" * 300]),
        max_size=4,
    ).map("".join),
    st.tuples(
        st.sampled_from(["http://", "HTTP://", "file://"]),
        st.sampled_from(["127.0.0.1:99999", "[::1", "h\0", "127.0.0.1:x", "", "%zz", "\ud83d", "a b", "/a.jpg"]),
    ).map("".join),
)


@given(st.lists(CELL, min_size=1, max_size=8))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_cell_is_the_url_of_an_image(tmp_path_factory: pytest.TempPathFactory, cells: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("in")
    (folder / "a.jpg").write_bytes(b"image")
    (folder / "sub.jpg").mkdir()
    rows = [{"id": str(number), "image": cell, "more": cell} for number, cell in enumerate([*cells, "a.jpg"])]
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    samples = read(str(folder / "m.jsonl"), id_field="id")
    assert [sample.image_id for sample in samples] == [row["id"] for row in rows]
    assert samples[-1].image == b"image"
    assert [(sample.status, sample.error) for sample in samples if sample.status == FAILED] == []


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=6))
@EACH_IN_A_FOLDER
def test_any_bytes_are_a_cell_of_text(tmp_path_factory: pytest.TempPathFactory, cells: list[bytes]) -> None:
    text = pa.Array.from_buffers(pa.string(), len(cells), pa.array(cells, pa.binary()).buffers())
    nested = pa.ListArray.from_arrays(pa.array([*range(len(cells)), len(cells)], pa.int32()), text)
    structs = pa.StructArray.from_arrays([text], ["inner"])
    days = pa.array([2**30] * len(cells), pa.int32()).cast(pa.date32())
    table = {"image": [b"image"] * len(cells), "text": text, "list": nested, "struct": structs, "day": days}
    url = str(tmp_path_factory.mktemp("in") / "t.parquet")
    pq.write_table(pa.table(table), url)
    for id_field in (None, "text", "day"):
        samples = read(url, id_field=id_field)
        assert [sample.image for sample in samples] == [b"image"] * len(cells)
    inside = [sample.fields["text"] for sample in samples]
    assert [sample.fields["list"] for sample in samples] == [[each] for each in inside]
    assert [sample.fields["struct"] for sample in samples] == [{"inner": each} for each in inside]
    assert len(set(inside)) == len(set(cells))


def test_a_name_in_latin_1_is_an_id_that_leads_back(tmp_path: Path) -> None:
    for name in (b"caf\xe9.jpg", b"caf\\xe9.jpg", "café.jpg".encode()):
        (tmp_path / os.fsdecode(name)).write_bytes(name)
    samples = {sample.image_id: sample.image for sample in read(str(tmp_path))}
    assert samples == {
        "caf\\xe9.jpg": b"caf\xe9.jpg",
        "caf\\x5cxe9.jpg": b"caf\\xe9.jpg",
        "café.jpg": "café.jpg".encode(),
    }


def test_a_link_that_leads_in_a_circle_and_a_name_too_long_are_verdicts(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"image")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    names = ["a.jpg", "loop.jpg", "n" * 300, "a.jpg/b.jpg", "x\0.jpg"]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps({"image": name}) + "\n" for name in names))
    samples = read(str(tmp_path / "m.jsonl"))
    assert [sample.status for sample in samples] == ["ok", *["missing"] * 4]
    assert all(sample.error for sample in samples[1:])


class Answers(BaseHTTPRequestHandler):
    """Gives each path as it was asked for; ``/to/…`` redirects to what follows, ``/round`` to itself."""

    files: dict[str, bytes] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        path = self.path
        status = 206 if self.headers.get("Range") else 200
        self.send_response(302 if path.startswith(("/to/", "/round")) else status)
        if path.startswith("/to/"):
            self.send_header("Location", path[3:])
        if path.startswith("/round"):
            self.send_header("Location", "/round")
        body = self.files.get(path, path.encode())
        if wanted := self.headers.get("Range"):
            first, last = wanted.removeprefix("bytes=").split("-")
            body = body[int(first) : int(last) + 1]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass


class OverIPv6(ThreadingHTTPServer):
    address_family = __import__("socket").AF_INET6


@pytest.fixture
def server() -> Iterator[str]:
    Answers.files = {}
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


def test_a_signed_url_is_asked_for_as_it_was_given(tmp_path: Path, server: str) -> None:
    paths = ["/a%2Fb.jpg?X-Amz-Credential=K%2F2024&n=%7E%27", "/c d.jpg?q=é", "/to/e%2Ff.jpg?s=%2F%27", "/to/g h.jpg"]
    urls = [server.replace("http", "HTTP") + path for path in paths]
    (tmp_path / "m.jsonl").write_text(
        "".join(
            json.dumps({"url": url, "id": str(number)}) + "\n" for number, url in enumerate([*urls, f"{server}/round"])
        )
    )
    samples = read(str(tmp_path / "m.jsonl"), id_field="id", boundary=Boundary.of_input([], [server]))
    assert [sample.image for sample in samples] == [
        b"/a%2Fb.jpg?X-Amz-Credential=K%2F2024&n=%7E%27",
        b"/c%20d.jpg?q=%C3%A9",
        b"/e%2Ff.jpg?s=%2F%27",
        b"/g%20h.jpg",
        None,
    ]
    assert samples[-1].status == "missing"


def test_formats_are_known_by_the_path_of_a_url(server: str) -> None:
    table = io.BytesIO()
    pq.write_table(pa.table({"image": [b"image"]}), table)
    Answers.files = {
        "/t.tar.gz?download=true": tar_of([("a.jpg", b"image")], "w:gz"),
        "/t.tar?path=x/y.zip": tar_of([("a.jpg", b"image")]),
        "/t.parquet?x=1": table.getvalue(),
        "/m.jsonl?x=a/b": b'{"image": "in/%2F.jpg?y=../1"}\n',
        "/m.csv?x=1": b"image\na.jpg\n",
        "/in/%2F.jpg?y=../1": b"image",
        "/a.jpg": b"image",
        "/a.jpg?w=1": b"image",
    }
    boundary = Boundary.of_input([server], [])
    for path in (
        "t.tar.gz?download=true",
        "t.tar?path=x/y.zip",
        "t.parquet?x=1",
        "m.jsonl?x=a/b",
        "m.csv?x=1",
        "a.jpg?w=1",
    ):
        (sample,) = read(f"{server}/{path}", boundary=boundary)
        assert (sample.status, sample.image) == ("ok", b"image"), path


def test_a_host_may_be_an_ipv6_address() -> None:
    try:
        httpd = OverIPv6(("::1", 0), Answers)
    except OSError:
        pytest.skip("no IPv6 here")
    Answers.files = {}
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    try:
        url = f"http://[::1]:{httpd.server_port}/a.jpg"
        (sample,) = read(url, boundary=Boundary.of_input([url], []))
        assert sample.image == b"/a.jpg"
        samples = read(url.replace("a.jpg", "{a,b}.jpg"), boundary=Boundary.of_input([url], []))
        assert [sample.image for sample in samples] == [b"/a.jpg", b"/b.jpg"]
    finally:
        httpd.shutdown()
        httpd.server_close()


KEYS = [
    "a.jpg",
    "/b.jpg",
    "x//c.jpg",
    "http://h/d.jpg",
    "e.jpg?versionId=1.jpg",
    "e.jpg",
    "g%2Fh.jpg",
    "i\\xe9.jpg",
]


def test_an_s3_key_is_what_follows_the_bucket(bucket: str) -> None:
    store = Store.of(bucket)
    fs, name = store.fs, bucket.removeprefix("s3://")
    for key in KEYS:
        fs.call_s3("put_object", Bucket=name, Key=key, Body=f"image {key}".encode())
    samples = read(bucket, "images")
    assert sorted(sample.image for sample in samples if sample.image) == sorted(f"image {key}".encode() for key in KEYS)
    assert len({sample.image_id for sample in samples}) == len(KEYS)
    (one,) = read(bucket.replace("s3://", "S3://") + "/e.jpg?versionId=1.jpg".replace("?", "[?]"), "images")
    assert one.image == b"image e.jpg?versionId=1.jpg"
    store.put("m.jsonl", b'{"url": "x//c.jpg"}\n{"url": "' + f"{bucket}/x//c.jpg".encode() + b'"}\n')
    samples = read(f"{bucket}/m.jsonl")
    assert [sample.image for sample in samples] == [b"image x//c.jpg"] * 2
    for folder in ("x/", "http://h"):
        fs.call_s3("put_object", Bucket=name, Key=f"{folder}/t.tar", Body=tar_of([("a.jpg", folder.encode())]))
    samples = read(bucket, "webdataset")
    assert {sample.image for sample in samples} == {b"x/", b"http://h"}
