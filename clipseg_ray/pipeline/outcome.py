"""How a run ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clipseg_ray.pipeline import describe
from clipseg_ray.pipeline.plan import Plan, Work
from clipseg_ray.report import closing
from clipseg_ray.results.soundness import statuses, unsound

COMPLETE, INCOMPLETE, INTERRUPTED = 0, 1, 130


@dataclass(frozen=True)
class Outcome:
    """How a run ended. ``code`` is the exit status: 0 complete, 1 something is missing, 130 interrupted."""

    code: int
    message: str
    run_id: str | None
    totals: dict[str, Any]


def interrupted(invocation: str) -> str:
    """What to say of a run that was interrupted; ``invocation``: how to start it again."""
    return f"Interrupted. Everything written so far counts; run it again to go on: {invocation}"


def nothing_to_do(plan: Plan, work: Work) -> Outcome:
    """The outcome of a run whose every part is there, as ``work`` found them: complete, if it is sound."""
    if fault := unsound(plan.store, plan.listed):
        return Outcome(INCOMPLETE, fault, None, {})
    part = plan.config.input.part
    message = (
        f"Nothing to do{'' if part is None else f' in input.part {part}'}: all {work.chunks_done} chunk(s) of "
        f"{work.shards} shard(s) ({work.images_known} images) "
        f"have masks for all {describe.queries_text(plan)} in {plan.store.url}"
    )
    said = closing.remarks(plan.listing.passed, work.further, statuses(plan.store), plan.store.url)
    return Outcome(COMPLETE, "\n".join([message, *said]), None, {})
