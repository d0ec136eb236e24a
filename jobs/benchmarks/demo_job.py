"""The demo's job from its first second to its last: when each phase was over, and whose CPU time it took.

Each round is a process of its own; with ``against`` those of another checkout of this repository take turns with ours.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
import yaml

from benchmarks.harness import aligned, environment, report
from benchmarks.process_cpu import ProcessCpu
from clipseg_ray import demo
from clipseg_ray.config import RunConfig
from clipseg_ray.demo.shards import write_shards
from clipseg_ray.errors import UserError

_ROOT = Path(__file__).parents[2]
_SEED = 30_000_000
"""The demo's."""


def benchmark(
    *, rounds: int = 3, against: str | None = None, scenes: str | None = None, json_file: str | None = None
) -> dict[str, Any]:
    """Run it, print it, and return what the JSON line holds. ``scenes``: a folder of the demo's shards, else drawn."""
    checkouts = {"ours": _ROOT} | ({} if against is None else {"against": Path(against).resolve()})
    with TemporaryDirectory(prefix="clipseg-ray-benchmark-") as temporary:
        folder = Path(temporary)
        if scenes is None:
            write_shards(folder / "scenes", shards=4, images=128, seed=_SEED)
        inputs = Path(scenes) if scenes is not None else folder / "scenes"
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in checkouts}
        outputs = []
        for number in range(rounds):
            for name, root in checkouts.items():
                outputs.append(folder / f"{name}-{number}")
                found[name].append(_round(root, _configured(inputs, outputs[-1])))
        differing = sum(_rows(output) != _rows(outputs[0]) for output in outputs)
    result: dict[str, Any] = {
        "benchmark": "demo",
        **environment("cpu"),
        "settings": {"rounds": rounds, "against": against is not None},
        "rounds": found,
        "median_s": {name: statistics.median(entry["s"]["process"] for entry in each) for name, each in found.items()},
        "agrees": differing == 0,
    }
    report(result, [], _notes(found), json_file)
    return result


def _configured(scenes: Path, output: Path) -> Path:
    settings = [f"input.url={scenes.resolve()}/*.tar", f"output.url={output}"]
    values = RunConfig.load(str(Path(demo.__file__).with_name("demo.yaml")), settings)
    file = output.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(values.resolved()))
    return file


def _round(root: Path, config: Path) -> dict[str, Any]:
    """One run of a checkout's: seconds from its process's start to the end of each phase, CPU seconds by process."""
    file = config.with_suffix(".json")
    environment = {**os.environ, "PYTHONPATH": str(root)}
    load, started = os.getloadavg()[0], time.time()
    command = [sys.executable, "-P", str(Path(__file__).with_name("phases.py")), str(config), str(file)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    with ProcessCpu(process.pid) as cpu:
        code = process.wait()
    if code:
        raise UserError(f"the run failed (exit code {code}); its messages are above")
    over = json.loads(file.read_text()) | {"process": time.time()}
    seconds = over["process"] - started
    cores = cpu.between(started, over["process"])
    return {
        "s": {phase: round(at - started, 2) for phase, at in over.items()},
        "cpu_s": {kind.replace("others", "driver"): round(share * seconds, 1) for kind, share in cores.items()},
        "load_before": load,
    }


def _rows(output: Path) -> list[Any]:
    """Every part's rows, in the order of the parts' names; tables of queries name each checkout's own pictures."""
    parts = sorted(
        path.relative_to(output) for room in ("images", "masks") for path in (output / room).rglob("*.parquet")
    )
    return [(str(path), pq.read_table(output / path, partitioning=None)) for path in parts]


def _notes(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    notes = []
    for kind, title in (("s", "over after, s"), ("cpu_s", "CPU s")):
        names = list(dict.fromkeys(name for entries in found.values() for entry in entries for name in entry[kind]))
        rows = [[title, *(f"{name} {number}" for name, each in found.items() for number in range(1, len(each) + 1))]]
        for name in names:
            cells = [entry[kind].get(name) for each in found.values() for entry in each]
            rows.append([name, *("–" if cell is None else f"{cell:.1f}" for cell in cells)])
        notes += [aligned(rows), ""]
    return notes
