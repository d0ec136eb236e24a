"""Who has the cores: CPU seconds of a process and all below it, by what each process is, from ``/proc`` (Linux)."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

_KINDS = (
    ("ray::MapWorker", "actors"),
    ("ray::_MapWorker", "actors"),
    ("Segmenter", "actors"),
    ("ray::IDLE", "idle workers"),
    ("ray::", "read tasks"),
    ("raylet", "raylet"),
    ("gcs_server", "GCS"),
    ("monitor.py", "autoscaler"),
    ("log_monitor", "log monitor"),
    ("agent", "agents"),
    ("dashboard", "dashboard"),
    ("multiprocessing.spawn", "driver"),
)
_EVERY_S = 0.5
_TICKS = os.sysconf("SC_CLK_TCK")


class ProcessCpu:
    """While open, looks every half second; ``between`` then says who used how many cores."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._seen: list[tuple[float, dict[int, tuple[str, float]]]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ProcessCpu:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def between(self, start: float, stop: float) -> dict[str, float]:
        """Cores (CPU seconds a second) by kind between two times of the clock; empty where nothing was seen."""
        inside = [(at, found) for at, found in self._seen if start <= at <= stop]
        if len(inside) < 2:
            return {}
        cores: dict[str, float] = defaultdict(float)
        elapsed = inside[-1][0] - inside[0][0]
        begun = inside[0][1]
        last: dict[int, tuple[str, float]] = {}
        for _, found in inside:
            last |= found
        for pid, (kind, seconds) in last.items():
            cores[kind] += (seconds - begun.get(pid, ("", 0.0))[1]) / elapsed
        return dict(sorted(cores.items(), key=lambda item: -item[1]))

    def _watch(self) -> None:
        while not self._over.wait(_EVERY_S):
            self._seen.append((time.time(), dict(_processes(self._root))))


def _processes(root: int) -> Iterable[tuple[int, tuple[str, float]]]:
    """(pid, (kind, CPU seconds so far)) of ``root`` and all below it."""
    below: dict[int, list[int]] = defaultdict(list)
    used: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(path.parent.name)
        below[int(fields[1])].append(pid)
        used[pid] = (int(fields[11]) + int(fields[12])) / _TICKS
    todo = [root]
    while todo:
        pid = todo.pop()
        todo += below[pid]
        if pid in used:
            yield pid, (_kind(pid), used[pid])


def _kind(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "others"
    return next((kind for mark, kind in _KINDS if mark in command), "others")
