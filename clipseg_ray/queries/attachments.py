"""The files that a query table names: pictures and masks."""

from __future__ import annotations

from dataclasses import dataclass

from clipseg_ray.queries.table import chosen_rows
from clipseg_ray.queries.table_file import read_rows


@dataclass(frozen=True)
class Attachment:
    """One file of one row: `row` counts from 1, `column` is image or mask, `path` is as the table has it."""

    row: int
    column: str
    path: str


def attachments(table: str, where: str | None) -> list[Attachment]:
    """The files named in the rows for which `where` holds or that those need, in order.

    Raises UserError as `load_queries` does.
    """
    found: list[Attachment] = []
    for draft in (each.draft for each in chosen_rows(read_rows(table), where, threshold=0.5, faults=[])):
        found += [Attachment(draft.row, "image", image) for image in draft.images]
        found += [Attachment(draft.row, "mask", mask) for mask in draft.masks if isinstance(mask, str)]
    return found
