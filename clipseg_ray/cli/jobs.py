"""Verbs that segment: run, plan, status."""

from __future__ import annotations

import sys

import typer

from clipseg_ray import config as configuration
from clipseg_ray.cli.app import ConfigPath, OutputUrl, Overrides, app


@app.command(epilog="Example: clipseg-ray run configs/demo.yaml -s masks.threshold=0.4")
def run(config: ConfigPath, set_: Overrides = None) -> None:
    """Segment every image that has no masks yet."""
    from clipseg_ray.pipeline import driver

    loaded = configuration.load(config, set_ or ())
    overrides = "".join(f" -s {override}" for override in set_ or ())
    outcome = driver.run(loaded, invocation=f"clipseg-ray run {config}{overrides}")
    print(outcome.message, file=sys.stdout if outcome.code == 0 else sys.stderr)
    raise typer.Exit(outcome.code)


@app.command(epilog="Example: clipseg-ray plan configs/demo.yaml -s input.sample=1000")
def plan(config: ConfigPath, set_: Overrides = None) -> None:
    """Say what a run would do; reads listings only, writes nothing."""
    from clipseg_ray.pipeline import describe, plan

    print(describe.plan_text(plan.look(configuration.load(config, set_ or ()))))


@app.command(epilog="Example: clipseg-ray status demo-output/masks")
def status(output: OutputUrl) -> None:
    """Say how far the runs into a dataset are, from the dataset alone."""
    from clipseg_ray.results import status

    print(status.text(output))
