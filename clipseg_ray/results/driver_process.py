"""Which process a driver is, so that whoever reads its heartbeat on the same machine knows at once that it is dead."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

_PROC = Path("/proc")


def identity() -> dict[str, Any]:
    """This process, as JSON values; empty where no ``/proc`` tells (Linux has one).

    ``boot``, ``namespace``: in which the number ``pid`` has its meaning. ``started``: in clock ticks since that boot,
    because a number is given again.
    """
    place = _place()
    started = _started(os.getpid())
    return {**place, "pid": os.getpid(), "started": started} if place and started else {}


def is_gone(process: Any) -> bool:
    """Whether the process of this ``identity`` was one of this machine's and is no more.

    False for one of another machine, of another container, and for what is no identity: nobody here can know.
    """
    if not isinstance(process, dict) or not isinstance(process.get("pid"), int):
        return False
    place = _place()
    if not place or any(process.get(key) != value for key, value in place.items()):
        return False
    return _started(process["pid"]) != process.get("started")


def _place() -> dict[str, str]:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return {"boot": boot, "namespace": str((_PROC / "self/ns/pid").readlink())}
    except OSError:
        return {}


def _started(pid: int) -> str | None:
    """When the process began (proc_pid_stat(5), field 22); None where none of this number lives."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
