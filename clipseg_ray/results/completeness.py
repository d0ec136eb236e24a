"""The final check: what of the listed input has no part, and which image ids occur twice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import duckdb

from clipseg_ray.results import layout, reading
from clipseg_ray.storage import Store

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
    return ", ".join(folder.removeprefix("masks/prompt_set=") for folder in folders)


def named(missing: list[Missing]) -> str:
    """The first few, one a line, and how many more."""
    lines = [f"  {item}" for item in missing[:NAMED]]
    if len(missing) > NAMED:
        lines.append(f"  … and {len(missing) - NAMED} more")
    return "\n".join(lines)


def duplicate_ids(store: Store) -> list[str]:
    """Image ids that more than one image carries, at most ``NAMED`` (reads one column of ``images``)."""
    with reading.connect(store) as connection:
        try:
            rows = connection.sql(
                f"SELECT image_id FROM images GROUP BY image_id HAVING count(*) > 1 ORDER BY 1 LIMIT {NAMED}"
            ).fetchall()
        except duckdb.CatalogException:
            return []
    return [row[0] for row in rows]
