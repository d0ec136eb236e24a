"""A run that reports when each of its phases was over: ``python -P phases.py CONFIG FILE``, in seconds since 1970.

It runs whatever ``clipseg_ray`` is on the path, which may be another checkout's.
"""

from __future__ import annotations

import builtins
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main(config: str, file: str) -> int:
    """The run's exit code."""
    over: dict[str, float] = {}

    def mark(phase: str, *, again: bool = False) -> None:
        if again or phase not in over:
            over[phase] = time.time()

    def marked(owner: Any, name: str, then: Callable[..., object]) -> None:
        original = getattr(owner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            found = original(*arguments, **named)
            then(*arguments)
            return found

        setattr(owner, name, call)

    from clipseg_ray import config as configuration
    from clipseg_ray.pipeline import driver

    mark("imports")
    marked(driver, "look", lambda *_: mark("plan"))
    expect, load = driver.expect_lost_nodes, builtins.__import__

    def expected() -> None:
        expect()  # before Ray is imported
        import ray

        marked(ray, "init", lambda *_: mark("Ray"))

    def imported(name: str, *rest: Any, **named: Any) -> Any:
        found = load(name, *rest, **named)
        if name == "clipseg_ray.pipeline.execute" and "imports of the job" not in over:
            mark("imports of the job")
            execute = sys.modules[name]
            marked(execute, "settle", lambda *_: mark("settled"))
            marked(execute._Watch, "step", lambda _, state: mark("first actor") if state.running else None)
            marked(execute.Reporter, "add", lambda *_: mark("first result"))
            marked(execute.Reporter, "add", lambda *_: mark("last result", again=True))
            marked(execute.Heartbeat, "end", lambda *_: mark("checked"))
        return found

    driver.expect_lost_nodes, builtins.__import__ = expected, imported
    outcome = driver.run(configuration.load(config))
    mark("end")
    Path(file).write_text(json.dumps(over))
    print(outcome.message)
    return outcome.code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
