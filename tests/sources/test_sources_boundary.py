"""Shards and manifests that somebody sends: what they name is fetched only where it may be."""

from __future__ import annotations

import gzip
import os
import pickle
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipseg_ray.boundary import Boundary
from clipseg_ray.errors import Refused, UserError
from clipseg_ray.sources.base import Sample
from clipseg_ray.sources.formats import source_of
from clipseg_ray.sources.listing import append_shards, discover, to_parquet
from clipseg_ray.storage import Store, get_many


def samples_of(url: str, format: str | None = None, allow: tuple[str, ...] = (), **settings: Any) -> list[Sample]:
    listing = discover([url], format)
    source = source_of(listing.format, listing.root, boundary=Boundary.of_input([url], allow), **settings)
    shards = append_shards([], listing, source, slice_images=100)
    return [sample for shard in shards for sample in source.samples(shard)]


class Answers(BaseHTTPRequestHandler):
    """``/to/URL`` redirects there, ``/gzip`` is a megabyte packed small, ``/endless`` never ends, the rest an image."""

    def do_GET(self) -> None:
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path == "/gzip":
            body = gzip.compress(bytes(2**20))
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(2**16))
            except OSError:
                self.close_connection = True
        else:
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"secret")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


def parquet_naming(folder: str, *paths: str) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"image": pa.array([{"bytes": None, "path": path} for path in paths], kind)}), sink)
    Store(folder).put("a.parquet", bytes(sink.getvalue()))


@pytest.mark.parametrize("remote", [False, True])
def test_parquet_rows_name_what_is_beside_them_and_nothing_else(tmp_path: Path, remote: bool) -> None:
    fsspec.filesystem("memory").store.clear()
    (tmp_path / "secret.txt").write_text("secret")
    folder = "memory://in/shards" if remote else str(tmp_path / "in/shards")
    Store(folder).put("images/x.jpg", b"picture")
    Store(folder).child("../up").put("x.jpg", b"not mine") if not remote else None
    bad = ["/etc/passwd", "../up/x.jpg", "images/../../up/x.jpg", f"file://{tmp_path}/secret.txt", "/proc/self/environ"]
    bad += [str(tmp_path / "secret.txt"), "s3://other/x", "http://169.254.169.254/latest/meta-data", "~/.ssh/id"]
    if not remote:
        (tmp_path / "in/shards/link.jpg").symlink_to(tmp_path / "secret.txt")
        bad.append("link.jpg")
    parquet_naming(folder, "images/x.jpg", *bad)
    good, *refused = samples_of(f"{folder}/a.parquet")
    assert good.image == b"picture"
    for sample, path in zip(refused, bad, strict=True):
        assert (sample.status, sample.image) == ("missing", None), path
        assert sample.error is not None
        assert "input.allow" in sample.error, path
    allowed = samples_of(f"{folder}/a.parquet", allow=(str(tmp_path),))
    assert [sample.image for sample in allowed if sample.image == b"secret"]


def test_a_remote_manifest_names_no_local_file(tmp_path: Path) -> None:
    fsspec.filesystem("memory").store.clear()
    (tmp_path / "secret.jpg").write_text("secret")
    store = Store("memory://in")
    store.put("near.jpg", b"picture")
    (tmp_path / "two.jpg").write_text("secret")
    paths = [f"{tmp_path}/secret.jpg", f"file://{tmp_path}/two.jpg", f"FILE://{tmp_path}/secret.jpg"]
    paths += [f"local://{tmp_path}/secret.jpg", f"simplecache::file://{tmp_path}/secret.jpg"]
    unclear = paths[-2:]
    store.put("list.csv", "\n".join(["url", "near.jpg", *paths]).encode())
    near, *refused = samples_of("memory://in/list.csv")
    assert near.image == b"picture"
    assert [(sample.status, sample.image) for sample in refused] == [("missing", None)] * len(paths)
    for sample, path in zip(refused, paths, strict=True):
        assert ("read in one way alone" if path in unclear else "input.allow") in str(sample.error)
    allowed = samples_of("memory://in/list.csv", allow=(str(tmp_path),))
    assert [sample.image for sample in allowed[:3]] == [b"picture", b"secret", b"secret"]
    # A manifest on this machine is the user's own.
    (tmp_path / "list.csv").write_text(f"url\n{tmp_path}/secret.jpg\n")
    assert samples_of(str(tmp_path / "list.csv"))[0].image == b"secret"


def test_private_addresses_are_refused_where_they_are_connected_to(tmp_path: Path, server: str) -> None:
    port = server.rpartition(":")[2]
    names = [f"{server}/a.jpg", f"http://localhost:{port}/a.jpg", f"http://[::ffff:127.0.0.1]:{port}/a.jpg"]
    (tmp_path / "list.csv").write_text("\n".join(["url", *names]))
    refused = samples_of(str(tmp_path / "list.csv"))
    assert [sample.status for sample in refused] == ["missing"] * 3
    assert all("input.allow" in str(sample.error) for sample in refused[:2])
    allowed = samples_of(str(tmp_path / "list.csv"), allow=(f"{server}/",))
    assert [sample.status for sample in allowed] == ["ok", "missing", "missing"]


