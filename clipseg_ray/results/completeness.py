"""The final check: what of the listed input has no part, and which image ids occur twice."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from clipseg_ray.errors import UserError
from clipseg_ray.results import layout, own_files, reading, record, shard_records
from clipseg_ray.storage import Store, plain_errors

NAMED = 10


@dataclass(frozen=True)
class Missing:
    """A chunk without its parts; ``chunk`` None stands for a shard that was never read to its end."""

    path: str
    shard_id: str
    chunk: int | None
    folders: tuple[str, ...]

    def __str__(self) -> str:
        if self.chunk is None:
            return f"{self.path}: not read to its end"
        name = layout.part_name(self.shard_id, self.chunk)
        return f"{self.path}: chunk {self.chunk} ({name}) lacks {_names(self.folders)}"


def _names(folders: Iterable[str]) -> str:
    return ", ".join(map(layout.set_of_folder, folders))


def named(missing: Sequence[object], most: int = NAMED) -> str:
    """The first few, one a line, and how many more."""
    lines = [f"  {item}" for item in missing[:most]]
    if len(missing) > most:
        lines.append(f"  … and {len(missing) - most} more")
    return "\n".join(lines)


def check_ids(store: Store) -> str | None:
    """The line that names image ids which more than one image carries; None when there are none.

    Ids begin with the shard's path, so they can only repeat inside a shard, and the records' names show it.
    With ``input.id_field`` one column of ``images`` is read, and the verdict kept in ``_ids.json`` for as long as no
    part is added.
    """
    with plain_errors(store.url):
        made = record.read(store)
        across = made is not None and made.input["id_field"] is not None
        repeated = _repeated_anywhere(store) if across else _repeated_in_a_shard(store)
    if not repeated:
        return None
    return (
        f"Every chunk is written, but these image ids occur more than once: {', '.join(repeated)}; joins on "
        "image_id are ambiguous for them. Choose an input.id_field that is unique, and another output.url"
    )


def _repeated_in_a_shard(store: Store) -> list[str]:
    affected = [(shard_id, known) for shard_id, known in shard_records.counts(store).items() if known.repeated]
    ids = (
        image_id
        for shard_id, known in affected[:NAMED]
        for image_id in shard_records.read(store, shard_id, known).repeated
    )
    return sorted(ids)[:NAMED]


def _repeated_anywhere(store: Store) -> list[str]:
    parts = sum(1 for _ in own_files.listed(store, layout.IMAGES))
    kept: dict[str, Any] = {}
    with contextlib.suppress(FileNotFoundError, UserError):  # what is no verdict is found anew
        kept = own_files.json_object(store.get(layout.IDS), layout.IDS, ("parts", "repeated"))
    if kept.get("parts") != parts:
        kept = {"parts": parts, "repeated": _in_images(store) if parts else []}
        store.put(layout.IDS, json.dumps(kept).encode())
    return list(kept["repeated"])


def _in_images(store: Store) -> list[str]:
    with reading.connect(store) as connection:
        rows = connection.sql(
            f"SELECT image_id FROM images GROUP BY image_id HAVING count(*) > 1 ORDER BY 1 LIMIT {NAMED}"
        ).fetchall()
    return [row[0] for row in rows]
