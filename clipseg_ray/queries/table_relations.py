"""Rows of a table that name each other: what is wrong with it, and which rows a selection brings along."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from clipseg_ray.errors import nearest
from clipseg_ray.queries.expression import Term
from clipseg_ray.queries.table_checks import Draft, Fault

MOST_OPERANDS = 256
"""Prompts that an expression may be made of, those of expressions that it names counted where they are named."""

DEEPEST = 100
"""Operations and names inside each other, those of expressions that one names counted."""


@dataclass(frozen=True)
class Chosen:
    """A row that is asked for or brought along. ``only``: the ids of its queries that are; None for all."""

    draft: Draft
    only: frozenset[str] | None = None


class Relations:
    """Who names whom in a table. ``ids``: the queries of each row, by its number; none where it is not known yet."""

    def __init__(self, drafts: Sequence[Draft], ids: Mapping[int, tuple[str, ...]]) -> None:
        self._drafts = drafts
        self._ids = ids
        self._row_of = {query_id: draft for draft in drafts for query_id in ids[draft.row]}
        self._groups: dict[str, list[Draft]] = defaultdict(list)
        for draft in drafts:
            if draft.group is not None:
                self._groups[draft.group].append(draft)

    def faults(self) -> list[Fault]:
        """All that is wrong between rows, each fault by the row where it can be put right."""
        return [
            *self._unknown(),
            *self._circles(),
            *self._too_large(),
            *self._lone_members(),
            *self._for_nothing(),
        ]

    def chosen(self, selected: Collection[int]) -> tuple[list[Chosen], list[Fault]]:
        """The rows to ask when a condition holds for those at the indices ``selected``, in order, and what it breaks.

        Rows that these name are brought along, not written; rows that are not written and that none of these needs
        are left out.
        """
        rows = {self._drafts[index].row for index in selected}
        waiting = [draft for draft in self._drafts if draft.row in rows and self._is_of_use(draft, rows)]
        wanted = {draft.row: Chosen(draft) for draft in waiting}
        while waiting:
            draft = waiting.pop()
            for name in draft.named:
                if (other := self._row_of.get(name)) is None:
                    continue
                if (known := wanted.get(other.row)) is None:
                    known = Chosen(other if other.row in rows else _as_prompt(other), frozenset())
                    waiting.append(known.draft)
                wanted[other.row] = known if known.only is None else replace(known, only=known.only | {name})
        return [wanted[row] for row in sorted(wanted)], list(self._cut_groups(rows))

    def _is_of_use(self, draft: Draft, rows: Collection[int]) -> bool:
        """Whether something is written of it, or of its group, by itself."""
        if draft.keep or draft.group is None:
            return draft.keep
        return any(member.keep for member in self._groups[draft.group] if member.row in rows)

    def _cut_groups(self, rows: Collection[int]) -> Iterator[Fault]:
        for group, members in self._groups.items():
            inside, outside = (
                [member for member in members if (member.row in rows) is wanted] for wanted in (True, False)
            )
            if inside and outside:
                yield Fault(
                    0,
                    "queries.where",
                    f"cuts through the group {group!r}: it holds for {len(inside)} of {len(members)} members, not for "
                    f"row {outside[0].row}; choose all of them or none",
                )

    def _unknown(self) -> Iterator[Fault]:
        for draft in self._drafts:
            for name in draft.named:
                column = "suppress" if name in draft.suppress else "expression"
                if name not in self._row_of:
                    yield Fault(draft.row, column, self._not_there(name))
                elif column == "suppress" and name in self._ids[draft.row]:
                    yield Fault(draft.row, column, f"{name!r} is the query itself, which is never above itself")

    def _not_there(self, name: str) -> str:
        for draft in self._drafts:
            if draft.sweep and draft.query_id == name and self._ids[draft.row]:
                return f"{name!r} is a sweep of alpha; name one of its queries: {', '.join(self._ids[draft.row])}"
        near = nearest(name, self._row_of)
        hint = f"did you mean {near[0]!r}?" if near else "name the query_id of a row"
        return f"no query {name!r} in the table; {hint}"

    def _circles(self) -> Iterator[Fault]:
        known: set[int] = set()
        for start in self._drafts:
            path: dict[int, Draft] = {}
            walk = [(start, iter(self._operands(start)))] if start.row not in known else []
            while walk:
                draft, operands = walk[-1]
                path[draft.row] = draft
                known.add(draft.row)
                following = next(operands, None)
                if following is None:
                    walk.pop()
                    del path[draft.row]
                elif following.row in path:
                    circle = list(path.values())[list(path).index(following.row) :]
                    shown = " → ".join(self._ids[each.row][0] for each in [*circle, following])
                    yield Fault(following.row, "expression", f"is made of itself: {shown}; take one of them out")
                elif following.row not in known:
                    walk.append((following, iter(self._operands(following))))

    def _operands(self, draft: Draft) -> list[Draft]:
        """The expressions that one names."""
        if draft.expression is None:
            return []
        found = [self._row_of[name] for name in draft.named if name in self._row_of]
        return [other for other in found if other.expression is not None]

    def _too_large(self) -> Iterator[Fault]:
        measured: dict[int, tuple[int, int]] = {}
        for draft in self._inner_first():
            # One that names what is too large has no fault of its own.
            if draft.expression is None or any(other.row not in measured for other in self._operands(draft)):
                continue
            operands, depth = self._measure(draft.expression, measured)
            if operands > MOST_OPERANDS:
                yield Fault(draft.row, "expression", f"is made of {operands} prompts; at most {MOST_OPERANDS} can be")
            elif depth > DEEPEST:
                yield Fault(draft.row, "expression", f"goes {depth} deep with those it names; {DEEPEST} is the most")
            else:
                measured[draft.row] = operands, depth

    def _inner_first(self) -> Iterator[Draft]:
        """Rows after those whose expressions they name, as far as there is no circle."""
        waiting = {draft.row: {other.row for other in self._operands(draft)} for draft in self._drafts}
        namers: dict[int, list[int]] = defaultdict(list)
        for row, operands in waiting.items():
            for operand in operands:
                namers[operand].append(row)
        by_row = {draft.row: draft for draft in self._drafts}
        ready = [row for row, operands in waiting.items() if not operands]
        while ready:
            row = ready.pop()
            yield by_row[row]
            for namer in namers[row]:
                waiting[namer].discard(row)
                if not waiting[namer]:
                    ready.append(namer)

    def _measure(self, term: Term, measured: Mapping[int, tuple[int, int]]) -> tuple[int, int]:
        """Operands of a term and how deep it goes, with the expressions that it names."""
        if isinstance(term, str):
            draft = self._row_of.get(term)
            operands, depth = (1, -1) if draft is None else measured.get(draft.row, (1, -1))
            return operands, depth + 1
        inside = [self._measure(operand, measured) for operand in term.operands]
        return sum(operands for operands, _ in inside), 1 + max(depth for _, depth in inside)

    def _lone_members(self) -> Iterator[Fault]:
        for group, members in self._groups.items():
            if sum(max(1, len(self._ids[member.row])) for member in members) == 1:
                near = nearest(group, self._groups.keys() - {group})
                hint = f"did you mean {near[0]!r}?" if near else "a query competes with others; add them"
                yield Fault(members[0].row, "group", f"{group!r} has this member alone; {hint}")

    def _for_nothing(self) -> Iterator[Fault]:
        named = {name for draft in self._drafts for name in draft.named}
        rows = {draft.row for draft in self._drafts}
        for draft in self._drafts:
            ids = self._ids[draft.row]
            if not self._is_of_use(draft, rows) and ids and named.isdisjoint(ids):
                yield Fault(draft.row, "keep", "is false, and no query names this one: nothing would come of it")


def _as_prompt(draft: Draft) -> Draft:
    """A row as those need it that name it: what it is made of, not written, whatever else decides its own masks."""
    return replace(draft, keep=False, suppress=(), group=None, weight=1.0)
