"""Verbs that segment: run, plan."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from clipseg_ray import config as configuration
from clipseg_ray.cli.app import ConfigPath, Overrides, app


@app.command(epilog="Example: clipseg-ray run configs/demo.yaml -s masks.threshold=0.4")
def run(
    config: ConfigPath,
    set_: Overrides = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also compute again chunks with images that were not found (404).")
    ] = False,
) -> None:
    """Segment every image that has no masks yet."""
    from clipseg_ray.pipeline import driver

    loaded = configuration.load(config, set_ or ())
    overrides = "".join(f" -s {override}" for override in set_ or ())
    outcome = driver.run(loaded, retry_failed=retry_failed, invocation=f"clipseg-ray run {config}{overrides}")
    print(outcome.message, file=sys.stdout if outcome.code == 0 else sys.stderr)
    raise typer.Exit(outcome.code)


@app.command(epilog="Example: clipseg-ray plan configs/demo.yaml -s input.sample=1000")
def plan(config: ConfigPath, set_: Overrides = None) -> None:
    """Say what a run would do; reads listings only, writes nothing."""
    from clipseg_ray.pipeline import describe, plan

    print(describe.plan_text(plan.look(configuration.load(config, set_ or ()))))
