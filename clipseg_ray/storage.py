"""One door to every path: a URL of any kind (local, ``s3://``, ``gs://``, ``http(s)://``, ``memory://``) as a store.

Credentials, region and endpoint come from the environment and the standard AWS files (``AWS_ACCESS_KEY_ID``,
``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``, ``AWS_PROFILE``, ``AWS_REGION``, ``AWS_ENDPOINT_URL``, instance
profiles), never from a configuration or a pickle: a store travels as its URL and builds its client where it is used.
Where no credentials can be found, S3 requests are made anonymously.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import inspect
import os
import posixpath
import queue
import shutil
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from stat import S_ISREG
from typing import IO, Any, cast

import fsspec
from fsspec.asyn import sync

from clipseg_ray import http_client, s3_keys, s3_pages, storage_faults
from clipseg_ray.addresses import absolute, is_http, protocol_of
from clipseg_ray.errors import TooLarge, UserError, brief
from clipseg_ray.outside_text import entered, native
from clipseg_ray.storage_faults import ACCOUNT

READ_AHEAD_BYTES = 16 * 2**20
"""Bytes asked for by one ranged GET when an object is read front to back."""


PAGE_KEYS = 1000
"""Keys asked for by one listing request: what S3 gives at most."""

_THREADS = 16

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_HERE, _RENAME_NOREPLACE = -100, 1
"""AT_FDCWD, and the flag of renameat2(2), on Linux."""


class StaleObject(OSError):
    """An object is no longer the one that was listed: its etag changed."""


@dataclass(frozen=True, order=True)
class Entry:
    """One object of a listing.

    ``path`` is relative to the store, with codes for what no text can hold (``outside_text``); ``size`` in bytes;
    ``etag`` is the server's for object stores and ``<size>-<mtime in ns>`` for local files: it changes when the bytes
    do.
    """

    path: str
    size: int
    etag: str


class Store:
    """A folder on any file system; every path below it is given relative to it, with ``/`` between names.

    Names come out of it and go into it as ``outside_text`` has them; only here are they what a file system calls them.
    ``Store(url)`` with the path "" is the object at ``url``, whatever is in its name.
    """

    def __init__(self, url: str) -> None:
        url = absolute(url)
        self.protocol = protocol_of(url)
        # A scheme keeps its slashes: without them it would be a path.
        self.url = url if is_http(url) or url.endswith("://") else url.rstrip("/") or "/"
        self._fs: Any = None

    @classmethod
    def of(cls, url: str) -> Store:
        """The store at ``url``. Raises UserError for what is no URL, and where no file system serves the scheme."""
        store = cls(url)
        if store.protocol in ("http", "https"):
            try:
                http_client.as_given(url)
            except ValueError as error:
                raise UserError(f"{url}: no valid URL ({brief(error)}); check its host and port") from error
        elif store.protocol not in ("file", "s3", "memory"):
            try:
                made = fsspec.get_filesystem_class(store.protocol)
            except (ValueError, ImportError) as error:
                raise UserError(f"{url}: no file system for '{store.protocol}://' here: {error}") from error
            if needed := _needed(made):
                raise UserError(
                    f"{url}: '{store.protocol}://' cannot be read here: its file system asks for {', '.join(needed)}, "
                    "which no URL of ours gives; copy what is there to a disk or bucket"
                )
        elif "\0" in native(url):
            raise UserError(f"{url}: no name has a null byte")
        elif store.protocol == "s3" and not store.url.partition("://")[2].partition("/")[0]:
            raise UserError(f"{url}: it names no bucket; write it as s3://bucket/path")
        return store

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "protocol": self.protocol, "_fs": None}

    @property
    def fs(self) -> Any:
        """The fsspec file system, made in this process on first use."""
        if self._fs is None:
            self._fs = _filesystem(self.protocol, http_client.hosts_of([self.url]))
        return self._fs

    @property
    def root(self) -> str:
        """The store's place as its file system names it (bucket/prefix for S3)."""
        return cast(str, self.fs._strip_protocol(native(self.url)))

    def full(self, path: str) -> str:
        """``path`` as the file system names it."""
        return f"{self.root.rstrip('/')}/{native(path)}" if path else self.root

    def url_of(self, path: str) -> str:
        """The URL under which anyone finds ``path``."""
        return f"{self.url.rstrip('/')}/{path}" if path else self.url

    def child(self, path: str) -> Store:
        """The store one or more folders down."""
        return Store(self.url_of(path))

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every object under the folder ``prefix``, in no promised order, page by page where the server pages.

        Temporary names of unfinished local writes are left out. A folder that does not exist is empty, and so is one
        that is a link or lies behind one.
        """
        if self.protocol == "s3":
            yield from self._list_s3(prefix)
        elif self.protocol == "file":
            skipped = len(self.root.rstrip("/")) + 1
            if not self._is_within(prefix):
                return
            for folder, _, names in os.walk(self.full(prefix), onerror=_refuse_unreadable):
                below = folder[skipped:] + "/" if len(folder) > skipped else ""
                for name in names:
                    if is_temporary(name):
                        continue
                    with contextlib.suppress(FileNotFoundError):
                        stat = os.stat(f"{folder}/{name}")  # noqa: PTH116 (a million Paths cost more than their files)
                        yield Entry(entered(below + name), stat.st_size, mtime_etag(stat))
        else:
            root = self.root.rstrip("/") + "/"
            for name, info in self.fs.find(self.full(prefix), detail=True).items():
                yield Entry(entered(name.removeprefix(root)), info["size"] or 0, _etag(info))

    def list_hashed(self, prefix: str) -> Iterator[Entry]:
        """Every object under the folder ``prefix`` whose name begins with a hexadecimal digit, as ``list`` gives it.

        On S3 a listing is one page after the other, however many there are; one that is longer than a page goes on
        for each first digit at once, a page of each in memory. Names that begin otherwise may be left out.
        """
        if self.protocol != "s3":
            yield from self.list(prefix)
            return
        start = f"{self._s3_start()}{prefix}/"
        first = self.fs.call_s3("list_objects_v2", Bucket=self._bucket(), Prefix=start, MaxKeys=PAGE_KEYS)
        yield from self._entries(first)
        if first.get("IsTruncated"):
            # A page may be empty and not the last: what was deleted still takes its place on some servers.
            after = first["Contents"][-1]["Key"] if first.get("Contents") else ""
            digits = [digit for digit in "0123456789abcdef" if start + digit >= after[: len(start) + 1]]
            yield from _at_once([self._pages(start + digit, after) for digit in digits])

    def _is_within(self, folder: str) -> bool:
        """Whether a folder is below the store's own place, and no link on the way to it."""
        root, folder = Path(os.path.realpath(self.root)), native(folder)
        return ".." not in Path(folder).parts and Path(os.path.realpath(root / folder)) == root / folder

    def folders(self, prefix: str) -> Sequence[str]:
        """The names of the folders right below the folder ``prefix``, sorted; one request where the server lists."""
        if self.protocol == "s3":
            request: dict[str, Any] = {"Bucket": self._bucket(), "Prefix": f"{self._s3_start()}{prefix}/"}
            pages = self._listing({**request, "Delimiter": "/", "MaxKeys": PAGE_KEYS})
            found = [item["Prefix"] for page in pages for item in page.get("CommonPrefixes", ())]
        else:
            try:
                found = [
                    info["name"] for info in self.fs.ls(self.full(prefix), detail=True) if info["type"] == "directory"
                ]
            except FileNotFoundError:
                return []
        return sorted(entered(name.rstrip("/").rpartition("/")[2]) for name in found)

    def _list_s3(self, prefix: str) -> Iterator[Entry]:
        for page in self._pages(self._s3_start() + (f"{prefix}/" if prefix else "")):
            yield from page

    def _pages(self, key_prefix: str, after: str = "") -> Iterator[Sequence[Entry]]:
        request: dict[str, Any] = {"Bucket": self._bucket(), "Prefix": key_prefix, "MaxKeys": PAGE_KEYS}
        for page in self._listing({**request, "StartAfter": after} if after else request):
            yield self._entries(page)

    def _listing(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        while True:
            page = self.fs.call_s3("list_objects_v2", **request)
            yield page
            if not page.get("IsTruncated"):
                return
            if "NextContinuationToken" not in page:
                raise OSError(f"the listing of {self.url_of('')} breaks off: a page without the token for the next")
            request = {**request, "ContinuationToken": page["NextContinuationToken"]}

    def _bucket(self) -> str:
        return self.root.partition("/")[0]

    def _s3_start(self) -> str:
        folder = self.root.partition("/")[2]
        return f"{folder}/" if folder else ""

    def _entries(self, page: dict[str, Any]) -> Sequence[Entry]:
        start = self._s3_start()
        return [
            Entry(entered(item["Key"].removeprefix(start)), item["Size"], item["ETag"].strip('"'))
            for item in page.get("Contents", ())
            if not item["Key"].endswith("/")
        ]

    def entry(self, path: str) -> Entry:
        """Size and etag of one object. Raises FileNotFoundError."""
        info = self.fs.info(self.full(path))
        if info["type"] == "directory":
            raise FileNotFoundError(self.url_of(path))
        if self.protocol == "file":
            return Entry(path, info["size"], mtime_etag(Path(self.full(path)).stat()))
        return Entry(path, info["size"] or 0, _etag(info))

    def exists(self, path: str) -> bool:
        """Whether an object is at ``path``."""
        try:
            self.entry(path)
        except FileNotFoundError:
            return False
        return True

    def get(self, path: str) -> bytes:
        """The whole object. Raises FileNotFoundError."""
        if self.protocol == "file":
            return _read_file(self.full(path))
        return cast(bytes, self.fs.cat_file(self.full(path)))

    def open(self, path: str, etag: str | None = None) -> IO[bytes]:
        """A seekable binary reader that asks for ``READ_AHEAD_BYTES`` at a time.

        With ``etag``: raises StaleObject when the object is not the one listed under that etag; on S3 every later
        read is conditional on it too, so that a change under a reader's feet cannot go unseen.
        """
        if etag is not None and self.protocol != "s3":
            self.confirm(path, etag)
        if self.protocol == "file":
            return _open_file(self.full(path))
        file = self.fs.open(self.full(path), "rb", block_size=READ_AHEAD_BYTES, cache_type="readahead")
        if etag is not None and self.protocol == "s3":
            # Of the object that the reader is bound to: what is at the path may be another by now.
            self._refuse_other(path, etag, _etag(file.details))
        return cast(IO[bytes], file)

    def confirm(self, path: str, etag: str) -> None:
        """Raise StaleObject where the object is not the one listed under ``etag`` any more, FileNotFoundError where
        none is."""
        self._refuse_other(path, etag, self.entry(path).etag)

    def _refuse_other(self, path: str, etag: str, found: str) -> None:
        if found != etag:
            raise StaleObject(f"{self.url_of(path)} changed since it was listed (etag {etag}, now {found})")

    def put(self, path: str, data: bytes) -> None:
        """Write the whole object at once: readers see all of it or nothing."""
        if self.protocol == "file":
            target = Path(self.full(path))
            with _temporary(target, data) as temporary:
                temporary.replace(target)
        else:
            self.fs.pipe_file(self.full(path), data)

    def put_file(self, path: str, file: Path) -> None:
        """The same from a local file, of any size."""
        if self.protocol == "file":
            target = Path(self.full(path))
            with _temporary(target) as temporary:
                shutil.copyfile(file, temporary)
                _to_disk(temporary)
                temporary.replace(target)
        else:
            self.fs.put_file(str(file), self.full(path))

    def create(self, path: str, data: bytes) -> None:
        """Write the object only if none is there, decided by the storage itself. Raises FileExistsError."""
        if self.protocol == "file":
            target = Path(self.full(path))
            with _temporary(target, data) as temporary:
                _take_name(temporary, target)
            return
        try:
            self.fs.pipe_file(self.full(path), data, mode="create")
        except OSError as error:
            if isinstance(error, FileExistsError) or _is_precondition(error):
                raise FileExistsError(self.url_of(path)) from error
            raise

    def refusal(self) -> str | None:
        """Why nothing can be written below here, a line for a person; None where it can be, or nobody knows.

        Nothing is written to find out. A local folder and those in it, or what it would be made in, are looked at; on
        S3 an upload is begun and given up, which takes the right to put and leaves nothing.
        """
        if self.protocol == "file":
            return _local_refusal(Path(self.root))
        if self.protocol != "s3":
            return None
        place = {"Bucket": self._bucket(), "Key": f"{self._s3_start()}.writable"}
        try:
            upload = self.fs.call_s3("create_multipart_upload", **place)["UploadId"]
        except Exception as error:
            if isinstance(error, PermissionError | FileNotFoundError) or storage_faults.s3_code(error) in ACCOUNT:
                return str(explain(error, self.url))
            return None  # a server that knows no such uploads
        with contextlib.suppress(Exception):  # who may put and not take back has an upload without a byte there
            self.fs.call_s3("abort_multipart_upload", **place, UploadId=upload)
        return None

    def delete(self, path: str) -> None:
        """Remove one object; nothing happens where none is. Raises UserError for what lies behind a link."""
        if self.protocol == "file" and not self._is_within(posixpath.dirname(path)):
            raise UserError(f"{self.url_of(path)}: it lies behind a link, outside {self.url}; nothing is removed there")
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(self.full(path))


def get_many(
    urls: Sequence[str], *, at_most: int | None = None, hosts: tuple[str, ...] | None = None
) -> list[bytes | Exception]:
    """Whole objects by URL, fetched concurrently; an exception stands where one failed: see ``get_ranges``."""
    return get_ranges([(url, None, None) for url in urls], at_most=at_most, hosts=hosts)


def get_all(urls: Sequence[str]) -> list[bytes]:
    """Whole objects by URL, fetched concurrently; raises what the first that failed raised."""
    bodies = []
    for body in get_many(urls):
        if isinstance(body, Exception):
            raise body
        bodies.append(body)
    return bodies


def get_listed(
    listed: Sequence[tuple[str, str]], *, at_most: int | None = None, hosts: tuple[str, ...] | None = None
) -> list[bytes | Exception]:
    """Whole objects as they were listed, by (URL, etag), fetched concurrently; an exception stands where one failed.

    StaleObject stands for one that is another than was listed, or became another while it was read. Where the etag is
    empty, nobody has listed the object, and whatever is there is taken. ``at_most``, ``hosts``: see ``get_ranges``.
    """
    on_s3 = [each for each in listed if each[1] and protocol_of(each[0]) == "s3"]
    found = dict(zip(on_s3, _get_if_match(on_s3, at_most), strict=True))
    rest = [each for each in dict.fromkeys(listed) if each not in found]
    bodies = get_many([url for url, _ in rest], at_most=at_most, hosts=hosts)

    def confirmed(each: tuple[str, str], body: bytes | Exception) -> bytes | Exception:
        url, etag = each
        if etag and not isinstance(body, Exception):
            try:
                # What is still as it was listed has been so all the while.
                Store(url).confirm("", etag)
            except Exception as error:
                return error
        return body

    with ThreadPoolExecutor(_THREADS) as threads:
        found |= dict(zip(rest, threads.map(confirmed, rest, bodies), strict=True))
    return [found[each] for each in listed]


def _get_if_match(listed: Sequence[tuple[str, str]], at_most: int | None) -> list[bytes | Exception]:
    """``get_listed`` on S3: one request each, which the server refuses where the object is another."""
    if not listed:
        return []
    fs = _filesystem("s3")

    async def get(url: str, etag: str) -> bytes | Exception:
        try:
            bucket, key, _ = fs.split_path(native(url))
            answer = await fs._call_s3("get_object", Bucket=bucket, Key=key, IfMatch=f'"{etag}"')
            if at_most is not None and answer["ContentLength"] > at_most:
                answer["Body"].close()
                return TooLarge(f"{url}: more than {at_most} bytes")
            async with answer["Body"] as body:
                return cast(bytes, await body.read())
        except Exception as error:
            if isinstance(error, OSError) and _is_precondition(error):
                return StaleObject(f"{url} changed since it was listed (etag {etag})")
            return error

    async def get_all_of_them() -> list[bytes | Exception]:
        return await asyncio.gather(*(get(*each) for each in listed))

    return cast(list[bytes | Exception], sync(fs.loop, get_all_of_them))


def get_ranges(
    ranges: Sequence[tuple[str, int | None, int | None]],
    *,
    at_most: int | None = None,
    hosts: tuple[str, ...] | None = None,
) -> list[bytes | Exception]:
    """Stretches of objects as (URL, first byte, byte past the last), None for the object's own start or end.

    Fetched concurrently, equal ones once; an exception stands where one failed. What lies past an object's end is
    left out, so compare lengths. ``at_most``: the bytes of one after which TooLarge stands for it. ``hosts``: the HTTP
    hosts (``host:port``) that may have private addresses; those of the URLs, if the user and not the data names them.
    """
    distinct = list(dict.fromkeys(ranges))
    found: dict[tuple[str, int | None, int | None], bytes | Exception] = {}
    reachable = http_client.hosts_of([url for url, _, _ in distinct]) if hosts is None else hosts

    def fetch(wanted: tuple[str, int | None, int | None]) -> bytes | Exception:
        url, start, stop = wanted
        try:
            store = Store.of(url)
            if store.protocol == "file":
                return _read_file(store.root, start, stop, at_most)
            limit = {"at_most": at_most} if store.protocol in ("http", "https") else {}
            start, stop = _bounds(store.protocol, start, stop, at_most)
            fs = _filesystem(store.protocol, reachable)
            return cast(bytes, fs.cat_file(store.root, start=start, end=stop, **limit))
        except Exception as error:
            return error

    by_protocol: dict[str, list[tuple[str, int | None, int | None]]] = {}
    for wanted in distinct:
        by_protocol.setdefault(protocol_of(wanted[0]), []).append(wanted)
    for protocol, group in by_protocol.items():
        fs = _filesystem(protocol, reachable) if protocol in ("s3", "http", "https") else None
        if fs is not None and len(group) > 1:
            # The file system's own batched reads share one event loop: a fraction of the CPU of threads. `cat` is
            # not used: it takes "[1]" in a name for a pattern.
            names = [Store(url).root for url, _, _ in group]
            bounds = [_bounds(protocol, start, stop, at_most) for _, start, stop in group]
            limit = {"at_most": at_most} if protocol != "s3" else {}
            contents = fs.cat_ranges(
                names, [start for start, _ in bounds], [stop for _, stop in bounds], on_error="return", **limit
            )
        else:
            with ThreadPoolExecutor(_THREADS) as pool:
                contents = list(pool.map(fetch, group))
        for wanted, content in zip(group, contents, strict=True):
            found[wanted] = _whole(wanted[0], content, at_most)
    return [found[wanted] for wanted in ranges]


def _bounds(protocol: str, start: int | None, stop: int | None, at_most: int | None) -> tuple[int | None, int | None]:
    """The stretch to ask for: of a whole object on S3 one byte more than may come, so that no more is sent."""
    if protocol == "s3" and start is None and stop is None and at_most is not None:
        return 0, at_most + 1
    return start, stop


def _whole(url: str, content: bytes | Exception, at_most: int | None) -> bytes | Exception:
    if isinstance(content, Exception):
        # S3 has no first byte of an object without any.
        return b"" if at_most is not None and storage_faults.s3_code(content) in ("InvalidRange", "416") else content
    return TooLarge(f"{url}: more than {at_most} bytes") if at_most is not None and len(content) > at_most else content


@contextlib.contextmanager
def plain_errors(url: str) -> Iterator[None]:
    """Turn what a file system raises into one line that names ``url``, what is wrong and what to do."""
    try:
        yield
    except (UserError, FileExistsError, StaleObject):
        raise
    except Exception as error:
        explained = explain(error, url)
        if explained is None:
            raise
        raise explained from error


def explain(error: BaseException, url: str) -> UserError | None:
    """The line a person should read for a storage error, or None when it is none."""
    if isinstance(error, StaleObject):
        return UserError(f"{brief(error)}; put the former bytes back, or set another output.url")
    local = protocol_of(url) == "file"
    line = storage_faults.explained(error, url, local=local, anonymous=not local and _anonymous(url))
    return None if line is None else UserError(line)


def _needed(file_system: Any) -> list[str]:
    """The settings without which a file system cannot be made."""
    taken = list(inspect.signature(file_system.__init__).parameters.values())[1:]
    return [each.name for each in taken if each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD]


def _filesystem(protocol: str, hosts: tuple[str, ...] = ()) -> Any:
    if protocol in ("http", "https"):
        return http_client.file_system(hosts)
    if protocol != "s3":
        return fsspec.filesystem(protocol)
    from aiobotocore.session import AioSession

    # Old S3-compatible servers refuse the checksum trailers that newer clients send by default.
    os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    os.environ.setdefault("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")
    fs = fsspec.filesystem(
        "s3",
        anon=not _has_aws_credentials(),
        use_listings_cache=False,
        config_kwargs={"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 2}},
    )
    # A new one has made no client yet. Where s3fs keeps its session under another name, botocore parses its listings.
    if getattr(fs, "session", fs) is None:
        fs.session = AioSession(**fs.kwargs)
        s3_pages.listen(fs.session)
    s3_keys.take_literally(fs)
    return fs


def _has_aws_credentials() -> bool:
    import botocore.session

    try:
        return botocore.session.get_session().get_credentials() is not None
    except Exception:
        return True  # a broken profile must be reported by the client, not hidden by an anonymous request


def _anonymous(url: str) -> bool:
    return protocol_of(url) == "s3" and not _has_aws_credentials()


def _local_refusal(folder: Path) -> str | None:
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists() or path.is_symlink())
    except OSError as error:  # a name that is too long
        return str(explain(error, str(folder)))
    if not there.is_dir():
        kind = "a file" if there.exists() else "a link that leads nowhere"
        return f"{folder}: {there} is {kind}; choose another folder"
    disk = os.statvfs(there)
    full = errno.ENOSPC if disk.f_blocks and not disk.f_bavail else 0
    if code := errno.EROFS if disk.f_flag & os.ST_RDONLY else full:
        return str(explain(OSError(code, os.strerror(code)), str(folder)))
    for path in (there, *(path for path in folder.glob("*") if path.is_dir())):
        if not os.access(path, os.W_OK | os.X_OK):
            return f"{folder}: {path} cannot be written to; check its permissions, or choose another folder"
    return None


def _etag(info: dict[str, Any]) -> str:
    for key in ("ETag", "etag", "md5Hash", "generation", "mtime", "created", "LastModified"):
        if value := info.get(key):
            # The same moment comes as a datetime from one call and as seconds from another.
            return str(value.timestamp() if isinstance(value, datetime) else value).strip('"')
    return str(info.get("size"))


def _refuse_unreadable(error: OSError) -> None:
    """A folder that cannot be read is an error, not a gap."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _at_once(listings: Sequence[Iterator[Sequence[Entry]]]) -> Iterator[Entry]:
    """The entries of several listings, each walked by a thread of its own, a page ahead."""
    pages: queue.Queue[Sequence[Entry] | BaseException | None] = queue.Queue(len(listings))
    stopped = threading.Event()

    def walk(listing: Iterator[Sequence[Entry]]) -> None:
        try:
            for page in listing:
                if stopped.is_set():
                    return
                pages.put(page)
            pages.put(None)
        except BaseException as error:
            pages.put(error)

    threads = [threading.Thread(target=walk, args=(listing,), daemon=True) for listing in listings]
    for thread in threads:
        thread.start()
    left = len(threads)
    try:
        while left:
            page = pages.get()
            if isinstance(page, BaseException):
                raise page
            if page is None:
                left -= 1
            else:
                yield from page
    finally:
        stopped.set()
        while any(thread.is_alive() for thread in threads):
            with contextlib.suppress(queue.Empty):
                pages.get(timeout=0.05)


def _open_file(path: str, buffering: int = 2**20) -> IO[bytes]:
    """A regular file of this machine: a pipe or device would be waited for without end. Raises IsADirectoryError."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise IsADirectoryError(f"{path}: no regular file")
    return cast(IO[bytes], os.fdopen(handle, "rb", buffering=buffering))


def _read_file(path: str, start: int | None = None, stop: int | None = None, at_most: int | None = None) -> bytes:
    with _open_file(path, -1) as file:
        file.seek(start or 0)
        if stop is not None:
            return file.read(max(0, stop - (start or 0)))
        return file.read() if at_most is None else file.read(at_most + 1)


def mtime_etag(stat: os.stat_result) -> str:
    """The etag of a local file."""
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def is_temporary(name: str) -> bool:
    """Whether a local file's name is that of an unfinished write."""
    return name.startswith(".") and name.endswith(".tmp")


@contextlib.contextmanager
def _temporary(target: Path, data: bytes = b"") -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(data)
        _to_disk(temporary)
        yield temporary
        with contextlib.suppress(OSError):  # some network file systems have no such thing for folders
            _to_disk(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _take_name(temporary: Path, target: Path) -> None:
    """Give the file its name if nothing has it, decided by the file system. Raises FileExistsError."""
    try:
        os.link(temporary, target)
        return
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        fault = error
    # exFAT and SMB know no links, but can rename to a name that is free; FUSE mounts of buckets know neither.
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    names = (_HERE, os.fsencode(temporary), _HERE, os.fsencode(target), _RENAME_NOREPLACE)
    if rename is not None and rename(*names) == 0:
        return
    if rename is not None and (code := ctypes.get_errno()) not in (errno.EINVAL, *_NO_LINKS):
        raise OSError(code, os.strerror(code), str(target))
    raise UserError(
        f"{target}: this file system cannot create a file only where none is (no hard links, {brief(fault)}), by which "
        "runs that share an output are told apart; write to the bucket itself (gs://…, s3://…) or to another disk"
    ) from fault


def _to_disk(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, would outlive a power cut: before a name, what it stands for."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_precondition(error: OSError) -> bool:
    code = storage_faults.s3_code(error)
    return (
        code in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
        or "pre-condition" in str(error).lower()
    )
