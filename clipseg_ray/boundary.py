"""What data may name: a URL in a dataset, a shard or a manifest is fetched only below places that a user named."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from clipseg_ray.addresses import absolute, protocol_of, without_query
from clipseg_ray.errors import Refused
from clipseg_ray.http_client import hosts_of
from clipseg_ray.outside_text import native
from clipseg_ray.redaction import redacted
from clipseg_ray.storage import Store

_BUCKETS = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az")
_ON_THIS_MACHINE = {"file", "local", "git", "dir", "zip", "tar", "libarchive", "reference", "cached"}
"""File systems that open a path of this machine, whatever stands behind the scheme."""


def is_local(url: str) -> bool:
    """Whether a URL, as it is written, leads to a file of this machine."""
    protocol = protocol_of(url).lower()
    return protocol in _ON_THIS_MACHINE or "::" in protocol or protocol.endswith("cache")


class _Place(NamedTuple):
    scheme: str
    host: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Boundary:
    """The places below which URLs that data names may be fetched.

    ``prefixes``: typed by the user. ``hosts``: HTTP hosts (``host:port``) the user typed, which may have private
    addresses. ``own``: the bucket or folder in which the data itself lies; of a folder of this machine, files whose
    path below it has no hidden name. ``option``: what a refusal names as the way to allow more.
    """

    prefixes: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    own: str = ""
    option: str = "input.allow"

    @classmethod
    def of_input(cls, urls: Sequence[str], allow: Sequence[str]) -> Boundary:
        """What the shards of a run may name: below ``input.allow``, and on the hosts of the input's own URLs."""
        return cls(tuple(allow), hosts_of([*urls, *allow]))

    @classmethod
    def around(cls, dataset: str, allow: Sequence[str]) -> Boundary:
        """What a dataset may name: its own bucket, or the folder it lies in, and what is below ``--allow-source``."""
        url = absolute(dataset).rstrip("/")
        scheme, rest = protocol_of(url), url.partition("://")[2]
        if scheme in _BUCKETS:
            own = f"{scheme}://{rest.partition('/')[0]}"
        elif scheme != "file":
            own = url.rpartition("/")[0] if "/" in rest else url
        else:
            folder = Path(os.path.realpath(url))
            # A dataset just below the root of all files would open the machine.
            own = str(folder if folder.parent == Path(folder.anchor) else folder.parent)
        return cls(tuple(map(absolute, allow)), hosts_of([url, *allow]), own, "--allow-source")

    def beside(self, folder: str) -> Boundary:
        """The same, and what lies below ``folder`` too."""
        return replace(self, prefixes=(*self.prefixes, folder))

    def allows(self, url: str) -> bool:
        """Whether ``url`` may be fetched. Links of this machine's file system count as what they lead to."""
        place = _place(url)
        if place is None:
            return False
        if any(_below(place, prefix) is not None for prefix in self.prefixes):
            return True
        inside = _below(place, self.own) if self.own else None
        return inside is not None and not (place.scheme == "file" and any(name.startswith(".") for name in inside))

    def refusal(self, url: str) -> Refused:
        """What stands for an image that may not be fetched."""
        if _place(url) is None:
            return Refused(
                f"{redacted(url)}: not fetched, it is no address that is read in one way alone (a null byte, .. or a "
                "backslash on the way, a user name, a host that cannot be); write it out"
            )
        where = f"outside {self.own} and " if self.own else ""
        return Refused(
            f"{redacted(url)}: not fetched, it is {where}not below any prefix given by {self.option}; "
            f"if its place is trusted, add that to {self.option}"
        )


def _below(place: _Place, prefix: str) -> tuple[str, ...] | None:
    """The names that lead from ``prefix`` to ``place``; None where it is not below it."""
    above = _place(prefix.rstrip("/") or "/")
    if above is None or (above.scheme, above.host) != (place.scheme, place.host):
        return None
    count = len(above.names)
    return place.names[count:] if place.names[:count] == above.names else None


def _place(url: str) -> _Place | None:
    """A URL in the one form that is compared; None for one that servers or file systems might read in two ways."""
    protocol = protocol_of(url)
    if protocol == "file":
        try:
            names = Path(os.path.realpath(native(absolute(url)))).parts
        except ValueError:  # a NUL or half a surrogate pair, which no file system knows
            return None
        return _Place("file", "", names)
    if any(character < " " or character == "\x7f" for character in native(url)):
        return None
    rest = without_query(url).partition("://")[2]
    host, _, path = rest.partition("/")
    names = tuple(path.split("/")) if path else ()
    if not host or is_local(url) or any(name in (".", "..") for name in _decoded(path).replace("\\", "/").split("/")):
        return None
    if protocol in ("http", "https"):
        if "@" in host or "\\" in host or "%" in host or " " in host:
            return None
        host = host.lower().removesuffix(":80" if protocol == "http" else ":443")
    return _Place(protocol, host, names)


def _decoded(path: str) -> str:
    """A path with its percent encoding undone, however often it was done."""
    while (once := unquote(path)) != path:
        path = once
    return path


def named_by(data_url: str, url: str, boundary: Boundary) -> str:
    """``url`` as the data at ``data_url`` may name it. Raises Refused for a file of this machine named from elsewhere.

    Data on this machine may name files of it: it is the user's own.
    """
    if is_local(url) and not is_local(Store(data_url).url) and not boundary.allows(url):
        raise boundary.refusal(url)
    return url
