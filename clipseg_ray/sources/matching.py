"""From an input URL, folder, glob or brace pattern to the objects it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from braceexpand import braceexpand
from fsspec.utils import glob_translate

from clipseg_ray.addresses import absolute, is_http, protocol_of, without_query
from clipseg_ray.errors import UserError, nearest
from clipseg_ray.outside_text import native
from clipseg_ray.sources.images import Images
from clipseg_ray.storage import Entry, Store, plain_errors

_HEAD_THREADS = 16


@dataclass(frozen=True)
class Found:
    """What one input URL stands for: ``objects`` as (full URL, entry); ``root`` is the folder above the pattern.

    ``whole_folder``: the URL is a folder, so that objects of other kinds may lie beside the images.
    """

    url: str
    root: str
    objects: tuple[tuple[str, Entry], ...]
    named: bool = False
    """Whether the URL names one object as it stands, rather than a folder or pattern."""


def match(url: str, at_most: int | None = None) -> Found:
    """The objects of one input URL: an object, a folder (recursive), a glob, or braces.

    In folders and globs, names that start with ``.`` or ``_`` are passed over. Every name that braces spell out must
    exist. Braces and globs take one listing of their folder; over HTTP, which has no listing, each name that braces
    spell out is asked for. ``at_most``: of a folder no more than so many. Raises UserError where nothing matches.
    """
    url = absolute(url)
    with plain_errors(url):
        Store.of(url)
        first = _first_magic(url)
        if first is None or (protocol_of(url) == "file" and Path(native(url)).exists()):
            return _object_or_folder(url, at_most)
        if is_http(url) and "{" in url:
            return _over_http(url)
        return _pattern(url, first)


def _first_magic(url: str) -> int | None:
    """Where the first glob or brace character stands.

    Over HTTP a question mark begins the query string, in which braces alone are spelt out; a host may have brackets.
    """
    if not is_http(url):
        return next((index for index, character in enumerate(url) if character in "*?[{"), None)
    path = url.find("/", url.index("://") + 3) % (len(url) + 1)
    query = len(without_query(url))
    return next((at for at in range(path, len(url)) if url[at] in ("*[{" if at < query else "{")), None)


def _object_or_folder(url: str, at_most: int | None) -> Found:
    if not without_query(url).endswith("/"):
        folder = without_query(url).rpartition("/")[0]
        # A bare bucket or host is a folder.
        if folder and not folder.endswith(":/"):
            try:
                return Found(url, folder, ((url, Store(url).entry("")),), named=True)
            except (FileNotFoundError, IsADirectoryError):
                pass
    store = Store(url)
    objects = tuple(islice(_listed(store), at_most))
    if not objects:
        raise _nothing(url, url.rstrip("/"))
    return Found(url, store.url.rstrip("/") or "/", objects)


def _pattern(url: str, first: int) -> Found:
    folder = url[:first].rpartition("/")[0] or "/"
    if folder.endswith((":/", ":")):
        raise UserError(f"{url}: the bucket must be spelt out; give one URL for each")
    store = Store(folder)
    expanded = _expand(url, url[len(store.url.rstrip("/")) + 1 :])
    globs = [_regex(url, pattern) for pattern in expanded if any(character in "*?[" for character in pattern)]
    names = {pattern for pattern in expanded if not any(character in "*?[" for character in pattern)}
    objects = []
    for full, entry in _listed(store, hidden=names):
        if entry.path in names:
            names.discard(entry.path)
        elif not any(glob.match(entry.path) for glob in globs):
            continue
        objects.append((full, entry))
    if names and (objects or not globs):
        raise _absent(url, names, total=len(expanded), store=store)
    if not objects:
        raise _nothing(url, url[:first].rstrip("/") if url[first - 1] != "/" else folder)
    return Found(url, store.url, tuple(objects))


def _over_http(url: str) -> Found:
    urls = _expand(url, url)
    if any(_first_magic(name) is not None for name in urls):
        raise UserError(f"{url}: braces and wildcards cannot be mixed over HTTP; use one of them")

    def entry(name: str) -> Entry | None:
        try:
            return Store(name).entry("")
        except FileNotFoundError:
            return None

    with ThreadPoolExecutor(_HEAD_THREADS) as threads:
        entries = list(threads.map(entry, urls))
    objects = tuple((name, found) for name, found in zip(urls, entries, strict=True) if found is not None)
    root = without_query(url[: url.index("{")]).rpartition("/")[0]
    if len(objects) < len(urls):
        raise _absent(url, set(urls) - {name for name, _ in objects}, total=len(urls))
    return Found(url, root, objects)


def _listed(store: Store, hidden: set[str] | frozenset[str] = frozenset()) -> Iterator[tuple[str, Entry]]:
    """The objects below a folder without hidden ones, except those ``hidden`` names."""
    for entry in store.list(follow_links=True):
        if entry.path not in hidden and _is_hidden(entry.path):
            continue
        if store.protocol in ("http", "https"):  # an index page gives neither size nor etag
            entry = Entry(entry.path, *_size_and_etag(store, entry.path))
        yield store.url_of(entry.path), entry


def _is_hidden(path: str) -> bool:
    """Dot names, folders in ``_``, and files in ``_`` that are no images: cameras write ``_MG_1234.JPG``."""
    *folders, name = path.split("/")
    if any(part.startswith((".", "_")) for part in folders) or name.startswith("."):
        return True
    return name.startswith("_") and PurePosixPath(name).suffix.lower() not in Images.endings


def _size_and_etag(store: Store, path: str) -> tuple[int, str]:
    entry = store.entry(path)
    return entry.size, entry.etag


def _expand(url: str, pattern: str) -> list[str]:
    try:
        return list(dict.fromkeys(braceexpand(pattern, escape=False)))
    except ValueError as error:
        raise UserError(f"{url}: its braces do not pair up; write {{0000..0123}} or {{a,b}}") from error


def _regex(url: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(glob_translate(pattern))
    except ValueError as error:
        raise UserError(f"{url}: ** must stand alone between slashes, as in photos/**/*.jpg") from error


def _absent(url: str, names: set[str], *, total: int, store: Store | None = None) -> UserError:
    shown = ", ".join(sorted(names)[:3]) + (", …" if len(names) > 3 else "")
    hint = "" if store is None or len(names) < total else _nearest(store.url_of(min(names)))
    return UserError(f"{url}: {len(names)} of the {total} names it spells out are not there: {shown}{hint}")


def _nothing(url: str, stem: str) -> UserError:
    return UserError(f"{url}: nothing is there by that name{_nearest(stem)}; check input.url")


def _nearest(path: str) -> str:
    """The existing name closest to ``path`` in the deepest folder above it that has any."""
    while True:
        folder, _, name = path.rpartition("/")
        if not name or folder.endswith((":", ":/")):
            return ""
        try:
            store = Store(folder or "/")
            names = [str(each).rstrip("/").rpartition("/")[2] for each in store.fs.ls(store.root, detail=False)]
        except Exception:  # a hint only: what is wrong with the URL itself is being reported already
            names = []
        if names:
            close = nearest(name, names, cutoff=0.4)
            return f" (the nearest name is {store.url_of(close[0])})" if close else ""
        path = folder
