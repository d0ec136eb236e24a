"""HTTP for URLs that data may name: which addresses are connected to, and how much of an answer is read."""

from __future__ import annotations

import contextlib
import contextvars
import ipaddress
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote, urlsplit

from clipseg_ray.addresses import is_http, split_query, without_dots
from clipseg_ray.errors import Refused, TooLarge

_DEFAULT_PORTS = {"http": 80, "https": 443}
_UP_TO_PATH = re.compile("[^/?#]*")
_NOT_IN_HOST = re.compile(r"[\x00-\x20\x7f%<>\"\\^`{|}]")
_NOT_IN_URL = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]")
_CONNECT_S, _ANSWER_S = 10, 300
"""Seconds for a connection, and for the whole of an answer. Hosts that are gone often say nothing at all."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_asked: contextvars.ContextVar[str] = contextvars.ContextVar("asked", default="")
"""``host:port`` of the request that a connection is made for."""


def host_of(url: str) -> str:
    """``host:port`` of an HTTP URL, the host in lower case; empty for other URLs, and where no host can be told."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            return ""
        return f"{parts.hostname}:{parts.port or _DEFAULT_PORTS[parts.scheme]}"
    except ValueError:
        return ""


def hosts_of(urls: Sequence[str]) -> tuple[str, ...]:
    """The distinct ``host_of`` of those that have one, sorted."""
    return tuple(sorted({host for url in urls if (host := host_of(url))}))


def as_given(url: str) -> Any:
    """A URL for aiohttp, which sends its path and query as they stand: a signature is one of ``%2F`` or of ``/``.

    Only what no URL may hold is written as codes (a blank, é, a lone ``%``), and ``..`` is followed. Raises ValueError
    for a port or host that cannot be, and for half a surrogate pair.
    """
    import yarl

    scheme, _, rest = url.partition("://")
    host = _UP_TO_PATH.match(rest)[0]  # type: ignore[index]
    name = host.rpartition("@")[2]
    if not name.startswith("[") and _NOT_IN_HOST.search(name):
        raise ValueError(f"{name!r} is no host")
    path, query = split_query(rest[len(host) :])
    path = f"/{without_dots(path[1:])}" if path else ""
    return yarl.URL(str(yarl.URL(f"{scheme}://{host}")).rstrip("/") + quoted(path + query), encoded=True)


def quoted(text: str) -> str:
    """Path and query of a URL with codes for what neither may hold; those there are stay."""
    return _NOT_IN_URL.sub(lambda found: quote(found[0], safe="", errors="surrogateescape"), text)


def is_public(address: str) -> bool:
    """Whether an IP address is anyone's: not loopback, private, link-local, shared or reserved, in any notation."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        within = [found.ipv4_mapped, found.sixtofour, *(found.teredo or ())]
        if found in _NAT64:
            within.append(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
        if any(inner is not None and not inner.is_global for inner in within):
            return False
    return found.is_global and not found.is_multicast


def file_system(hosts: tuple[str, ...]) -> Any:
    """An fsspec file system for HTTP that connects to public addresses, and to any address of these ``hosts`` alone.

    The address is looked at when it is connected to, so that neither a redirect nor a name that resolves to another
    address the second time leads elsewhere. Raises Refused there. ``cat_file`` and ``cat_ranges`` take ``at_most``, the
    bytes of an answer (unpacked, where the server sends it packed) after which reading stops with TooLarge.
    """
    return _bounded()(get_client=_Client(hosts))


@dataclass(frozen=True)
class _Client:
    """Makes a session; its text tells fsspec's cache of file systems which ones are the same."""

    hosts: tuple[str, ...]

    async def __call__(self, **kwargs: Any) -> Any:
        import aiohttp

        connector = aiohttp.TCPConnector(socket_factory=self._socket)
        settings = {"middlewares": (_named,), "response_class": _answer(), "requote_redirect_url": False}
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S, sock_connect=_CONNECT_S)
        return aiohttp.ClientSession(connector=connector, timeout=timeout, **settings, **kwargs)

    def _socket(self, address_info: Any) -> socket.socket:
        family, kind, protocol, _, address = address_info
        if _asked.get() not in self.hosts and not is_public(address[0]):
            host = _asked.get()
            raise Refused(
                f"{host}: it is at a private, loopback or link-local address, which data may not name; "
                f"if that is meant, list http://{host}/ in input.allow (a reader: --allow-source)"
            )
        return socket.socket(family, kind, protocol)


async def _named(request: Any, handler: Any) -> Any:
    """Say for whom a connection is made."""
    _asked.set(f"{request.url.host}:{request.url.port}")
    return await handler(request)


@contextlib.contextmanager
def _refused_as_such() -> Iterator[None]:
    """Give what ``_Client`` refuses as it was raised; aiohttp and fsspec make errors of their own around it."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, Refused):
                raise cause from None
            cause = cause.__cause__ or getattr(cause, "os_error", None)
        raise


_kind: list[Any] = []
_answer_kind: list[Any] = []


def _answer() -> Any:
    """The class of a server's answers: the place one redirects to is as the server gives it, if that is a URL."""
    if _answer_kind:
        return _answer_kind[0]
    import aiohttp
    from multidict import CIMultiDict, CIMultiDictProxy

    class Answer(aiohttp.ClientResponse):
        @property
        def headers(self) -> CIMultiDictProxy[str]:
            """The answer's own, with a ``Location`` that is a URL."""
            given = super().headers
            if "Location" not in given:
                return given
            changed = CIMultiDict(given)
            with contextlib.suppress(ValueError):  # which aiohttp has a name for
                place = given["Location"]
                changed["Location"] = str(as_given(place)) if is_http(place) else quoted(place)
            return CIMultiDictProxy(changed)

    _answer_kind.append(Answer)
    return Answer


def _bounded() -> Any:
    """The file system's class, made on first use: aiohttp takes a third of a second to load."""
    if _kind:
        return _kind[0]
    from fsspec.implementations.http import HTTPFileSystem

    class BoundedHttp(HTTPFileSystem):
        def encode_url(self, url: str) -> Any:
            """See ``as_given``."""
            return as_given(url)

        async def _cat_file(
            self, url: str, start: int | None = None, end: int | None = None, at_most: int | None = None, **kwargs: Any
        ) -> bytes:
            with _refused_as_such():
                if at_most is None:
                    return cast(bytes, await super()._cat_file(url, start=start, end=end, **kwargs))
                headers = {}
                if start is not None or end is not None:
                    headers["Range"] = await self._process_limits(url, start, end)
                session = await self.set_session()
                body = bytearray()
                async with session.get(self.encode_url(url), headers=headers, **self.kwargs) as answer:
                    self._raise_not_found_for_status(answer, url)
                    async for piece in answer.content.iter_any():
                        body += piece
                        if len(body) > at_most:
                            raise TooLarge(f"{url}: more than {at_most} bytes")
                return bytes(body)

        async def _info(self, url: str, **kwargs: Any) -> Any:
            with _refused_as_such():
                try:
                    return await super()._info(url, **kwargs)
                except FileNotFoundError as error:
                    # fsspec calls everything that: a host that does not answer, too.
                    if error.__cause__ is None or getattr(error.__cause__, "status", None) == 404:
                        raise
                    raise error.__cause__ from None

    _kind.append(BoundedHttp)
    return BoundedHttp
