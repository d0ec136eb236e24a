"""``tune --verdicts``: for each query the score from which on an image is taken, by what people said of some.

It is a column of its own, ``image_threshold``: which images are taken, while ``threshold`` says which pixels of them.
"""

from __future__ import annotations

import numpy as np

from clipseg_ray.errors import UserError, nearest
from clipseg_ray.evaluation.tuning.tuned_table import Tuned, with_values
from clipseg_ray.queries.query import Query
from clipseg_ray.queries.table import numbered_queries
from clipseg_ray.queries.table_file import read_rows
from clipseg_ray.verdicts.estimates import Proposal, Share, estimate
from clipseg_ray.verdicts.verdict_file import JudgedQuery, read

COLUMN = "image_threshold"
_TITLES = (
    "query",
    "verdicts",
    "there",
    COLUMN,
    "95 of 100 resamples",
    "right of found",
    "95 %",
    "found of right",
    "95 %",
)
_DIGITS = 4


def tune_by_verdicts(table: str, verdicts: str, *, precision: float | None, threshold: float) -> Tuned:
    """The table with ``image_threshold`` for each query on which there are verdicts.

    precision: the share of found images that shall be right; None balances it with the share of right images that are
    found. threshold: of pixels, for queries without their own. Raises UserError for anything that stops it.
    """
    if precision is not None and not 0 < precision < 1:
        raise UserError(f"--precision {precision:g}: give a share between 0 and 1, both excluded")
    rows = read_rows(table)
    numbered = numbered_queries(rows, None, threshold)
    asked = {query.query_id: query for _, query in numbered}
    judged = {query.query_id: query for query in read(verdicts).queries}
    if not asked.keys() & judged.keys():
        first = next(iter(judged), "")
        near = nearest(first, asked)
        hint = f"did you mean its {near[0]}? Give the query in the table that id" if near else "give the table's own"
        raise UserError(f"{verdicts}: its verdicts are on no query of {table}, but on {first!r}; {hint}")
    shown, values, reasons = [], {}, list[str]()
    for query_id in [name for name in asked if name in judged]:
        found = _proposal(asked[query_id], judged[query_id], precision)
        if isinstance(found, str):
            reasons.append(f"{query_id}: no {COLUMN}: {found}")
            continue
        values[query_id] = round(found.threshold, _DIGITS)
        shown.append(_line(query_id, judged[query_id], found))
    wish = "found and right are balanced" if precision is None else f"of found images {precision:.0%} are right"
    remarks = [
        f"This is about images found, those with a score above {COLUMN}, where {wish}; which pixels of them are right "
        "the column threshold decides, for which verdicts say nothing (tune --truth does)",
        "to take these images of a run: SELECT image_id FROM masks WHERE query_id = '…' AND score > …, the number here",
        *reasons,
        *_others(asked, judged),
    ]
    return Tuned(with_values(rows, numbered, COLUMN, values), _TITLES, shown, remarks)


def _proposal(query: Query, judged: JudgedQuery, precision: float | None) -> Proposal | str:
    """The threshold, or why there is none."""
    if judged.question != query.question_digest():
        return f"the verdicts are on another question of this id ({judged.words}); give verdicts on this one"
    estimates = estimate(np.array(judged.scores), judged.verdicts)
    if estimates is None:
        return "it takes verdicts that it is there and verdicts that it is not"
    if precision is None:
        return estimates.balanced()
    proposal = estimates.with_precision(precision)
    return proposal or f"at no threshold are {precision:.0%} right; {estimates.right_t.max():.0%} is the most"


def _line(query_id: str, judged: JudgedQuery, found: Proposal) -> tuple[str, ...]:
    return (
        query_id,
        f"{len(judged.verdicts)} of {len(judged.images)}",
        str(sum(judged.verdicts.values())),
        f"{found.threshold:.{_DIGITS}f}",
        f"{found.low:.{_DIGITS}f}–{found.high:.{_DIGITS}f}",
        *_cells(found.right),
        *_cells(found.found),
    )


def _cells(share: Share) -> tuple[str, str]:
    return f"{share.value:.2f}", f"{share.low:.2f}–{share.high:.2f}"


def _others(asked: dict[str, Query], judged: dict[str, JudgedQuery]) -> list[str]:
    without = [name for name, query in asked.items() if query.keep and name not in judged]
    unknown = [name for name in judged if name not in asked]
    return [
        f"{what}: {', '.join(names)}"
        for what, names in (("without verdicts, as they were", without), ("not in the table", unknown))
        if names
    ]
