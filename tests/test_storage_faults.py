"""What is said of storage's faults: whose they are, and what to do."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from clipseg_ray.errors import UserError
from clipseg_ray.storage import Store, explain, plain_errors
from tests.conftest import forget_s3_clients

NETWORK = ("network", "AWS_ENDPOINT_URL", "cannot be reached")


def said(url: str, action: Any) -> str:
    with pytest.raises(UserError) as caught, plain_errors(url):
        action()
    message = str(caught.value)
    assert message.startswith(f"{url}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "no space is left"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "cannot be read or written"),
        (errno.EINVAL, "cannot be read or written"),
        (errno.ESTALE, "mount it again"),
        (errno.EACCES, "check its permissions"),
    ],
)
def test_a_fault_of_a_disk_is_none_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code), str(tmp_path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    message = said(str(tmp_path), lambda: Store(str(tmp_path)).put("a", b"a"))
    assert words in message
    assert not any(word in message for word in NETWORK)


def test_places_that_cannot_be_are_said_as_such(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for name, words in {
        "file/x/y": "a file is where a folder should be",
        "a": "links lead in a circle",
        "n" * 300: "name is longer",
    }.items():
        url = str(tmp_path / name)
        assert words in said(url, lambda url=url: Store(url).get(""))
        message = said(url, lambda url=url: Store(url).get(""))
        assert not any(word in message for word in NETWORK)
        refusal = str(Store(url).refusal())
        assert words in refusal or "is a file" in refusal or "leads nowhere" in refusal
    assert "no space" in str(explain(OSError(errno.ENOSPC, "full", "/tmp/spool"), "s3://bucket/out"))


class S3Faults(BaseHTTPRequestHandler):
    """Answers every request as a test says."""

    code: ClassVar[str] = ""
    status: ClassVar[int] = 403
    headers_: ClassVar[dict[str, str]] = {}

    def do_GET(self) -> None:
        body = f"<Error><Code>{self.code}</Code><Message>as said</Message></Error>".encode()
        self.send_response_only(self.status)
        if "Date" not in self.headers_:
            self.send_header("Date", formatdate(usegmt=True))
        for name, value in self.headers_.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_PUT = do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def s3_faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[S3Faults]]:
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), S3Faults)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{httpd.server_port}",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_SESSION_TOKEN": "c",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    forget_s3_clients()
    yield S3Faults
    forget_s3_clients()
    httpd.shutdown()
    httpd.server_close()


AN_HOUR_AGO = {"Date": formatdate(0, usegmt=True)}


@pytest.mark.parametrize(
    ("code", "status", "headers", "words"),
    [
        ("ExpiredToken", 400, {}, "the credentials have expired"),
        ("InvalidToken", 400, {}, "AWS_SESSION_TOKEN"),
        ("AuthorizationHeaderMalformed", 400, {"x-amz-bucket-region": "eu-west-1"}, "set AWS_REGION: it is eu-west-1"),
        ("PermanentRedirect", 301, {"x-amz-bucket-region": "eu-west-1"}, "another region"),
        ("RequestTimeTooSkewed", 403, {}, "clock differs from the server's"),
        ("AccessDenied", 403, AN_HOUR_AGO, "clock is"),
        ("AccessDenied", 403, {}, "access denied"),
        ("SignatureDoesNotMatch", 403, {}, "access denied"),
    ],
)
@pytest.mark.parametrize("asked", ["list", "entry"])
def test_faults_of_whoever_asks_s3(
    s3_faults: type[S3Faults],
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    status: int,
    headers: dict[str, str],
    words: str,
    asked: str,
) -> None:
    for name, value in (("code", code), ("status", status), ("headers_", headers)):
        monkeypatch.setattr(s3_faults, name, value)
    store = Store("s3://bucket/in")
    message = said(store.url, lambda: list(store.list()) if asked == "list" else store.entry("a"))
    assert "network" not in message
    # An answer to HEAD has no body to say why.
    if asked == "list" or code in ("PermanentRedirect", "AccessDenied"):
        assert words in message
    if headers == AN_HOUR_AGO:
        assert "set it (NTP)" in message


def test_a_server_that_answers_is_reached(s3_faults: type[S3Faults], monkeypatch: pytest.MonkeyPatch) -> None:
    url = os.environ["AWS_ENDPOINT_URL"]
    assert "the server answers 403 Forbidden" in said(url, lambda: Store(url).get("a.csv"))
    monkeypatch.setattr(s3_faults, "status", 404)
    assert "not found" in said(url, lambda: Store(url).get("a.csv"))


def test_a_host_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "as said")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert "no host has that name" in said("http://x.invalid", lambda: Store("http://x.invalid").get("a.csv"))
    assert "no trusted connection" in str(explain(type("ClientSSLError", (OSError,), {})("bad"), "https://h"))


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"AWS_PROFILE": "nobody"}, "check AWS_PROFILE"),
        ({"AWS_ENDPOINT_URL": "127.0.0.1:9000"}, "set AWS_ENDPOINT_URL to one"),
    ],
)
def test_what_leads_to_s3_and_is_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    forget_s3_clients()
    store = Store("s3://bucket/in")
    message = said(store.url, lambda: list(store.list()))
    forget_s3_clients()
    assert words in message
    assert not any(word in message for word in ("network", "cannot be reached"))


def test_a_folder_that_is_read_as_a_file_is_called_one(tmp_path: Path) -> None:
    assert "it is a folder or device, and no file" in said(str(tmp_path), lambda: Store(str(tmp_path)).get(""))
