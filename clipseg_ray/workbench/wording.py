"""What the page is told of images, queries and the list, as JSON values."""

from __future__ import annotations

from typing import Any

from clipseg_ray.queries.query import Query
from clipseg_ray.redaction import redacted
from clipseg_ray.workbench.bench import Bench
from clipseg_ray.workbench.collection import Entry, named_by
from clipseg_ray.workbench.pictures import PREFIX
from clipseg_ray.workbench.sample import SampleImage


def image(found: SampleImage) -> dict[str, Any]:
    """One image of the sample."""
    return {
        "index": found.index,
        "id": redacted(found.image_id),
        "width": found.width,
        "height": found.height,
        "status": found.status,
        "error": None if found.error is None else redacted(found.error),
    }


def entry(found: Entry, query: Query) -> dict[str, Any]:
    """One query of the list. ``picture`` where it is one that was dropped, ``pictures`` counts all."""
    row = found.row
    return {
        "uid": found.uid,
        "query_id": query.query_id,
        "kind": query.kind,
        "text": list(query.texts),
        "words": query.words or f"{len(query.supports)} picture{'s' * (len(query.supports) > 1)}",
        "threshold": query.threshold,
        "group": row.get("group"),
        "weight": row.get("weight", 1),
        "suppress": named_by(row),
        "expression": row.get("expression"),
        "alpha": query.alpha,
        "mode": row.get("mode"),
        "pictures": len(query.supports),
        "picture": _picture(row, query),
    }


def the_list(bench: Bench) -> dict[str, Any]:
    """All of the list, and whether there is something to undo."""
    with bench.edit():
        history = bench.collection.history
        return {
            "queries": [entry(each, query) for each, query in bench.entries()],
            "undo": history.at > 0,
            "redo": history.at + 1 < len(history.states),
        }


def _picture(row: dict[str, Any], query: Query) -> dict[str, Any] | None:
    cell = row.get("image")
    if not isinstance(cell, str) or not cell.startswith(PREFIX):
        return None
    (support,) = query.supports
    mask = row.get("mask")
    return {
        "id": cell.removeprefix(PREFIX),
        "width": support.width,
        "height": support.height,
        "tool": "box" if isinstance(mask, list) else "whole" if mask is None else "brush",
        "box": mask if isinstance(mask, list) else None,
        "counts": support.counts,
    }
