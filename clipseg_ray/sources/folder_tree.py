"""The files below a folder of this machine, behind links too: each folder once, whatever leads to it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

from clipseg_ray.outside_text import entered
from clipseg_ray.storage import Entry, Store, is_temporary, mtime_etag

_DANGLING = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR)


def files(store: Store, dangling: Callable[[str], None]) -> Iterator[Entry]:
    """Every file below a local store, in no promised order; ``dangling`` is told the path of each link to nothing.

    A folder that a link leads to and that also lies below the store counts where it lies; of several links to one
    folder the first by name counts. Folders whose names begin with ``.`` or ``_`` come last, so that what they share
    with others is found under the others' names. Raises OSError for a folder that cannot be read.
    """
    top = store.root.rstrip("/")
    walked: set[str] = set()
    folders = [("", os.path.realpath(top or "/"))]
    links: list[str] = []
    hidden: list[tuple[str, str]] = []
    while folders or links or hidden:
        if folders:
            path, real = folders.pop()
        elif links:
            links.sort(reverse=True)
            path = links.pop()
            real = os.path.realpath(f"{top}/{path}")
        else:
            path, real = hidden.pop()
        if real in walked:
            continue
        walked.add(real)
        for found in _scanned(f"{top}/{path}"):
            below = f"{path}/{found.name}" if path else found.name
            if found.is_dir(follow_symlinks=False):
                aside = hidden if found.name.startswith((".", "_")) else folders
                aside.append((below, f"{real.rstrip('/')}/{found.name}"))
                continue
            try:
                stat = found.stat()
                if found.is_symlink() and found.is_dir():
                    links.append(below)
                elif not is_temporary(found.name):
                    yield Entry(entered(below), stat.st_size, mtime_etag(stat))
            except OSError as error:
                if error.errno not in _DANGLING:
                    raise
                if found.is_symlink():  # a file that is gone since the folder was read is none
                    dangling(entered(below))


def _scanned(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        found = os.scandir(folder)
    except FileNotFoundError:
        return
    with found:
        yield from found
