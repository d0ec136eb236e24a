"""Addresses: what a string that names an object is, a path of this machine, a URL, or a path below the input's root."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path

from clipseg_ray.outside_text import entered, native, typed

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.:-]*)://")
_BELOW = "./"


def protocol_of(url: str) -> str:
    """``s3`` for ``s3://…`` and ``S3://…``; ``file`` for a path, which has no scheme in front."""
    found = _SCHEME.match(url)
    return found[1].lower() if found else "file"


def is_http(url: str) -> bool:
    """Whether it is fetched over HTTP: a question mark begins its query string, and ``%`` a code."""
    return protocol_of(url) in ("http", "https")


def is_whole(path: str) -> bool:
    """Whether it says all by itself, as a URL or an absolute path does, and is relative to nothing."""
    return path.startswith("/") or _SCHEME.match(path) is not None


def absolute(url: str, folder: str = "") -> str:
    """A path made absolute, without ``..``; a URL with its scheme in lower case.

    A relative path is relative to ``folder``, a path or any URL (default: the working directory). The home of a user
    who does not exist (``~nobody/x``) is a name like any other.
    """
    url = typed(url)
    protocol = protocol_of(url)
    if protocol != "file":
        return f"{protocol}{url[len(protocol) :]}"
    path = Path(os.path.expanduser(_of_file(url)))  # noqa: PTH111 (Path.expanduser raises where nobody has that name)
    if not path.is_absolute() and protocol_of(folder) != "file":
        return joined(folder, url)
    path = Path(folder, path)
    return str(_without_dots(path if path.is_absolute() else Path(entered(os.getcwd()), path)))  # noqa: PTH109


def _of_file(url: str) -> str:
    return url[len("file://") :] if _SCHEME.match(url) else url


def _without_dots(path: Path) -> Path:
    """``path`` without ``..``, save after a link: what lies above it only the file system knows."""
    if ".." not in path.parts:
        return path
    kept = Path(path.anchor)
    for name in path.parts[1:]:
        # Not Path.is_symlink, which raises for a name that is too long.
        up = name == ".." and kept.name != ".." and not os.path.islink(native(str(kept)))  # noqa: PTH114
        kept = kept.parent if up else kept / name
    return kept


def without_query(url: str) -> str:
    """An HTTP URL without query string and fragment; others as they are, for there ``?`` and ``#`` belong to names."""
    return re.split("[?#]", url, maxsplit=1)[0] if is_http(url) else url


def joined(folder: str, path: str) -> str:
    """The address of ``path``, relative to ``folder``, an absolute path or any URL: ``..`` climbs up to the host.

    Empty names stay where they have a meaning: ``a//b`` is another key than ``a/b``.
    """
    if protocol_of(folder) == "file":
        return posixpath.normpath(f"{folder}/{path}")
    scheme, _, rest = without_query(folder).partition("://")
    host, slash, above = rest.partition("/")
    plain, query = split_query(path) if is_http(folder) else (path, "")
    return f"{scheme}://{host}/{without_dots(f'{above}{slash}{plain}')}{query}"


def split_query(path: str) -> tuple[str, str]:
    """A path of an HTTP URL and what follows it, from the first ``?`` or ``#`` on."""
    plain = re.split("[?#]", path, maxsplit=1)[0]
    return plain, path[len(plain) :]


def without_dots(path: str) -> str:
    """A path without ``.`` and ``..`` (RFC 3986, section 5.2.4); ``..`` at its beginning leads nowhere."""
    kept: list[str] = []
    for name in path.split("/"):
        if name == "..":
            del kept[-1:]
        elif name != ".":
            kept.append(name)
    return "/".join(kept)


def below(url: str, root: str) -> str:
    """``url`` as the listing keeps it: relative to ``root`` where it lies below, else whole.

    A relative path that reads like something else (an S3 key may begin with ``/`` or ``http://``) begins with ``./``.
    """
    folder = root.rstrip("/") + "/"
    if not url.startswith(folder):
        return url
    path = url[len(folder) :]
    return f"{_BELOW}{path}" if path.startswith(("/", _BELOW)) or _SCHEME.match(path) else path


def located(path: str, root: str) -> str:
    """The inverse of ``below``: the URL or absolute path."""
    if is_whole(path):
        return path
    return f"{root.rstrip('/')}/{path.removeprefix(_BELOW)}"
