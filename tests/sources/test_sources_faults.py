"""What a fault of one image means: dead hosts and impossible names cost the images that they name, and nothing else."""

from __future__ import annotations

import errno
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientProxyConnectionError,
    ServerDisconnectedError,
    ServerTimeoutError,
)
from aiohttp.client_reqrep import ConnectionKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipseg_ray import http_client
from clipseg_ray.boundary import Boundary
from clipseg_ray.errors import UserError
from clipseg_ray.sources import images
from clipseg_ray.sources.base import FAILED, Sample
from clipseg_ray.sources.chunking import Chunking
from clipseg_ray.sources.chunks import Chunk, read_chunks
from clipseg_ray.sources.faults import Unreached, fault_of, may_pass
from clipseg_ray.sources.formats import source_of
from clipseg_ray.sources.listing import append_shards, discover
from clipseg_ray.storage import StaleObject
from tests.servers.s3 import free_port


class Answers(BaseHTTPRequestHandler):
    """``/loop`` redirects to itself, ``/503`` and its like answer so, ``/garbage`` is no HTTP, the rest an image."""

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].strip("/")
        if name == "garbage":
            self.wfile.write(b"hello\r\n\r\n")
            return
        self.send_response(302 if name == "loop" else int(name) if name.isdecimal() else 200)
        if name == "loop":
            self.send_header("Location", "/loop")
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"image")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that are waited for another try, none of which pass; names below .invalid are known to nobody."""
    real = socket.getaddrinfo

    def resolve(host: Any, *more: Any, **named: Any) -> Any:
        for ending, code in ((".invalid", socket.EAI_NONAME), (".again", socket.EAI_AGAIN)):
            if str(host).endswith(ending):
                raise socket.gaierror(code, "as it is said in the test")
        return real(host, *more, **named)

    waited: list[float] = []
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(images.time, "sleep", waited.append)
    monkeypatch.setattr(http_client, "_CONNECT_S", 0.5)
    return waited


def manifest(folder: Path, *urls: str) -> str:
    (folder / "list.jsonl").write_text("".join(json.dumps({"url": url, "id": i}) + "\n" for i, url in enumerate(urls)))
    return str(folder / "list.jsonl")


def parquet(folder: Path, *paths: str) -> str:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": None, "path": path} for path in paths], kind)
    pq.write_table(pa.table({"image": rows}), folder / "a.parquet")
    return str(folder / "a.parquet")


def chunks_of(url: str, *allow: str, images: int = 100, **settings: Any) -> list[Chunk]:
    listing = discover([url], None)
    source = source_of(listing.format, listing.root, boundary=Boundary.of_input([url], allow), **settings)
    (shard,) = append_shards([], listing, source, slice_images=100)
    return [chunk for chunk in read_chunks(source, shard, Chunking(images), {0, 1, 2}) if isinstance(chunk, Chunk)]


def samples_of(url: str, *allow: str, **settings: Any) -> list[Sample]:
    return [sample for chunk in chunks_of(url, *allow, **settings) for sample in chunk.samples]


PERMANENT = {
    "SERVER/loop": "the server redirects without end",
    "SERVER/403": "the server answers 403 Forbidden",
    "SERVER/451": "the server answers 451",
    "http://127.0.0.1:99999/a.jpg": "Port out of range",
    "http://127.0.0.1:port/a.jpg": "no image can be there",
    "http://[::1/a.jpg": "Invalid IPv6 URL",
    "http://[zz]/a.jpg": "no image can be there",
    "http://a..b/a.jpg": "no image can be there",
    "http:///a.jpg": "not a valid URL",
    "http://1.2.3.4.5/a.jpg": "not a valid URL",
    "http://gone.invalid/a.jpg": "no host has that name",
    "https://gone.invalid/a.jpg": "no host has that name",
    "FOLDER/circle": "its links lead in a circle",
    "FOLDER/sub": "not a file",
    "FOLDER/good.jpg/a.jpg": "not a file",
    f"FOLDER/{'n' * 300}.jpg": "its name is too long",
    "FOLDER/nothing.jpg": "not found",
    "gopher://host/a.jpg": "no file system for 'gopher://'",
    "ftp://host/a.jpg": "no image can be there",
}


@pytest.mark.parametrize("written", [manifest, parquet])
@pytest.mark.parametrize("bad", PERMANENT)
def test_a_permanent_fault_of_one_image_is_its_row_at_once(
    tmp_path: Path, server: str, waits: list[float], bad: str, written: Any
) -> None:
    (tmp_path / "good.jpg").write_bytes(b"image")
    (tmp_path / "sub").mkdir()
    (tmp_path / "circle").symlink_to("round")
    (tmp_path / "round").symlink_to("circle")
    url = bad.replace("SERVER", server).replace("FOLDER", str(tmp_path))
    schemes = ("gopher://host", "ftp://host", "https://gone.invalid", url) if written is parquet else ()
    first, second, third = samples_of(written(tmp_path, "good.jpg", url, "good.jpg?"), server, *schemes)
    assert (first.status, first.image) == ("ok", b"image")
    assert second.status == "missing"
    assert PERMANENT[bad] in str(second.error) or "not fetched" in str(second.error)
    assert third.status == "missing"
    assert waits == []


@pytest.mark.parametrize("written", [manifest, parquet])
def test_a_null_byte_in_a_name_is_one_images_fault(tmp_path: Path, written: Any) -> None:
    (tmp_path / "good.jpg").write_bytes(b"image")
    assert [sample.status for sample in samples_of(written(tmp_path, "good.jpg", "a\0.jpg"))] == ["ok", "missing"]


def test_a_manifest_of_which_nothing_can_be_fetched_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gopher"):
        chunks_of(manifest(tmp_path, "gopher://host/a.jpg", "gopher://host/b.jpg"))
    with pytest.raises(UserError, match=r"gs://.*install"):
        chunks_of(manifest(tmp_path, "a.jpg", "gs://bucket/b.jpg"))


@pytest.mark.parametrize("written", [manifest, parquet])
@pytest.mark.parametrize("bad", ["http://127.0.0.1:CLOSED/a.jpg", "TLS/a.jpg", "SERVER/503", "SERVER/garbage"])
def test_what_may_come_back_is_no_verdict_and_ends_no_shard(
    tmp_path: Path, server: str, waits: list[float], bad: str, written: Any
) -> None:
    (tmp_path / "good.jpg").write_bytes(b"image")
    closed = f"http://127.0.0.1:{free_port()}"
    tls = server.replace("http:", "https:")
    bad = bad.replace("http://127.0.0.1:CLOSED", closed).replace("TLS", tls).replace("SERVER", server)
    url = written(tmp_path, *(f"{bad}?{index}" for index in range(40)), "good.jpg")
    first, second = chunks_of(url, server, closed, tls, images=40)
    assert {sample.status for sample in first.samples} == {FAILED}
    assert all(sample.error for sample in first.samples)
    assert [sample.image for sample in second.samples] == [b"image"]
    assert waits, "it is asked for again in this run"


def test_a_named_image_that_is_gone_for_a_while_moves_no_chunk(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        (tmp_path / f"{name}.jpg").write_bytes(bytes(600))
    url = parquet(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")

    def cut() -> list[list[str]]:
        listing = discover([url], None)
        source = source_of(listing.format, listing.root)
        (shard,) = append_shards([], listing, source, slice_images=100)
        found = read_chunks(source, shard, Chunking(3, 1000), lambda _: True)
        return [[sample.key for sample in chunk.samples] for chunk in found if isinstance(chunk, Chunk)]

    before = cut()
    (tmp_path / "a.jpg").unlink()
    assert cut() == before


def dns(code: int) -> Exception:
    key: Any = ConnectionKey("h", 80, False, True, None, None, None)
    return ClientConnectorDNSError(key, socket.gaierror(code, "said"))


def s3_fault(kind: type[OSError], code: str) -> OSError:
    from botocore.exceptions import ClientError

    error = kind("said")
    error.__cause__ = ClientError({"Error": {"Code": code}}, "GetObject")
    return error


def lacking_package() -> UserError:
    error = UserError("no file system for 'gs://' here")
    error.__cause__ = ImportError("gcsfs")
    return error


KEY: Any = ConnectionKey("h", 443, True, True, None, None, None)
WEB, S3 = "https://h/a.jpg", "s3://b/a.jpg"


@pytest.mark.parametrize(
    ("error", "url", "alone", "beside", "passing"),
    [
        (dns(socket.EAI_NONAME), WEB, "missing", "missing", None),
        (dns(socket.EAI_AGAIN), WEB, None, None, True),
        (dns(socket.EAI_FAIL), WEB, None, None, True),
        (dns(socket.EAI_NONAME), "gs://b/a.jpg", None, None, True),
        (ClientProxyConnectionError(KEY, socket.gaierror(socket.EAI_NONAME, "")), WEB, None, None, True),
        (ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError("expired")), WEB, None, None, False),
        (PermissionError(errno.EACCES, "denied"), "/a.jpg", None, "missing", False),
        (s3_fault(PermissionError, "AccessDenied"), S3, None, "missing", False),
        (s3_fault(PermissionError, "ExpiredToken"), S3, None, None, False),
        (s3_fault(PermissionError, "RequestTimeTooSkewed"), S3, None, None, False),
        (s3_fault(OSError, "PermanentRedirect"), S3, None, None, False),
        (s3_fault(OSError, "SlowDown"), S3, None, None, True),
        (s3_fault(FileNotFoundError, "NoSuchBucket"), S3, "missing", "missing", None),
        (OSError(errno.EIO, "disk"), "/a.jpg", None, None, True),
        (OSError(errno.ENXIO, "a socket"), "/a.jpg", "missing", "missing", None),
        (TimeoutError(), WEB, None, None, True),
        (ValueError("no settings for it"), "abfs://c/a.jpg", None, "missing", False),
        (lacking_package(), "gs://b/a.jpg", None, None, False),
        (StaleObject("changed"), S3, None, None, False),
        (RuntimeError("session is closed"), WEB, None, None, True),
    ],
)
def test_what_each_fault_means(
    error: Exception, url: str, alone: str | None, beside: str | None, passing: bool | None
) -> None:
    assert fault_of(error, url).status == alone
    assert fault_of(error, url, beside=True).status == beside
    if passing is not None:
        assert fault_of(error, url).passing is passing
        assert may_pass(error) is passing


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rest=st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\n\r"), max_size=30))
@pytest.mark.parametrize("start", ["http://", "http://[", "https://h.invalid:", "", "/", "x://", "file://"])
def test_whatever_a_row_names_is_a_row(tmp_path_factory: pytest.TempPathFactory, start: str, rest: str) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "good.jpg").write_bytes(b"image")
    good, bad = samples_of(manifest(folder, "good.jpg", start + rest), id_field="id")
    assert good.image == b"image"
    assert bad.status in ("missing", "ok")


def test_a_denied_folder_is_no_verdict_on_its_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(b"image")
    denied = {"b.jpg"}
    real = images.get_listed

    def get(listed: Any, **settings: Any) -> list[bytes | Exception]:
        return [
            PermissionError(errno.EACCES, "denied") if Path(url).name in denied else found
            for (url, _), found in zip(listed, real(listed, **settings), strict=True)
        ]

    monkeypatch.setattr(images, "get_listed", get)
    found = samples_of(str(tmp_path))
    assert [sample.status for sample in found] == ["ok", "missing", "ok"]
    assert "access denied" in str(found[1].error)
    denied |= {"a.jpg", "c.jpg"}
    with pytest.raises(PermissionError):
        samples_of(str(tmp_path))


def test_what_cannot_be_reached_is_said_with_what_to_do() -> None:
    lost = [Sample(image_id=f"{i}", key="", source_url="", status=FAILED, error=f"http://h/{i}: refused") for i in "ab"]
    error = Unreached(lost, 5)
    assert str(error).startswith("2 of 5 image(s) cannot be had now, the first: http://h/a: refused; ")
    assert "--give-up" in str(error)
    assert error.hosts_gone
    assert not Unreached(lost, 2).hosts_gone
    lost[1].answered = True
    assert Unreached(lost, 2).hosts_gone


@pytest.mark.parametrize(
    ("error", "answered"),
    [
        (ClientConnectorError(KEY, ConnectionRefusedError(errno.ECONNREFUSED, "refused")), True),
        (ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError("expired")), True),
        (ServerDisconnectedError(), True),
        (ClientConnectorError(KEY, OSError(errno.ENETUNREACH, "no route")), False),
        (ServerTimeoutError(), False),
        (TimeoutError(), False),
        (dns(socket.EAI_AGAIN), False),
    ],
)
def test_a_refusal_shows_that_the_network_is_there_and_silence_does_not(error: Exception, answered: bool) -> None:
    assert fault_of(error, WEB).answered is answered
    assert not fault_of(error, S3).answered
