"""The list of queries: what was collected, every change checked as the table it will be, and undone."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from clipseg_ray.errors import UserError
from clipseg_ray.queries.expression import ids, parse
from clipseg_ray.queries.query import Query
from clipseg_ray.workbench.rows import Row, renamed

MOST = 500
"""Queries of a list."""

_STEPS = 200


@dataclass(frozen=True)
class Entry:
    """One query of the list. uid: what the page calls it, which no rename changes. row: it, as a table has it."""

    uid: str
    row: Row

    @property
    def query_id(self) -> str:
        """Its name in the table."""
        return str(self.row["query_id"])


Entries = tuple[Entry, ...]


@dataclass(frozen=True)
class History:
    """States of the list, oldest first; ``at`` is the one that holds, those behind it were undone."""

    states: tuple[Entries, ...] = ((),)
    at: int = 0


class Collection:
    """The queries of a workbench, in the order of their table.

    resolve: rows → queries, UserError where they are no table. row_of: a row with the page's changes.
    """

    def __init__(
        self,
        resolve: Callable[[Sequence[Row]], list[Query]],
        row_of: Callable[[Row, Mapping[str, Any]], Row],
        history: History = History(),
    ) -> None:
        self._resolve, self._row_of = resolve, row_of
        self.history = history

    @property
    def entries(self) -> Entries:
        """What is collected now."""
        return self.history.states[self.history.at]

    @property
    def rows(self) -> list[Row]:
        """The same as rows of a table."""
        return [entry.row for entry in self.entries]

    def of(self, uid: str) -> Entry:
        """The entry of a uid. Raises UserError where there is none."""
        found = next((entry for entry in self.entries if entry.uid == uid), None)
        if found is None:
            raise UserError("this query is not in the list any more; it may have been undone or deleted in another tab")
        return found

    def queries(self) -> list[Query]:
        """All of them, resolved, in order."""
        return self._resolve(self.rows) if self.entries else []

    def add(self, changes: Mapping[str, Any]) -> Entry:
        """Collect a query, under a name of its own. Raises UserError for what asks nothing."""
        row = self._row_of({}, changes)
        if len(self.entries) >= MOST:
            raise UserError(f"the list has {MOST} queries already; save it and begin another")
        if "query_id" not in row:
            (query,) = self._resolve([{key: value for key, value in row.items() if key not in ("group", "suppress")}])
            row = {"query_id": self._free(query.query_id), **row}
        entry = Entry(secrets.token_hex(6), row)
        self._take((*self.entries, entry))
        return entry

    def change(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Change queries, by uid, in one step; others go on naming those that are renamed.

        Whoever joins a group goes behind its last member. Raises UserError for what makes no table.
        """
        entries = {entry.uid: entry for entry in self.entries}
        for uid, wanted in changes.items():
            entry = self.of(uid)
            row = self._row_of(entries[uid].row, wanted)
            if "query_id" not in row:
                raise UserError("query_id: give the query a name")
            entries[uid] = replace(entry, row=row)
            if entries[uid].query_id != entry.query_id:
                after = entries[uid].query_id
                entries = {
                    key: replace(each, row=renamed(each.row, entry.query_id, after)) for key, each in entries.items()
                }
            if entries[uid].row.get("group") != entry.row.get("group"):
                entries = _beside_its_group(entries, uid)
        self._take(tuple(entries.values()))

    def move(self, uid: str, before: str | None) -> None:
        """Put a query before another, or last where ``before`` is None. Raises UserError where one is not there."""
        moved, others = self.of(uid), [each for each in self.entries if each.uid != uid]
        if before != uid:
            at = len(others) if before is None else others.index(self.of(before))
            self._take((*others[:at], moved, *others[at:]))

    def delete(self, uid: str) -> None:
        """Take a query from the list, and from those it suppressed. Raises UserError where an expression needs it."""
        gone = self.of(uid).query_id
        kept = []
        for each in self.entries:
            if each.uid == uid:
                continue
            if "expression" in each.row and gone in ids(parse(str(each.row["expression"]))):
                raise UserError(f"{each.query_id} is made of {gone} ({each.row['expression']}); delete that one first")
            if gone in (named := named_by(each.row)):
                left = [name for name in named if name != gone]
                row = {**each.row, "suppress": left}
                each = replace(each, row=row if left else {key: row[key] for key in row if key != "suppress"})
            kept.append(each)
        self._take(tuple(kept))

    def replace_all(self, rows: Sequence[Row]) -> None:
        """Put other rows, each with its ``query_id``, in place of all. Raises UserError."""
        self._take(tuple(Entry(secrets.token_hex(6), dict(row)) for row in rows))

    def undo(self) -> bool:
        """Go back one change; whether there was one."""
        return self._go(-1)

    def redo(self) -> bool:
        """Take back an undo; whether there was one."""
        return self._go(1)

    def _go(self, by: int) -> bool:
        at = self.history.at + by
        if not 0 <= at < len(self.history.states):
            return False
        self.history = replace(self.history, at=at)
        return True

    def _take(self, entries: Entries) -> None:
        if entries:
            self._resolve([entry.row for entry in entries])
        if entries != self.entries:
            states = (*self.history.states[: self.history.at + 1], entries)[-_STEPS:]
            self.history = History(states, len(states) - 1)

    def _free(self, name: str) -> str:
        taken = {entry.query_id for entry in self.entries}
        numbered = (f"{name}-{number}" for number in range(2, MOST + 2))
        return name if name not in taken else next(each for each in numbered if each not in taken)


def _beside_its_group(entries: Mapping[str, Entry], uid: str) -> dict[str, Entry]:
    """The entries in an order in which one stands behind the last other member of its group, where there is one."""
    group = entries[uid].row.get("group")
    others = [key for key in entries if key != uid]
    members = [key for key in others if group is not None and entries[key].row.get("group") == group]
    if not members:
        return dict(entries)
    at = others.index(members[-1]) + 1
    return {key: entries[key] for key in (*others[:at], uid, *others[at:])}


def named_by(row: Row) -> list[str]:
    """Whom a row is suppressed by."""
    named = row.get("suppress", [])
    return [str(each) for each in (named if isinstance(named, list) else [named])]
