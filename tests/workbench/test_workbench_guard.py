"""Before all else: who sends, from where, with what token, and how much."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clipseg_ray.workbench.guard import OTHER_BYTES, PICTURE_BYTES, Guard

HOST = [(b"host", b"127.0.0.1:8000")]
SENT = "http://127.0.0.1:8000"


def answer(
    path: str = "/secret/state",
    headers: list[tuple[bytes, bytes]] | None = None,
    *,
    method: str = "GET",
    body: list[bytes] | None = None,
    kind: str = "http",
) -> tuple[int | None, dict[str, str], list[tuple[str, bytes]]]:
    """Status and headers of the answer, and what the application behind the guard was asked (path, body)."""
    asked: list[tuple[str, bytes]] = []
    sent: list[dict[str, Any]] = []
    parts = list(body or [b""])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.append((scope["path"], (await receive())["body"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"well"})

    async def receive() -> dict[str, Any]:
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": kind, "method": method, "path": path, "headers": HOST if headers is None else headers}
    guard = Guard(app, port=8000, token="secret", large=["/pictures"])
    asyncio.run(guard(scope, receive, send))
    if not sent:
        return None, {}, asked
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}, asked


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000"])
def test_the_machine_s_own_browser_is_answered(host: str) -> None:
    headers = [(b"host", host.encode()), (b"origin", f"http://{host}".encode()), (b"sec-fetch-site", b"same-origin")]
    status, answered, asked = answer(headers=headers, method="POST", body=[b"a", b"b"])
    assert (status, asked) == (200, [("/state", b"ab")])
    assert "default-src 'none'" in answered["content-security-policy"]
    assert "unsafe" not in answered["content-security-policy"]
    assert answered["referrer-policy"] == "no-referrer"
    assert answered["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 421),
        ([(b"host", b"evil.example:8000")], 421),
        ([(b"host", b"127.0.0.1")], 421),
        ([(b"host", b"127.0.0.1:8001")], 421),
        ([(b"host", b"127.0.0.1:8000.evil.example")], 421),
        ([*HOST, (b"host", b"evil.example")], 421),
        ([*HOST, (b"origin", b"http://evil.example")], 403),
        ([*HOST, (b"origin", b"null")], 403),
        ([*HOST, (b"origin", b"https://127.0.0.1:8000")], 403),
        ([*HOST, (b"origin", b"http://127.0.0.1:8001")], 403),
        ([*HOST, (b"origin", SENT.encode()), (b"origin", b"http://evil.example")], 403),
        ([*HOST, (b"sec-fetch-site", b"cross-site")], 403),
        ([*HOST, (b"sec-fetch-site", b"same-site")], 403),
        ([*HOST, (b"sec-fetch-site", b"same-origin")], 403),  # a browser that posts says where from
    ],
)
def test_others_reach_nothing(headers: list[tuple[bytes, bytes]], status: int) -> None:
    found, answered, asked = answer(headers=headers, method="POST")
    assert (found, asked) == (status, [])
    assert "content-security-policy" in answered


@pytest.mark.parametrize(
    "path",
    ["/", "/state", "/secre/state", "/secret", "/secrets/state", "//secret/state", "/x/secret/", "/SECRET/"],
)
def test_without_the_token_there_is_nothing(path: str) -> None:
    assert answer(path)[0::2] == (404, [])


def test_no_web_socket_is_opened() -> None:
    assert answer(kind="websocket") == (None, {}, [])


@pytest.mark.parametrize(("path", "limit"), [("/secret/queries", OTHER_BYTES), ("/secret/pictures", PICTURE_BYTES)])
def test_no_more_is_read_than_is_taken(path: str, limit: int) -> None:
    piece = bytes(limit // 4)
    assert answer(path, method="POST", body=[piece] * 4)[0] == 200
    assert answer(path, method="POST", body=[piece] * 4 + [b"1"] * 1000)[0::2] == (413, [])
    stated = [*HOST, (b"content-length", str(limit + 1).encode())]
    assert answer(path, stated, method="POST")[0::2] == (413, [])
    assert answer(path, [*HOST, (b"content-length", b"-1")], method="POST")[0::2] == (413, [])
