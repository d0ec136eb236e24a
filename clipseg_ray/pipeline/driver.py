"""One run, from a configuration to an outcome. Ray and the model are loaded only if there is something to do."""

from __future__ import annotations

from clipseg_ray.config import RunConfig
from clipseg_ray.pipeline.cluster import guard_a_local_cluster
from clipseg_ray.pipeline.outcome import Outcome, nothing_to_do
from clipseg_ray.pipeline.plan import look


def run(config: RunConfig, *, invocation: str = "clipseg-ray run CONFIG") -> Outcome:
    """Do everything the dataset lacks, on the Ray cluster at ``RAY_ADDRESS`` or on this machine.

    ``invocation`` is how to start the same run again, for messages. Raises UserError for anything that stops the run
    before it begins.
    """
    plan = look(config)
    for warning in plan.warnings:
        print(f"warning: {warning}", flush=True)
    if plan.work.complete and plan.unchanged_model:
        return nothing_to_do(plan)
    guard_a_local_cluster()
    from clipseg_ray.pipeline.execute import execute

    return execute(plan, invocation)
