"""A dataset's status, looked at again and again until its runs have ended."""

from __future__ import annotations

import contextlib
import json
import time

from rich.console import Console
from rich.live import Live
from rich.text import Text

from clipseg_ray.errors import UserError
from clipseg_ray.printable import printable
from clipseg_ray.report import status_text as words
from clipseg_ray.results import status
from clipseg_ray.results.status import RUNNING, Status

EXIT_CODES = {RUNNING: 0, "complete": 0, "interrupted": 130}
"""What a state makes of the exit status; every other is 1."""
_LOOKS = 3
"""Looks at the status per heartbeat."""
_TRIES = 20
"""Looks in a row that may fail once one has succeeded: a laptop loses its network for a while."""


def watch(output: str, console: Console, *, as_json: bool = False) -> Status:
    """Show the status of ``output`` until none of its runs is running; the last one.

    On a terminal the text is redrawn; elsewhere each new heartbeat is one line and the whole text comes last. With
    ``as_json`` each is one line of JSON. Raises UserError where no dataset is, or if it cannot be read for long.
    """
    found = status.read(output)
    if as_json or not console.is_terminal:
        return _in_lines(found, output, console, as_json)
    with Live(Text(words.text(found)), console=console, auto_refresh=False, transient=True) as live:
        while found.state == RUNNING:
            live.update(Text(words.text(found)), refresh=True)
            found = _next(found, output)
    console.print(printable(words.text(found)), soft_wrap=True)
    return found


def _in_lines(found: Status, output: str, console: Console, as_json: bool) -> Status:
    said: dict[str, float] = {}
    while found.state == RUNNING:
        new = {run.run_id: run.values["time"] for run in found.runs if run.state == RUNNING}
        if as_json and new != said:
            console.print(json.dumps(found.as_json()), soft_wrap=True)
        for run in found.runs:
            if not as_json and run.run_id in new and new[run.run_id] != said.get(run.run_id):
                console.print(printable(f"{run.run_id}: {words.line(run.values)}"), soft_wrap=True)
        said = new
        found = _next(found, output)
    console.print(json.dumps(found.as_json()) if as_json else printable(words.text(found)), soft_wrap=True)
    return found


def _next(found: Status, output: str) -> Status:
    """The status a while later; what cannot be read now is looked for again."""
    wait_s = min(run.values["heartbeat_s"] for run in found.runs if run.state == RUNNING) / _LOOKS
    for _ in range(_TRIES - 1):
        time.sleep(wait_s)
        with contextlib.suppress(UserError):
            return status.read(output)
    time.sleep(wait_s)
    return status.read(output)
