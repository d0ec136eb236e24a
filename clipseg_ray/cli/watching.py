"""The verb that watches: status."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated

import typer

from clipseg_ray.cli.app import OutputUrl, app, say, wide_console
from clipseg_ray.errors import UserError


@app.command(epilog="Example: clipseg-ray status s3://my-bucket/masks --watch")
def status(
    output: OutputUrl,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on until the run ends; the exit code is 0 only if it is complete.")
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="List every part and look into each; the backlog of each shard.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For a program; with --watch one line each time.")] = False,
) -> None:
    """Say how far the runs into a dataset are, from the dataset alone."""
    if watch and deep:
        raise UserError("--watch looks every few seconds, --deep lists every part: give one of them")

    from clipseg_ray.report import status_text as words
    from clipseg_ray.report.watch import EXIT_CODES
    from clipseg_ray.report.watch import watch as watching
    from clipseg_ray.results import backlog, status
    from clipseg_ray.results.agreement import disagreeing

    if watch:
        raise typer.Exit(EXIT_CODES.get(watching(output, wide_console(), as_json=as_json).state, 1))
    found = status.read(output)
    left = replace(backlog.read(output), disagreeing=disagreeing(output)) if deep else None
    if as_json:
        values = found.as_json() | ({} if left is None else {"deep": left.as_json()})
        print(json.dumps(values, indent=2))
    else:
        say(words.text(found, left))
