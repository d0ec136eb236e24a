"""How long an actor takes to start, by package imported and by step, in a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter

from benchmarks.gpu import models
from benchmarks.gpu.part import Finding, Setting

_ACTOR = (
    "import sys; from benchmarks.gpu.worker import without_absent; without_absent(); "
    "from benchmarks.start_up_steps import main; main(*sys.argv[1:])"
)
_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")


def measure(setting: Setting) -> Finding:
    """Seconds of each step, and of each package's own modules (``-X importtime``, itself a few per cent)."""
    command = [sys.executable, "-X", "importtime", "-c", _ACTOR, str(models.folder(setting)), setting.device]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        last = [line for line in ended.stderr.splitlines() if not line.startswith("import time:")][-1:]
        raise RuntimeError(f"the actor's steps ended with exit code {ended.returncode}: {''.join(last)}")
    steps = {step: taken["wall"] for step, taken in json.loads(ended.stdout.splitlines()[-1]).items()}
    imports = _by_package(ended.stderr)
    total = sum(steps.values())
    summary = (
        f"{total:.1f} s: "
        + ", ".join(f"{step} {taken:.2f}" for step, taken in steps.items())
        + "; imports: "
        + ", ".join(f"{package} {taken:.2f}" for package, taken in list(imports.items())[:5])
    )
    return Finding(summary, {"total_s": total, "steps_s": steps, "imports_s": imports})


def _by_package(report: str) -> dict[str, float]:
    """Seconds of a package's modules without what they import from others; the dearest first."""
    micros: Counter[str] = Counter()
    for line in report.splitlines():
        match = _LINE.match(line)
        if match:
            micros[match[2].partition(".")[0]] += int(match[1])
    return {package: taken / 1e6 for package, taken in micros.most_common(12)}
