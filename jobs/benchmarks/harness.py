"""What every benchmark shares: contestants timed in turns, the machine, a table for people and a line for programs."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from clipseg_ray.model.precision import has_amx

_PACKAGES = (
    "clipseg-ray",
    "torch",
    "transformers",
    "numpy",
    "numba",
    "pyarrow",
    "pycocotools",
    "pillow",
    "simplejpeg",
    "ray",
)
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Contestant:
    """One way of doing the work: ``run`` does ``units`` of it. ``warm``: run it once untimed first."""

    name: str
    run: Callable[[], object]
    units: float = 1.0
    warm: bool = True


@dataclass(frozen=True)
class Timing:
    """A contestant's seconds per unit, one per round."""

    name: str
    units: float
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds per unit."""
        return statistics.median(self.seconds)

    def to_json(self, ours: Timing) -> dict[str, Any]:
        """JSON values; ``ratio`` is how many times longer than ``ours`` it takes, by medians."""
        return {
            "name": self.name,
            "units_per_round": self.units,
            "seconds_per_unit": list(self.seconds),
            "median_s": self.median,
            "min_s": min(self.seconds),
            "max_s": max(self.seconds),
            "units_per_s": 1 / self.median,
            "ratio": self.median / ours.median,
        }


@dataclass(frozen=True)
class Race:
    """The timings of one comparison; the first contestant is ours. ``unit`` says what a unit of work is."""

    title: str
    unit: str
    timings: tuple[Timing, ...]

    def of(self, name: str) -> Timing:
        """One contestant's timing."""
        return next(timing for timing in self.timings if timing.name == name)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "title": self.title,
            "unit": self.unit,
            "entries": [timing.to_json(self.timings[0]) for timing in self.timings],
        }

    def table(self) -> str:
        """For a person: median, min–max, units per second, and how many times faster ours is."""
        rows = [["", f"ms / {self.unit}", "min–max", f"{self.unit}/s", "ours is"]]
        for number, timing in enumerate(self.timings):
            rows.append(
                [
                    timing.name,
                    _number(1e3 * timing.median),
                    f"{_number(1e3 * min(timing.seconds))}–{_number(1e3 * max(timing.seconds))}",
                    _number(1 / timing.median),
                    f"{timing.median / self.timings[0].median:.2f}×" if number else "",
                ]
            )
        return f"{self.title}\n{aligned(rows)}"


def race(title: str, unit: str, contestants: Sequence[Contestant], rounds: int, device: str = "cpu") -> Race:
    """Time the contestants in turns, A B C A B C …, so that whatever slows the machine slows all of them.

    On a GPU the device is waited for before and after each run.
    """
    wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else lambda: None
    for contestant in contestants:
        if contestant.warm:
            contestant.run()
    seconds: list[list[float]] = [[] for _ in contestants]
    for _ in range(rounds):
        for contestant, found in zip(contestants, seconds, strict=True):
            wait()
            started = time.perf_counter()
            contestant.run()
            wait()
            found.append((time.perf_counter() - started) / contestant.units)
    timings = (Timing(c.name, c.units, tuple(found)) for c, found in zip(contestants, seconds, strict=True))
    return Race(title, unit, tuple(timings))


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def single_thread(device: str) -> None:
    """One thread, as an actor on a CPU has; on a GPU the host keeps PyTorch's default."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if device == "cpu":
        torch.set_num_threads(1)


def environment(device: str) -> dict[str, Any]:
    """Hardware, versions and commit, as JSON values: nothing that names the machine or its folders."""
    return {"hardware": _hardware(device), "versions": _versions(), "commit": _commit()}


def report(result: dict[str, Any], races: Sequence[Race], notes: Sequence[str], json_file: str | None) -> None:
    """Print the tables and notes, then one JSON line, which is also appended to ``json_file``."""
    result["races"] = [found.to_json() for found in races]
    for found in races:
        print(f"{found.table()}\n")
    for note in notes:
        print(note)
    line = json.dumps(result, ensure_ascii=False)
    print(line, flush=True)
    if json_file is not None:
        with open(json_file, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def _hardware(device: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "cpu": _cpu_model(),
        "amx": has_amx(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "device": device,
    }
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found["gpu"] = properties.name
        found["gpu_memory_bytes"] = properties.total_memory
        found["cuda"] = torch.version.cuda
    return found


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> dict[str, Any] | None:
    """The checkout this package is in, None for an installed one."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(_ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != _ROOT:
            return None
        return {"sha": git("rev-parse", "HEAD"), "modified": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if value >= 0.001 else f"{value:.6f}"
