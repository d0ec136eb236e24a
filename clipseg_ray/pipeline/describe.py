"""A plan in words."""

from __future__ import annotations

from typing import Any

from clipseg_ray.pipeline.plan import Plan
from clipseg_ray.results.completeness import named
from clipseg_ray.sources import passed_over

SHOWN = 12


def queries_text(plan: Plan) -> str:
    """How much is asked: ``75 queries and the phrases of each image (from caption)``."""
    parts = [f"{len(plan.written)} queries"] if plan.queries else []
    if plan.phrases is not None:
        parts.append(f"phrases of each image (from {plan.phrases.field})")
    return " and ".join(parts)


def plan_json(plan: Plan) -> dict[str, Any]:
    """What ``plan_text`` says of input, output and work, as JSON values."""
    work, views = plan.work, plan.config.model.views_of_images
    unwritten = {query.query_id for query in plan.queries if not query.keep}
    return {
        "input": {"url": plan.config.input.url, "format": plan.listing.format, "bytes": work.bytes},
        "output": {"url": plan.store.url, "fingerprint": None if plan.present is None else plan.present.fingerprint},
        "shards": work.shards,
        "shards_new": plan.new_shards,
        "shards_todo": len(work.todo),
        "chunks": work.chunks_estimate,
        "chunks_done": work.chunks_done,
        "chunks_are_estimated": work.shards_unread > 0,
        "images_known": work.images_known,
        "views": None if views is None else views.recorded(),
        "queries": [query.query_id for query in plan.written],
        "queries_new": sorted(set(plan.assignment.new) - unwritten),
        "phrases": None if plan.phrases is None else plan.phrases.field,
        "passed_over": {**plan.listing.passed, **({passed_over.FURTHER: work.further} if work.further else {})},
        "warnings": list(plan.warnings),
    }


def plan_text(plan: Plan) -> str:
    """What the run would do: input, queries, what is done and what is left."""
    work, views = plan.work, plan.config.model.views_of_images
    about = "about " if work.shards_unread else ""
    lines = [
        f"input     {', '.join(plan.config.input.url)} ({plan.listing.format}, {work.bytes / 1e9:.3g} GB)",
        f"          {work.shards} shard(s), {plan.new_shards} of them new to this output; "
        f"{about}{work.chunks_estimate} chunk(s) of up to {plan.config.input.chunk_images} images",
        *(f"          {line}" for line in passed_over.lines(plan.listing.passed, work.further)),
        f"model     {plan.config.model.checkpoint}"
        + ("" if plan.present is None else f" (dataset weights {plan.present.model['weights_sha256'][:12]}…)"),
        *([] if views is None else [f"views     {views.words()}"]),
    ]
    new = set(plan.assignment.new)
    if plan.queries:
        fresh = sum(query.query_id in new for query in plan.written)
        unwritten = len(plan.queries) - len(plan.written)
        lines.append(
            f"queries   {len(plan.written)} from {plan.config.queries.table}"
            + (f" where {plan.config.queries.where}" if plan.config.queries.where else "")
            + f": {fresh} new, {len(plan.written) - fresh} present"
            + (f"; {unwritten} more only computed for them" if unwritten else "")
        )
    for query in plan.written[:SHOWN]:
        state = "new" if query.query_id in new else "present"
        lines.append(f"          {query.query_id}  [{query.kind}, {state}]  {query.words}")
    if len(plan.written) > SHOWN:
        lines.append(f"          … and {len(plan.written) - SHOWN} more")
    if plan.phrases is not None:
        state = "new" if plan.phrases.query_id in new else "present"
        templates = " | ".join(plan.phrases.templates)
        lines.append(f"phrases   of each image, from its field {plan.phrases.field!r} [{state}]  {templates}")
    counted = "" if work.complete else " counted so far"
    images = f", {work.images_known} images{counted}" if work.images_known else ""
    lines += [
        f"output    {plan.store.url}"
        + (" (new)" if plan.present is None else f" (fingerprint {plan.present.fingerprint})"),
        f"done      {work.chunks_done} chunk(s){images}",
        "to do     nothing"
        if work.complete
        else f"to do     {about}{work.chunks_left} chunk(s) in {len(work.todo)} shard(s)",
        *(f"warning   {warning}" for warning in plan.warnings),
    ]
    return "\n".join(lines)


def retry_text(plan: Plan) -> str:
    """What ``--retry-failed`` takes up again."""
    missing = list(plan.work.missing())
    lines = []
    if missing:
        lines.append(f"retry     {len(missing)} chunk(s) or shard(s) without their parts:\n{named(missing)}")
    if plan.redo:
        images = sum(item.images for item in plan.redo)
        lines.append(
            f"retry     {len(plan.redo)} chunk(s) with {images} image(s) that were not found or reached; their parts "
            f"in images and in {len(plan.all_sets)} prompt set(s) are removed and computed again:\n{named(plan.redo)}"
        )
    return "\n".join(lines) or "retry     nothing: no chunk is missing, and every image was had"
