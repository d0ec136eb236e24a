"""How long an actor takes to start on a CPU, step by step, in processes of their own.

What Ray does before it (finding a worker, sending the class) is not in it; what its imports cost is.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import start_up_steps
from benchmarks.harness import Contestant, aligned, environment, race, report

_RAY = ("ray", "ray.data")
_WAYS = {"an actor": _RAY, "with transformers": (*_RAY, "transformers.models.clipseg.modeling_clipseg")}

Steps = dict[str, dict[str, float]]


def benchmark(*, rounds: int = 5, checkpoint: str = "builtin:scenes", json_file: str | None = None) -> dict[str, Any]:
    """Run it, print it, and return what the JSON line holds."""
    seen: dict[str, list[Steps]] = {name: [] for name in _WAYS}
    contestants = [
        Contestant(name, partial(_start, seen[name], checkpoint, modules)) for name, modules in _WAYS.items()
    ]
    found = race("From a new process to an actor's second chunk", "start", contestants, rounds)
    steps = {name: _medians(each[1:]) for name, each in seen.items()}  # the first filled the file cache
    imports = {
        name: sum(step["cpu"] for key, step in each.items() if key.startswith("import "))
        for name, each in steps.items()
    }
    result = {
        "benchmark": "start",
        **environment("cpu"),
        "settings": {"rounds": rounds},
        "steps": steps,
        "imports_cpu_s": imports,
        "agrees": True,
    }
    rows = [["", *(f"{name}: {kind} s" for name in steps for kind in ("CPU", "wall"))]]
    for step in steps["with transformers"]:
        cells = [steps[name].get(step) for name in steps]
        rows.append([step, *(f"{cell[kind]:.2f}" if cell else "" for cell in cells for kind in ("cpu", "wall"))])
    share = imports["an actor"] / imports["with transformers"]
    notes = [aligned(rows), f"Imports: {imports['an actor']:.2f} s of CPU, {share:.2f} of those with transformers."]
    report(result, [found], notes, json_file)
    return result


def _start(seen: list[Steps], checkpoint: str, modules: tuple[str, ...]) -> None:
    spec = start_up_steps.__spec__
    assert spec is not None
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", spec.name, checkpoint, "cpu", *modules]
    ended = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}, check=True
    )
    seen.append(json.loads(ended.stdout.splitlines()[-1]))


def _medians(rounds: list[Steps]) -> Steps:
    return {
        step: {kind: statistics.median(each[step][kind] for each in rounds) for kind in ("cpu", "wall")}
        for step in rounds[0]
    }
