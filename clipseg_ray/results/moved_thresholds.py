"""A query asked at another threshold than its masks were made with: refused with the command that makes them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from clipseg_ray.errors import UserError
from clipseg_ray.results import sets
from clipseg_ray.results.record import DatasetRecord
from clipseg_ray.results.sets import Assignment, QueryLike, SetRecord
from clipseg_ray.storage import Store

_COMPETING = {"suppress", "group"}


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
    if any(_COMPETING & definitions[query_id].keys() for query_id in thresholds):
        return anew  # whose pixels they are only the model knows
    lowered = any(value < definitions[query_id]["threshold"] for query_id, value in thresholds.items())
    if lowered and not present.masks["keep_empty"]:
        return anew
    return "To move them without the model: " + " && ".join(_commands(store.url, to, set(definitions), thresholds))


def _commands(output: str, to: str, every: set[str], thresholds: Mapping[str, float]) -> list[str]:
    """One call of ``rethreshold`` for each threshold, each from where the one before it wrote to."""
    commands = []
    values = sorted(set(thresholds.values()))
    for value in values:
        named = sorted(query_id for query_id, wanted in thresholds.items() if wanted == value)
        only = [] if set(named) == every else [part for query_id in named for part in ("--query", query_id)]
        place = to if value == values[-1] else f"{to}-step-{len(commands) + 1}"
        commands.append(shlex.join(["clipseg-ray", "rethreshold", output, place, "--threshold", f"{value:g}", *only]))
        output = place
    return commands
