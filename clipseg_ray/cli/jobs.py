"""Verbs that segment: run, plan, status."""

from __future__ import annotations

import json
import sys
from typing import Annotated

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


@app.command(epilog="Example: clipseg-ray plan configs/demo.yaml --measure")
def plan(
    config: ConfigPath,
    set_: Overrides = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Also run samples of it for some minutes, where the run would be.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Say what a run would do; reads listings only, writes nothing.

    With --measure also how long it takes, what it writes and what it costs at the prices of the configuration: samples
    of it are run on the cluster at RAY_ADDRESS, or here. What they write is removed.
    """
    from clipseg_ray.pipeline import describe, preflight

    plan, measured = preflight.look(
        configuration.load(config, set_ or ()), measure, lambda line: print(line, file=sys.stderr, flush=True)
    )
    if json_:
        print(json.dumps({"plan": describe.plan_json(plan), **({} if measured is None else measured.to_json())}))
        return
    print(describe.plan_text(plan))
    if measured is not None:
        print(measured.text())


@app.command(epilog="Example: clipseg-ray status demo-output/masks")
def status(output: OutputUrl) -> None:
    """Say how far the runs into a dataset are, from the dataset alone."""
    from clipseg_ray.results import status

    print(status.text(output))
