"""One run, from a configuration to an outcome. Ray and the model are loaded only if there is something to do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from clipseg_ray.cluster.connection import connecting, expect_lost_nodes, guard_a_local_cluster
from clipseg_ray.cluster.interrupt import terminate_as_interrupt
from clipseg_ray.config import RunConfig
from clipseg_ray.errors import UserError
from clipseg_ray.pipeline import describe
from clipseg_ray.pipeline.outcome import COMPLETE, INTERRUPTED, Outcome, interrupted, nothing_to_do
from clipseg_ray.pipeline.plan import Plan, look
from clipseg_ray.report import card
from clipseg_ray.results import retrying


def run(
    config: RunConfig,
    *,
    retry_failed: bool = False,
    give_up: bool = False,
    invocation: str = "clipseg-ray run CONFIG",
) -> Outcome:
    """Do everything the dataset lacks, on the Ray cluster at ``RAY_ADDRESS`` or on this machine.

    ``retry_failed``: also compute again the chunks with images that were not found or reached, in every prompt set.
    ``give_up``: go on without images that cannot be had now. ``invocation`` is how to start the same run again, for
    messages. Raises UserError for anything that stops the run before it begins.
    """
    return carry_out(partial(look, config, retry_failed=retry_failed, give_up=give_up), invocation)


def carry_out(planned: Callable[[], Plan], invocation: str) -> Outcome:
    """Plan, and do what the plan lacks. See ``run``."""
    try:
        with terminate_as_interrupt():
            return _run(planned(), invocation)
    except KeyboardInterrupt:  # before the run has begun, or while it was ending
        return Outcome(INTERRUPTED, interrupted(invocation), None, {})


def _run(plan: Plan, invocation: str) -> Outcome:
    if plan.refusal is not None:
        raise UserError(f"output.url: {plan.refusal}")
    for warning in plan.warnings:
        print(f"warning: {warning}", flush=True)
    if plan.retry_failed:
        print(describe.retry_text(plan), flush=True)
    if plan.nothing_left and not plan.redo:
        return nothing_to_do(plan, plan.work)
    guard_a_local_cluster()
    expect_lost_nodes()
    print("starting Ray, loading the model", file=sys.stderr, flush=True)
    with connecting() as connect:
        from clipseg_ray.pipeline.execute import execute

        outcome = execute(plan, invocation, connect)
    if outcome.code != INTERRUPTED:
        if plan.redo and outcome.code == COMPLETE:
            outcome = replace(outcome, message=f"{outcome.message}\n{_found_again(plan)}")
        may_fetch = (plan.listing.root, *plan.config.input.allow)
        card.write_or_warn(
            plan.store, may_fetch
        )  # after the cluster is given back: nobody waits with a GPU for a README
    return outcome


def _found_again(plan: Plan) -> str:
    still = {(item.shard_id, item.chunk): item.images for item in retrying.find(plan.store, plan.shards)}
    before = sum(item.images for item in plan.redo)
    gone = sum(still.get((item.shard_id, item.chunk), 0) for item in plan.redo)
    return f"Of {before} image(s) that were not found before, {before - gone} are there now."
