"""Which files of a dataset's folders are ours, by name alone, and what those in JSON hold.

Sync tools, file browsers and cut writes leave files of their own beside them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from clipseg_ray.errors import UserError, brief
from clipseg_ray.results import layout
from clipseg_ray.storage import Entry, Store


def listed(store: Store, folder: str) -> Iterator[Entry]:
    """The files of ``folder`` under names that a run writes, in no promised order, page by page where storage pages.

    What has no bytes is no part: a crash can leave it.
    """
    skipped = len(folder) + 1
    is_of_parts = folder.partition("/")[0] in (layout.IMAGES, layout.MASKS)
    # No folder of parts or shard records holds a name of ours that does not begin with a hexadecimal digit.
    for entry in (store.list_hashed if is_of_parts or folder == layout.SHARDS else store.list)(folder):
        if layout.is_ours(folder, entry.path[skipped:]) and (entry.size or not is_of_parts):
            yield entry


def compacted(store: Store, folder: str) -> Iterator[Entry]:
    """The files of many parts that a compacted dataset has in a folder of parts, in no promised order."""
    for entry in store.list(folder):
        if entry.size and layout.parse_compact_file(entry.path[len(folder) + 1 :]):
            yield entry


def names(store: Store, folder: str) -> list[str]:
    """The same files' paths, sorted."""
    return sorted(entry.path for entry in listed(store, folder))


def numbered(store: Store, folder: str) -> list[str]:
    """The paths of files that are numbered from 0 on, in order. Raises UserError where one of them is gone."""
    for _ in range(2):  # a listing may miss what is put while it is made, and have what came after
        found = {int(path[len(folder) + 1 :].partition(".")[0]): path for path in names(store, folder)}
        if len(found) == max(found, default=-1) + 1:
            return [found[number] for number in range(len(found))]
    gone = min(set(range(max(found))) - found.keys())
    raise UserError(
        f"{store.url_of(folder)}: file {gone:06d} is gone, though there are later ones; put it back as it was, or "
        "choose another output.url"
    )


def json_object(
    body: bytes, name: str, keys: Sequence[str] = (), remedy: str = "put back the file it was"
) -> dict[str, Any]:
    """What the file called ``name`` holds: a JSON object with at least these keys.

    Raises UserError that names it, and ``remedy``, what to do.
    """
    try:
        values = json.loads(body)
    except ValueError as error:
        what = f"is no JSON ({brief(error, 200)})" if body.strip() else "is empty"
        raise UserError(f"{name}: {what}; {remedy}") from error
    if not isinstance(values, dict):
        raise UserError(f"{name}: holds no JSON object; {remedy}")
    if absent := [key for key in keys if key not in values]:
        raise UserError(f"{name}: lacks {', '.join(absent)}; {remedy}")
    return values
