"""The files that a query table names: pictures and masks."""

from __future__ import annotations

from dataclasses import dataclass

from clipseg_ray.queries.selection import select
from clipseg_ray.queries.table_checks import check_row
from clipseg_ray.queries.table_file import read_rows


@dataclass(frozen=True)
class Attachment:
    """One file of one row: `row` counts from 1, `column` is image or mask, `path` is as the table has it."""

    row: int
    column: str
    path: str


def attachments(table: str, where: str | None) -> list[Attachment]:
    """The files named in the rows for which `where` holds, in order. Raises UserError as `load_queries` does."""
    rows = read_rows(table)
    found: list[Attachment] = []
    for index in select(rows, where):
        draft, _ = check_row(index + 1, rows.rows[index], threshold=0.5)
        found += [Attachment(index + 1, "image", image) for image in draft.images]
        found += [Attachment(index + 1, "mask", mask) for mask in draft.masks if isinstance(mask, str)]
    return found
