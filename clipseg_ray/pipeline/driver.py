"""One run, from a configuration to an outcome. Ray and the model are loaded only if there is something to do."""

from __future__ import annotations

from clipseg_ray.config import RunConfig
from clipseg_ray.pipeline.cluster import forget_dead_drivers, guard_a_local_cluster
from clipseg_ray.pipeline.outcome import INTERRUPTED, Outcome, nothing_to_do
from clipseg_ray.pipeline.plan import look
from clipseg_ray.report import card
from clipseg_ray.storage import Store


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
    forget_dead_drivers()
    from clipseg_ray.pipeline.execute import execute

    outcome = execute(plan, invocation)
    if outcome.code != INTERRUPTED:
        _write_card(plan.store)  # after the cluster is given back: nobody waits with a GPU for a README
    return outcome


def _write_card(store: Store) -> None:
    try:
        card.write(store)
    except Exception as error:  # the masks are what was asked for, and they are there
        print(
            f"warning: the dataset card was not written ({error}); clipseg-ray card {store.url} tries again", flush=True
        )
