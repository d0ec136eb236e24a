"""What one side has and the other lacks: images, answers and queries, by counts and names."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from clipseg_ray.comparison.numbers import Agreement
from clipseg_ray.comparison.pairing import Pair, Pairing
from clipseg_ray.errors import UserError

NAMED = 5

_IMAGES = (
    ("only A has", "a_status IS NOT NULL AND b_status IS NULL"),
    ("only B has", "a_status IS NULL AND b_status IS NOT NULL"),
    ("only A could read", "a_status = 'ok' AND b_status <> 'ok'"),
    ("only B could read", "a_status <> 'ok' AND b_status = 'ok'"),
    ("A has several times", "a_twice AND b_status IS NOT NULL"),
    ("B has several times", "b_twice AND a_status IS NOT NULL"),
)


def said(connection: duckdb.DuckDBPyConnection, paired: Pairing, agreements: Sequence[Agreement]) -> list[str]:
    """A line for each kind of thing that was not compared; none where both sides have the same images, queries and
    answers. Raises UserError where there is no image to compare."""
    counts = [f"count(*) FILTER ({condition}), min(image_id, {NAMED}) FILTER ({condition})" for _, condition in _IMAGES]
    compared, both, *found = connection.execute(
        "SELECT count(*) FILTER (compared), count(*) FILTER (a_status IS NOT NULL AND b_status IS NOT NULL), "
        f"{', '.join(counts)} FROM photos"
    ).fetchall()[0]
    lines = [
        f"{words} {_many(count, 'image')}: {_names(count, names)}"
        for (words, _), count, names in zip(_IMAGES, found[::2], found[1::2], strict=True)
        if count
    ]
    if not compared:
        what = "that both could read" if both else "in common"
        raise UserError(f"A and B have no image {what}, by its image_id; {'; '.join(lines) or 'neither has any'}")
    for side, queries in (("A", paired.only_a), ("B", paired.only_b)):
        if queries:
            names = [query.query_id for query in queries]
            many = _many(len(names), "query", "queries")
            lines.append(f"only {side} asks {many}: {_names(len(names), names)}")
    lines += paired.remarks
    for side in "ab":
        gaps = [
            (pair, count)
            for pair, agreement in zip(paired.pairs, agreements, strict=True)
            if (count := getattr(agreement, f"lacks_{side}"))
        ]
        if gaps:
            lines.append(f"{side.upper()} has no answer for {_answers(gaps)}")
    return lines


def _answers(gaps: Sequence[tuple[Pair, int]]) -> str:
    named = [f"{pair.name} ({_many(count, 'image')})" for pair, count in gaps]
    return _names(len(named), named)


def _names(count: int, names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED])
    return f"{shown} and {count - NAMED:,} more" if count > NAMED else shown


def _many(count: int, word: str, words: str | None = None) -> str:
    return f"{count:,} {word if count == 1 else words or f'{word}s'}"
