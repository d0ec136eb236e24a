"""One run, from a configuration to an outcome. Ray and the model are loaded only if there is something to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clipseg_ray.config import RunConfig
from clipseg_ray.pipeline.plan import Plan, look

COMPLETE, INCOMPLETE, INTERRUPTED = 0, 1, 130


@dataclass(frozen=True)
class Outcome:
    """How a run ended. ``code`` is the exit status: 0 complete, 1 something is missing, 130 interrupted."""

    code: int
    message: str
    run_id: str | None
    totals: dict[str, Any]


def run(config: RunConfig, *, invocation: str = "clipseg-ray run CONFIG") -> Outcome:
    """Do everything the dataset lacks, on the Ray cluster at ``RAY_ADDRESS`` or on this machine.

    ``invocation`` is how to start the same run again, for messages. Raises UserError for anything that stops the run
    before it begins.
    """
    plan = look(config)
    for warning in plan.warnings:
        print(f"warning: {warning}", flush=True)
    if plan.work.complete and plan.unchanged_model:
        return Outcome(COMPLETE, nothing_to_do(plan), None, {})
    from clipseg_ray.pipeline.execute import execute

    return execute(plan, invocation)


def nothing_to_do(plan: Plan) -> str:
    """The line that says so."""
    work = plan.work
    return (
        f"Nothing to do: all {work.chunks_done} chunk(s) of {work.shards} shard(s) ({work.images_known} images) "
        f"have masks for all {len(plan.queries)} queries in {plan.store.url}"
    )
