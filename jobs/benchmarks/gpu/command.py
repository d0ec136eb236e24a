"""The GPU check as a whole: parts, table, JSON line."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.part import Outcome, Part, Setting, Status
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.runner import outcomes

BUDGET_S = 480.0
_CLOSING_S = 10.0
"""Kept for the end: the last process, the table, and what else the eight minutes are to hold."""


def benchmark(
    *, device: str = "cuda", small: bool = False, out: str | None = None, parts: Sequence[Part] = PARTS
) -> dict[str, Any]:
    """Run the parts, print how each ended as it ends, then the table and the JSON line; return what the line holds.

    out: a folder for ``gpu.txt`` and ``gpu.json``, written anew after every part: a machine may go at any moment.
    """
    started = time.monotonic()
    # Here and not above: torch takes its seconds, and the clock is running.
    from benchmarks.harness import environment

    result: dict[str, Any] = {"benchmark": "gpu", **environment("cpu")}
    result["hardware"]["device"] = device
    result["settings"] = {"device": device, "small": small, "budget_s": BUDGET_S}
    result |= {"agrees": True, "races": []}
    ended: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="clipseg-ray-benchmark-") as folder:
        setting = Setting(device, small, folder)
        for outcome in outcomes(parts, setting, started + BUDGET_S - _CLOSING_S):
            print(f"{outcome.seconds:6.1f} s  {outcome.name}: {outcome.status}", flush=True)
            ended.append(outcome)
            result["parts"] = [each.to_json() for each in ended]
            result["agrees"] = all(each.status in (Status.passed, Status.skipped) for each in ended)
            result["seconds"] = time.monotonic() - started
            _write(out, ended, result)
    print(f"\n{_table(ended)}\n{json.dumps(result, ensure_ascii=False)}", flush=True)
    return result


def _write(out: str | None, ended: Sequence[Outcome], result: dict[str, Any]) -> None:
    if out is None:
        return
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gpu.txt").write_text(f"{_table(ended)}\n", encoding="utf-8")
    (folder / "gpu.json").write_text(f"{json.dumps(result, ensure_ascii=False)}\n", encoding="utf-8")


def _table(ended: Sequence[Outcome]) -> str:
    """Name, end and seconds of each part, and under it what it found."""
    lines = []
    for outcome in ended:
        lines.append(f"{outcome.name:<22}{outcome.status:<10}{outcome.seconds:7.1f} s")
        lines += [f"    {statement}" for statement in outcome.summary.split("; ")]
    return "\n".join(lines)
