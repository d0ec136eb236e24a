"""From an input URL, folder, glob or brace pattern to the objects it names."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from braceexpand import braceexpand
from fsspec.utils import glob_translate

from clipseg_ray.addresses import absolute, is_http, protocol_of, without_query
from clipseg_ray.errors import UserError, nearest
from clipseg_ray.outside_text import native
from clipseg_ray.pixels.kinds import is_image
from clipseg_ray.sources import folder_tree
from clipseg_ray.sources.left_out import DATASET, LeftOut, is_hidden
from clipseg_ray.storage import Entry, Store, plain_errors

_HEAD_THREADS = 16


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one input URL stands for: ``objects`` as (full URL, entry); ``root`` is the folder above the pattern.

    ``named``: the URL names one object as it stands, rather than a folder or pattern.
    """

    url: str
    root: str
    objects: tuple[tuple[str, Entry], ...]
    named: bool = False
    left_out: LeftOut = field(default_factory=LeftOut)


def match(url: str, at_most: int | None = None) -> Found:
    """The objects of one input URL: an object, a folder (recursive), a glob, or braces.

    In folders and globs, names that start with ``.`` or ``_`` are left out, and outputs of clipseg-ray. Every name
    that braces spell out must exist. Braces and globs take one listing of their folder; over HTTP, which has no
    listing, each name that braces spell out is asked for. ``at_most``: of a folder no more than so many. Raises
    UserError where nothing matches.
    """
    url = absolute(url)
    with plain_errors(url):
        Store.of(url)
        first = _first_magic(url)
        if first is None or _is_there(url):
            return _object_or_folder(url, at_most)
        if is_http(url) and "{" in url:
            return _over_http(url)
        return _pattern(url, first)


def folder_of(url: str) -> str:
    """The folder above a pattern; any other URL as it stands."""
    first = None if _is_there(url) else _first_magic(url)
    return url if first is None else url[:first].rpartition("/")[0] or "/"


def _is_there(url: str) -> bool:
    """Whether a file or folder of this machine has this name, whatever is in it."""
    return protocol_of(url) == "file" and os.path.exists(native(url))  # noqa: PTH110 (Path.exists raises for long names)


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
                return Found(url=url, root=folder, objects=((url, Store(url).entry("")),), named=True)
            except (FileNotFoundError, IsADirectoryError):
                pass
    store, left_out = Store(url), LeftOut()
    objects = _listed(url, store, left_out, at_most=at_most)
    if not objects and not left_out:
        if protocol_of(url) == "file" and Path(native(url)).is_dir():
            raise UserError(f"{url}: the folder is empty; check input.url")
        if is_http(url):
            with contextlib.suppress(FileNotFoundError):
                store.entry("")  # an index that cannot be had is no empty one
        raise _nothing(url, url.rstrip("/"))
    return Found(url=url, root=store.url.rstrip("/") or "/", objects=objects, left_out=left_out)


def _pattern(url: str, first: int) -> Found:
    folder = folder_of(url)
    if folder.endswith((":/", ":")):
        raise UserError(f"{url}: the bucket must be spelt out; give one URL for each")
    store = Store(folder)
    expanded = _expand(url, url[len(store.url.rstrip("/")) + 1 :])
    globs = [_regex(url, pattern) for pattern in expanded if any(character in "*?[" for character in pattern)]
    names = {pattern for pattern in expanded if not any(character in "*?[" for character in pattern)}
    spelt, left_out = frozenset(names), LeftOut()

    def is_meant(path: str) -> bool:
        return path in spelt or any(glob.match(path) for glob in globs)

    objects = _listed(url, store, left_out, is_meant=is_meant, spelt=spelt)
    names -= {entry.path for _, entry in objects}
    if names and (objects or not globs):
        raise _absent(url, names, total=len(expanded), store=store)
    if not objects and not left_out:
        raise _nothing(url, url[:first].rstrip("/") if url[first - 1] != "/" else folder)
    return Found(url=url, root=store.url, objects=objects, left_out=left_out)


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
    return Found(url=url, root=root, objects=objects)


def _listed(
    url: str,
    store: Store,
    left_out: LeftOut,
    *,
    is_meant: Callable[[str], bool] = lambda path: True,
    spelt: frozenset[str] = frozenset(),
    at_most: int | None = None,
) -> tuple[tuple[str, Entry], ...]:
    """The objects below a folder that are meant, without hidden ones, except those ``spelt`` out, and without outputs.

    Raises UserError where the folder is an output itself.
    """

    def dangling(path: str) -> None:
        if is_meant(path):
            left_out.dangling.append(path)

    found: list[Entry] = []
    for entry in folder_tree.files(store, dangling) if store.protocol == "file" else store.list():
        if len(found) == at_most:
            break
        folder, _, name = entry.path.rpartition("/")
        if name == DATASET:
            left_out.datasets.add(folder)
        elif is_meant(entry.path):
            if entry.path in spelt or not _is_hidden(entry.path):
                found.append(entry)
            else:
                left_out.hidden.append(entry.path)
    if "" in left_out.datasets:
        raise UserError(
            f"{url}: {store.url} is an output of clipseg-ray, no input; check input.url, or move what is not the "
            "run's own out of it"
        )
    kept = [entry for entry in found if not left_out.datasets or not left_out.takes(entry.path)]
    if store.protocol in ("http", "https"):  # an index page gives neither size nor etag
        kept = [Entry(entry.path, *_size_and_etag(store, entry.path)) for entry in kept]
    return tuple((store.url_of(entry.path), entry) for entry in kept)


def _is_hidden(path: str) -> bool:
    """Dot names, folders in ``_``, and files in ``_`` that are no images: cameras write ``_MG_1234.JPG``."""
    *folders, name = path.split("/")
    if any(map(is_hidden, folders)) or name.startswith("."):
        return True
    return is_hidden(name) and not is_image(name)


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
