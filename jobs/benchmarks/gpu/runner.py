"""Parts one after another within a time budget, each in a process that outlives it only where nothing went wrong.

A part that raises leaves the others where they are. One that kills its process, runs over its share of the time or
loses the device takes its process with it, and the next part gets a new one.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from types import TracebackType
from typing import Any

from benchmarks.gpu import worker
from benchmarks.gpu.part import Outcome, Part, Setting, Status


def outcomes(parts: Sequence[Part], setting: Setting, deadline: float) -> Iterator[Outcome]:
    """Run the parts in order, each given what those before it found; none starts that could not end in time.

    deadline: of ``time.monotonic``.
    """
    with _Process() as process:
        for part in parts:
            outcome = _outcome(part, setting, process, deadline)
            if outcome.lost or part.spoils:
                process.stop()
            if outcome.values:
                setting = replace(setting, found={**setting.found, part.name: outcome.values})
            yield outcome


def _outcome(part: Part, setting: Setting, process: _Process, deadline: float) -> Outcome:
    def ended(status: Status, summary: str, lost: bool = False) -> Outcome:
        seconds = time.monotonic() - started
        return Outcome(name=part.name, status=status, seconds=seconds, summary=summary, values={}, lost=lost)

    started = time.monotonic()
    if part.needs_gpu and setting.device != "cuda":
        return ended(Status.skipped, "needs a GPU")
    if deadline - started < part.share_s:
        return ended(Status.skipped, "no time left")
    try:
        return Outcome(name=part.name, **process.ask(part.entry, setting, part.share_s))
    except TimeoutError:
        return ended(Status.failed, f"took longer than {part.share_s:.0f} s and was stopped", lost=True)
    except EOFError:
        return ended(Status.failed, f"its process died ({process.stop()})", lost=True)


class _Process:
    """A worker, started when first asked; a group of its own, so that whatever it starts ends with it."""

    def __init__(self) -> None:
        self._popen: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def ask(self, entry: str, setting: Setting, limit_s: float) -> dict[str, Any]:
        """The worker's outcome. TimeoutError: none within ``limit_s``. EOFError: it died."""
        if self._popen is None:
            self._popen = _started()
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        request = json.dumps({"entry": entry, "setting": asdict(setting)})
        try:
            self._popen.stdin.write(f"{request}\n".encode())
            self._popen.stdin.flush()
        except BrokenPipeError:
            raise EOFError from None
        ready, _, _ = select.select([self._popen.stdout], [], [], limit_s)
        if not ready:
            self.stop(patience_s=0.0)
            raise TimeoutError
        line = self._popen.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        found = json.loads(line)
        return {**found, "status": Status(found["status"])}

    def stop(self, patience_s: float = 5.0) -> str:
        """End the worker and all it has started, by force after ``patience_s``; says how it ended."""
        if self._popen is None:
            return "not started"
        popen, self._popen = self._popen, None
        assert popen.stdin is not None
        assert popen.stdout is not None
        popen.stdin.close()
        select.select([popen.stdout], [], [], patience_s)
        # The group is signalled before its leader is waited for: afterwards its number could be somebody else's.
        os.killpg(popen.pid, signal.SIGKILL)
        popen.stdout.close()
        code = popen.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def _started() -> subprocess.Popen[bytes]:
    module = worker.__spec__
    assert module is not None
    # The tree may be nowhere but on this process's path: nothing need be installed.
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.Popen(
        [sys.executable, "-m", module.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"},
    )
