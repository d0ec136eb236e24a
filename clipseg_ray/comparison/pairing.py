"""Which query of one side is which of the other."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from clipseg_ray.comparison.side import Side
from clipseg_ray.errors import UserError, meant
from clipseg_ray.report.asked import DescribedQuery


@dataclass(frozen=True)
class Pair:
    """A query of A and the query of B that is held against it."""

    a: DescribedQuery
    b: DescribedQuery

    @property
    def name(self) -> str:
        """The id, or both: ``chair → chair-photo``."""
        ids = dict.fromkeys((self.a.query_id, self.b.query_id))
        return " → ".join(ids)


@dataclass(frozen=True)
class Pairing:
    """``pairs`` in the order of A's queries; ``only_a`` and ``only_b`` have no other; ``remarks``: why, where it is no
    matter of ids."""

    pairs: tuple[Pair, ...]
    only_a: tuple[DescribedQuery, ...]
    only_b: tuple[DescribedQuery, ...]
    remarks: tuple[str, ...]


def pairing(a: Side, b: Side, given: Sequence[str] = ()) -> Pairing:
    """Pair the queries that a person names, then those of one id, then those of one wording that is no other's.

    given: ``id in A=id in B``. A wording is texts, pictures and expression; templates, mode and threshold may differ.
    Raises UserError for an id that is not there or named twice, and where no pair is found.
    """
    of_a, of_b = ({query.query_id: query for query in side.queries} for side in (a, b))
    named_pairs = [_named(text, of_a, of_b) for text in given]
    found = dict(named_pairs)
    for place, side, known in ((0, a, of_a), (1, b, of_b)):
        named = [pair[place] for pair in named_pairs]
        for name in named:
            if name not in known:
                raise UserError(f"--pair {name}: no such query in {side.url}; {meant(name, known)}")
            if named.count(name) > 1:
                raise UserError(f"--pair {name}: is named more than once; give each query one other")
    found |= {name: name for name in of_a if name in of_b and name not in found and name not in found.values()}
    left_a = [query for query in a.queries if query.query_id not in found]
    left_b = [query for query in b.queries if query.query_id not in found.values()]
    worded, remarks = _by_wording(left_a, left_b)
    found |= worded
    if not found:
        raise UserError(
            f"{a.url} and {b.url} have no query in common: {_first(a.queries)}; {_first(b.queries)}; "
            "say which is which: --pair ID-IN-A=ID-IN-B"
        )
    return Pairing(
        tuple(Pair(query, of_b[found[query.query_id]]) for query in a.queries if query.query_id in found),
        tuple(query for query in left_a if query.query_id not in found),
        tuple(query for query in left_b if query.query_id not in worded.values()),
        tuple(remarks),
    )


def _named(text: str, of_a: Container[str], of_b: Container[str]) -> tuple[str, str]:
    """Both ids of ``a=b``; ids may have an equals sign themselves, and where both are known is where it is divided."""
    parts = text.split("=")
    divided = [("=".join(parts[:place]), "=".join(parts[place:])) for place in range(1, len(parts))]
    if not divided:
        raise UserError(f"--pair {text}: give both ids, ID-IN-A=ID-IN-B")
    return next((pair for pair in divided if pair[0] in of_a and pair[1] in of_b), divided[0])


def _by_wording(a: Iterable[DescribedQuery], b: Iterable[DescribedQuery]) -> tuple[dict[str, str], list[str]]:
    """Ids in A and B of one wording, and what is said of wordings that several have."""
    by_wording: dict[tuple[object, ...], tuple[list[str], list[str]]] = {}
    for place, queries in enumerate((a, b)):
        for query in queries:
            by_wording.setdefault(_wording(query), ([], []))[place].append(query.query_id)
    both = [(wording, ids) for wording, ids in by_wording.items() if all(ids)]
    found = {in_a[0]: in_b[0] for _, (in_a, in_b) in both if len(in_a) == len(in_b) == 1}
    remarks = [
        f"one wording have {', '.join(in_a)} in A and {', '.join(in_b)} in B: say which is which with --pair"
        for _, (in_a, in_b) in both
        if len(in_a) > 1 or len(in_b) > 1
    ]
    return found, remarks


def _wording(query: DescribedQuery) -> tuple[object, ...]:
    if query.from_images:
        return (query.query_id,)
    pictures = tuple(support["url"] for support in query.supports)
    return tuple(query.texts), pictures, query.among.get("expression")


def _first(queries: Sequence[DescribedQuery], most: int = 5) -> str:
    more = f" and {len(queries) - most} more" if len(queries) > most else ""
    return ", ".join(query.query_id for query in queries[:most]) + more
