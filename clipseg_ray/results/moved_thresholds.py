"""A query asked at another threshold than its masks were made with: refused with the command that makes them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from clipseg_ray.errors import UserError
from clipseg_ray.results import sets
from clipseg_ray.results.record import DatasetRecord
from clipseg_ray.results.sets import Assignment, QueryLike, SetRecord
from clipseg_ray.storage import Store

COMPETING = {"suppress", "group"}
"""What the definition of a query that competes for pixels has: whose they are only the model knows."""


def assign(
    store: Store, present: DatasetRecord | None, known: Sequence[SetRecord], queries: Sequence[QueryLike]
) -> Assignment:
    """``sets.assign``; where nothing but thresholds differ, what it raises ends with what to do about those.

    ``present``: the record of the dataset at ``store``, whose claims ``known`` are.
    """
    try:
        return sets.assign(known, queries)
    except sets.Redefined as refused:
        if present is None or not refused.thresholds:
            raise
        raise UserError(f"{refused.differences}\n  {_way(store, present, known, refused.thresholds)}") from refused


def _way(store: Store, present: DatasetRecord, known: Sequence[SetRecord], thresholds: Mapping[str, float]) -> str:
    to = f"{store.url}-at-{'-'.join(f'{value:g}' for value in sorted(set(thresholds.values()))[:3])}"
    definitions = {query_id: made for each in known for query_id, made in each.definitions.items()}
    anew = f"To compute them anew, beside these: -s {shlex.quote(f'output.url={to}')}"
    if not present.masks.get("heat"):
        return f"{anew} (with masks.heat: 88 kept too, thresholds can be moved without the model from then on)"
    if any(COMPETING & definitions[query_id].keys() for query_id in thresholds):
        return anew
    every = {query_id for each in known for query_id in each.written}
    lowered = any(value < definitions[query_id]["threshold"] for query_id, value in thresholds.items())
    if lowered and not present.masks["keep_empty"]:
        return anew
    return f"To move them without the model: {_command(store.url, to, every, thresholds)}"


def _command(output: str, to: str, every: set[str], thresholds: Mapping[str, float]) -> str:
    """What moves them, as it can be pasted into a shell; the verb takes one threshold, Python one for each query."""
    if len(set(thresholds.values())) > 1:
        call = f"clipseg_ray.rethreshold({output!r}, {to!r}, {dict(thresholds)!r})"
        return shlex.join(["python", "-c", f"import clipseg_ray; print({call})"])
    only = [] if thresholds.keys() == every else [part for query_id in thresholds for part in ("--query", query_id)]
    threshold = repr(next(iter(thresholds.values())))
    return shlex.join(["clipseg-ray", "rethreshold", output, to, "--threshold", threshold, *only])
