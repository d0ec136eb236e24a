"""The process that parts run in: a request a line on stdin, an outcome a line on what was stdout.

One process for many parts, because importing torch and opening a device takes 5 to 20 seconds each time, and eight
minutes have room for a few of those, not for a dozen.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
import traceback
from typing import IO, Any

from benchmarks.gpu.part import Finding, Setting, Status

_ABSENT = ("ray", "duckdb", "s3fs")
"""What the GPU's image does not have. Here they cannot be imported either, so what passes here passes there."""


def main() -> None:
    """Serve requests until stdin ends or a part has cost this process its device."""
    requests, replies = sys.stdin, _private_stdout()
    without_absent()
    for line in requests:
        request = json.loads(line)
        outcome = _run(request["entry"], Setting(**request["setting"]))
        replies.write(f"{json.dumps(outcome)}\n")
        replies.flush()
        if outcome["lost"]:
            break
        _let_go()


def without_absent() -> None:
    """Make importing what the image lacks fail here as it would there."""
    for name in _ABSENT:
        sys.modules[name] = None  # type: ignore[assignment]


def _private_stdout() -> IO[str]:
    """Where stdout led; from now on whatever is printed goes to stderr, not between the replies."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return replies


def _run(entry: str, setting: Setting) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        # Not at the top: an installation that cannot import torch fails part by part, and says so in each.
        from benchmarks.harness import single_thread

        single_thread(setting.device)
        module, _, function = entry.partition(":")
        finding: Finding = getattr(importlib.import_module(module), function)(setting)
        status = Status.passed if finding.agrees else Status.disagrees
        found: dict[str, Any] = {"status": status, "summary": finding.summary, "values": finding.values, "lost": False}
    except Exception as error:
        traceback.print_exc()
        said = " ".join(str(error).split())[:300]
        summary = f"{type(error).__name__}: {said}"
        found = {"status": Status.failed, "summary": summary, "values": {}, "lost": _is_lost(error)}
    return {**found, "seconds": time.perf_counter() - started}


def _is_lost(error: BaseException | None) -> bool:
    """Whether the device answers nothing more in this process: a fault of its own, not a shortage of memory.

    A shortage that reaches us is one the engine did not deal with; what it left allocated is unknown, so it counts too.
    """
    while error is not None:
        said = f"{type(error).__name__}: {error}"
        if any(sign in said for sign in ("AcceleratorError", "OutOfMemoryError", "CUDA", "CUBLAS", "CUDNN")):
            return True
        error = error.__cause__ or error.__context__
    return False


def _let_go() -> None:
    """Give back the memory of the part before."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
