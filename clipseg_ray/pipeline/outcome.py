"""How a run ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clipseg_ray.pipeline import describe
from clipseg_ray.pipeline.plan import Plan

COMPLETE, INCOMPLETE, INTERRUPTED = 0, 1, 130


@dataclass(frozen=True)
class Outcome:
    """How a run ended. ``code`` is the exit status: 0 complete, 1 something is missing, 130 interrupted."""

    code: int
    message: str
    run_id: str | None
    totals: dict[str, Any]


def nothing_to_do(plan: Plan) -> str:
    """The line that says so."""
    work = plan.work
    return (
        f"Nothing to do: all {work.chunks_done} chunk(s) of {work.shards} shard(s) ({work.images_known} images) "
        f"have masks for all {describe.queries_text(plan)} in {plan.store.url}"
    )
