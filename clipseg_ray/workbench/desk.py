"""Where a workbench stands: what it was opened on, the table its list comes from, and where the list is saved."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clipseg_ray.addresses import protocol_of
from clipseg_ray.errors import UserError
from clipseg_ray.redaction import redacted
from clipseg_ray.workbench import keeping, tables
from clipseg_ray.workbench.bench import Bench
from clipseg_ray.workbench.rows import without_lone_groups

_DRAFT = "run.yaml"
"""The configuration that is proposed where the workbench was opened on images."""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """place: what the workbench was opened on, a configuration where ``config``; overrides: as ``-s`` gave them. table:
    whole address of the table that its list is begun with, or None. folder: where lists are saved. model, caution: what
    is said of the checkpoint."""

    bench: Bench
    place: str
    config: bool
    overrides: tuple[str, ...]
    table: str | None
    folder: str
    model: str
    caution: str | None

    def begin(self) -> None:
        """Open the table, unless a list is kept already. Raises UserError for a table that is none."""
        if self.table is not None and not self.bench.table and not self.bench.collection.entries:
            self.reopen()

    def described(self) -> dict[str, Any]:
        """What the page says of it all."""
        changed = self.table is not None and self.bench.table not in ("", keeping.table_hash(self.table))
        return {
            "place": redacted(self.place),
            "model": self.model,
            "caution": self.caution,
            "table": None if self.table is None else redacted(self.table),
            "tableChanged": changed,
            "folder": redacted(self.folder),
            "over": self._over,
        }

    @property
    def _over(self) -> str | None:
        """The name under which the opened table itself can be saved; None where it cannot."""
        if self.table is None or not self.table.lower().endswith(tables.ENDINGS) or protocol_of(self.table) != "file":
            return None
        return self.table.rpartition("/")[2]

    def add(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """Collect a query; its uid."""
        with self.bench.edit():
            entry = self.bench.collection.add(query)
            self.bench.keep()
            return {"uid": entry.uid}

    def change(self, changes: Mapping[str, Any]) -> None:
        """Change queries of the list, by uid."""
        if not all(isinstance(each, dict) for each in changes.values()):
            raise UserError("what was sent is no change of queries")
        with self.bench.edit():
            self.bench.collection.change(changes)
            self.bench.keep()

    def delete(self, uid: str) -> None:
        """Delete a query of the list."""
        with self.bench.edit():
            self.bench.collection.delete(uid)
            self.bench.keep()

    def move(self, wish: Mapping[str, Any]) -> None:
        """Put the query ``uid`` of the list before the one ``before``, or last."""
        uid, before = wish.get("uid"), wish.get("before")
        if not isinstance(uid, str) or not isinstance(before, str | None):
            raise UserError("what was sent is no place in the list")
        with self.bench.edit():
            self.bench.collection.move(uid, before)
            self.bench.keep()

    def undo(self) -> None:
        """Undo the last change."""
        with self.bench.edit():
            self.bench.collection.undo()
            self.bench.keep()

    def redo(self) -> None:
        """Do it again."""
        with self.bench.edit():
            self.bench.collection.redo()
            self.bench.keep()

    def reopen(self) -> None:
        """Put the table as it is now in place of the list, which can be undone."""
        if self.table is None:
            raise UserError("no table was opened here")
        rows = tables.opened(self.table, self.bench.threshold)
        self.bench.begin(keeping.table_hash(self.table), rows)

    def save(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        """Save the list as ``name``, or with ``over`` as the table that was opened; where it is, and what is next."""
        with self.bench.edit():
            if wish.get("over") is True:
                if self.table is None or self._over is None:
                    raise UserError("the table that was opened cannot be written over; give a name")
                place = self.table
            else:
                place = f"{self.folder.rstrip('/')}/{tables.checked_name(wish.get('name'))}"
            tables.save(
                without_lone_groups(self.bench.collection.rows),
                place,
                self.bench.pictures,
                over=wish.get("over") is True,
            )
            if place == self.table:
                self.bench.table = keeping.table_hash(place)
                self.bench.keep()
        return {"saved": redacted(place), "next": [redacted(shlex.join(each)) for each in self._next(place)]}

    def _next(self, table: str) -> list[list[str]]:
        """The commands, for the folder where lists are saved, of a run of this table that finds what the page shows."""
        table = table.removeprefix(f"{self.folder.rstrip('/')}/")
        own = [each for each in self.overrides if not each.startswith("queries.table=")]
        settings = [part for each in (*own, f"queries.table={table}") for part in ("-s", each)]
        if self.config:
            return [["clipseg-ray", "run", self.place, *settings]]
        return [["clipseg-ray", "init", self.place, "-o", _DRAFT], ["clipseg-ray", "run", _DRAFT, *settings]]
