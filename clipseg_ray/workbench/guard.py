"""What every request passes before anything of ours sees it: the machine's own browser, on the page we gave it.

The server listens on the loopback alone, but any page in any browser tab can send requests there, and a name of
someone else's may be made to point there (DNS rebinding). So a request must name a host that is this machine's, come
from our own page where it says where it comes from, and know the random token in the page's URL.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PICTURE_BYTES = 64 * 2**20
"""Of a picture that is sent."""

OTHER_BYTES = 2**20
"""Of anything else that is sent."""

_READ = frozenset({"GET", "HEAD"})
_OWN_SITE = frozenset({"same-origin", "none"})
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


class Guard:
    """ASGI middleware. ``app`` sees only what may be answered, its path without the token, its body read and bounded.

    port: where the server listens. token: the first name of every path. large: paths that take a picture.
    """

    def __init__(self, app: ASGIApp, *, port: int, token: str, large: Iterable[str] = ()) -> None:
        self._app = app
        self._hosts = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]"))
        self._origins = frozenset(f"http://{host}" for host in self._hosts)
        self._start = f"/{token}/".encode()
        self._large = frozenset(large)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # no web sockets here; who asks for one is not answered
        send = _with_headers(send)
        refusal = self._refusal(scope)
        if refusal is not None:
            await JSONResponse({"error": refusal[1]}, refusal[0])(scope, receive, send)
            return
        path = scope["path"][len(self._start) - 1 :]
        limit = PICTURE_BYTES if path in self._large else OTHER_BYTES
        body = await _body(Headers(scope=scope), receive, limit)
        if body is None:
            message = f"more than {limit:,} bytes, which is more than is taken here"
            await JSONResponse({"error": message}, 413, {"connection": "close"})(scope, receive, send)
            return
        await self._app({**scope, "path": path, "raw_path": path.encode(), "root_path": ""}, _once(body, receive), send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and words for a request that is not answered."""
        named = Headers(scope=scope)
        if named.getlist("host") not in ([host] for host in self._hosts):
            return 421, "this is not the workbench's address"
        origins = named.getlist("origin")
        if len(origins) > 1 or not self._origins.issuperset(origins):
            return 403, "another page has sent this"
        if not _OWN_SITE.issuperset(named.getlist("sec-fetch-site")):
            return 403, "another page has sent this"
        path = scope["path"].encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(path[: len(self._start)], self._start):
            return 404, "open the workbench by the whole address that it printed"
        if scope["method"] not in _READ and not origins and "sec-fetch-site" in named:
            return 403, "this does not say which page has sent it"
        return None


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
        await send(message)

    return sent


async def _body(headers: Headers, receive: Receive, limit: int) -> bytes | None:
    """The whole body; None where it is longer than ``limit``, of which no more is read."""
    stated = headers.get("content-length", "0")
    if not stated.isdecimal() or int(stated) > limit:
        return None
    parts, length = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""  # the other side has gone
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        if length > limit:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


def _once(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body that was read, then what comes after it."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def given() -> Message:
        return waiting.pop() if waiting else await receive()

    return given