def test_a_name_that_resolves_to_another_address_the_second_time(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(server.rpartition(":")[2])
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
    real = socket.getaddrinfo

    def resolve(host: str, *more: Any, **named: Any) -> Any:
        return answer if host == "rebound.example" else real(host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    (found,) = get_many([f"http://rebound.example:{port}/a.jpg"], hosts=())
    assert isinstance(found, Refused)


def test_redirects(tmp_path: Path, server: str) -> None:
    other = f"http://localhost:{server.rpartition(':')[2]}"
    targets = [f"{server}/a.jpg", f"{other}/a.jpg", "file:///etc/passwd", "http://169.254.169.254/latest/meta-data"]
    (tmp_path / "list.csv").write_text("\n".join(["url", *(f"{server}/to/{target}" for target in targets)]))
    found = samples_of(str(tmp_path / "list.csv"), allow=(server,))
    assert [sample.status for sample in found] == ["ok", "missing", "missing", "missing"]
    assert "redirects to what is no HTTP URL" in str(found[2].error)
    # The same from a URL that the user typed: its own host is meant, where it leads is not.
    with pytest.raises(UserError, match="private, loopback or link-local"):
        discover([f"{server}/to/{other}/a.jpg"], "images")


def test_too_many_bytes(tmp_path: Path, server: str) -> None:
    (tmp_path / "list.csv").write_text(f"url\n{server}/a.jpg\n{server}/gzip\n{server}/endless\nbig.jpg\n")
    with (tmp_path / "big.jpg").open("wb") as file:
        file.truncate(2**40)
    found = samples_of(str(tmp_path / "list.csv"), allow=(server,), max_image_bytes=100_000)
    assert [sample.status for sample in found] == ["ok", "too_large", "too_large", "too_large"]
    assert "input.max_image_bytes" in str(found[1].error)
    (tmp_path / "list.csv").unlink()
    (big,) = samples_of(str(tmp_path), max_image_bytes=100_000)
    assert big.status == "too_large"


@pytest.mark.parametrize("s3", ["moto"], indirect=True)
def test_too_many_bytes_on_s3(bucket: str) -> None:
    store = Store(f"{bucket}/in")
    for name, size in {"empty": 0, "small": 1000, "more": 1001}.items():
        store.put(f"{name}.jpg", bytes(size))
    store.put("list.csv", b"url\nempty.jpg\nsmall.jpg\nmore.jpg\n")
    found = samples_of(f"{bucket}/in/list.csv", max_image_bytes=1000)
    assert [(sample.status, sample.length) for sample in found] == [("ok", 0), ("ok", 1000), ("too_large", None)]
    (alone,) = get_many([store.url_of("empty.jpg")], at_most=1000)
    assert alone == b""
    found = samples_of(f"{bucket}/in", "images", max_image_bytes=1000)
    assert [sample.status for sample in found] == ["ok", "too_large", "ok"]


def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(b"picture")
    found = samples_of(str(tmp_path), "images")
    assert [sample.status for sample in found] == ["missing", "ok"]
    with pytest.raises(IsADirectoryError):
        Store(str(tmp_path)).open("a.jpg")


class Signed(BaseHTTPRequestHandler):
    """Answers where the signature is today's; an error page repeats the URL."""

    today = "FIRST"

    def do_GET(self) -> None:
        good = f"sig=SECRET{self.today}" in self.path
        body = b"picture" if good else self.path.encode()
        self.send_response(200 if good else 403, None if good else f"Denied {self.path}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def test_secrets_of_signed_urls_are_kept_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Signed)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    server = f"http://127.0.0.1:{httpd.server_port}"

    def sign(day: str) -> None:
        rows = [f"{n},{server}/{n}.jpg?se=SECRET{day}&sig=SECRET{day},https://h/t?token=SECRET" for n in range(3)]
        (tmp_path / "list.csv").write_text("\n".join(["id,url,thumb", *rows]))

    def source() -> tuple[Any, list[Any]]:
        listing = discover([str(tmp_path / "list.csv")], None)
        given = source_of(listing.format, listing.root, id_field="id", boundary=Boundary.of_input([], [server]))
        return given, append_shards([], listing, given, slice_images=100)

    sign("FIRST")
    first, shards = source()
    assert b"SECRET" not in to_parquet(shards) + pickle.dumps(first)
    assert [(s.status, s.image_id) for s in pickle.loads(pickle.dumps(first)).samples(shards[0])] == [
        ("ok", "0"), ("ok", "1"), ("ok", "2"),
    ]  # fmt: skip
    assert "SECRET" not in repr(list(first.samples(shards[0])))
    # Another day all URLs are signed anew: the frozen listing is the same, and its images are fetched.
    monkeypatch.setattr(Signed, "today", "SECOND")
    late = list(first.samples(shards[0]))
    assert [sample.status for sample in late] == ["missing"] * 3
    assert "SECRET" not in repr(late)
    sign("SECOND")
    second, again = source()
    assert again == shards
    assert append_shards(shards, discover([str(tmp_path / "list.csv")], None), second, slice_images=100) == []
    assert [sample.status for sample in second.samples(shards[0])] == ["ok"] * 3
    (tmp_path / "list.csv").write_text(f"id,url\n7,{server}/7.jpg?sig=SECRETSECOND\n")
    third, _ = source()
    with pytest.raises(UserError, match="its row is gone from the manifest"):
        list(third.samples(shards[0]))
    httpd.shutdown()
    httpd.server_close()


def test_signed_urls_need_ids_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("url\nhttps://user:SECRET@h/a.jpg\n")
    with pytest.raises(UserError, match=r"list\.csv row 1: https://\*\*\*@h/a\.jpg holds a secret .* input\.id_field"):
        samples_of(str(tmp_path / "list.csv"))
