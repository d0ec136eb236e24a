"""The comparison as one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clipseg_ray.comparison import changes, joining, lacking, numbers, page, pairing
from clipseg_ray.comparison.compared import Comparison
from clipseg_ray.comparison.side import Side


def compare(
    a_url: str,
    b_url: str,
    *,
    given: Sequence[str] = (),
    to: str | None = None,
    allow_source: Sequence[str] = (),
) -> Comparison:
    """Hold the masks of A and B against each other, whatever their grids; with ``to`` write the page as well.

    a_url, b_url: datasets, or prompt sets by their folders. given: ``id in A=id in B`` of queries that
    neither id nor wording pairs. allow_source: prefixes below which A's images may lie, besides its own bucket or
    parent folder.
    Raises UserError where there is nothing to compare.
    """
    a, b = Side.of(a_url), Side.of(b_url)
    found = pairing.pairing(a, b, given)
    with joining.joined(a, b, found.pairs) as connection:
        agreements = numbers.agreements(connection, found.pairs)
        result = Comparison(
            a=a,
            b=b,
            pairs=found.pairs,
            agreements=tuple(agreements),
            changes=tuple(changes.said(a, b, found.pairs)),
            lacks=tuple(lacking.said(connection, found, agreements)),
            page=None,
        )
        if to is None:
            return result
        return replace(result, page=page.write(connection, result, to, allow_source))
