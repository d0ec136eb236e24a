"""How the logits of an image's prompts become the maps of its queries: suppression, groups and expressions.

A *prompt* has a conditional and logits of its own; a *query* has rows in the masks table. Most queries are their prompt
alone. Queries that compete or combine are decided among the prompts of a ``Contest``, pixel by pixel, from raw logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Expression: TypeAlias = int | tuple[Literal["and", "or", "not"], tuple["Expression", ...]]
"""A place in ``Contest.prompts``, or an operator and its operands: minimum, maximum, negative (of one)."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """One query that is written.

    ``query``: its place among the written queries of the prompt set. ``logits``: what its map is made of; a place for
    all but expressions. ``rivals``: it takes a pixel only where its logit is above each of theirs. ``group``: the
    members of its group in the table's order, itself among them; it takes a pixel only where it is the first of the
    greatest. ``weights``: theirs; where all are 1 raw logits are compared, else log(weight) + log σ(logit) in float32.
    """

    query: int
    logits: Expression
    rivals: tuple[Expression, ...] = ()
    group: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Prompts that meet: ``prompts``, ascending places among those of the prompt set, and the queries decided there.

    Contests of a prompt set share no query; a prompt may stand in several.
    """

    prompts: tuple[int, ...]
    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class Competition:
    """How the written queries of a prompt set come of its prompts.

    ``alone``: by query the prompt that it is alone, -1 where one of the ``contests`` decides it.
    """

    contests: tuple[Contest, ...]
    alone: tuple[int, ...]


NOBODY = Competition((), ())
"""Without contests."""


def affirmed(expression: Expression, negated: bool = False) -> Expression | None:
    """The expression without what it denies, or None where it affirms nothing: of ``a AND NOT b`` it is ``a``."""
    if isinstance(expression, int):
        return None if negated else expression
    operator, operands = expression
    if operator == "not":
        return affirmed(operands[0], not negated)
    kept = tuple(part for each in operands if (part := affirmed(each, negated)) is not None)
    if len(kept) < 2:
        return kept[0] if kept else None
    if negated:  # NOT (a AND b) is NOT a OR NOT b
        operator = "or" if operator == "and" else "and"
    return operator, kept
