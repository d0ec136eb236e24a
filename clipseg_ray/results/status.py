"""How far the runs into a dataset are, read from the dataset alone and without listing a part.

found = read("s3://my-bucket/masks")
print(found.state, [run.values["chunks_done"] for run in found.runs])
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clipseg_ray.errors import UserError
from clipseg_ray.results import driver_process, record, runs, sets
from clipseg_ray.storage import Store, plain_errors

STALE_AFTER = 3
"""Heartbeats missed until a run that says it is running is called stale: its driver died, or lost the storage.

They are counted by this machine's own clock while it watches the file, never by comparing the clocks of two machines.
"""

_LOOKS = 3
"""Looks per heartbeat at one that seems to have stopped."""

RUNNING, STALE, NONE = "running", "stale", "none"
_ORDER = (RUNNING, STALE, "failed", "stopped", "interrupted", "incomplete", "complete")
"""Of several runs at once the first of these is the dataset's state."""


@dataclass(frozen=True)
class Run:
    """One run as its status file has it.

    ``state``: running, stale, complete, incomplete, stopped (it gave up), failed (an error), interrupted.
    ``age_s``: seconds from the time that its last heartbeat says to this machine's, None where none was ever written.
    ``values``: the file's own (docs/watching.md); only ``state`` is sure to be there for runs cut off at their start.
    """

    run_id: str
    state: str
    age_s: float | None
    values: dict[str, Any]

    @property
    def part(self) -> str | None:
        """Which share of the shards this run takes (``input.part``), None for all."""
        return self.values.get("part")


@dataclass(frozen=True, kw_only=True)
class Status:
    """A dataset and the runs that count: the newest of each share of the input, and whatever still runs.

    ``prompt_sets``: (name, queries) in the order they were claimed. ``earlier``: older runs left out.
    """

    url: str
    fingerprint: str
    prompt_sets: tuple[tuple[str, int], ...]
    runs: tuple[Run, ...]
    earlier: int

    @property
    def state(self) -> str:
        """One word for all of it; ``none`` where no run has begun."""
        return min((run.state for run in self.runs), key=_ORDER.index, default=NONE)

    def as_json(self) -> dict[str, Any]:
        """JSON values; the keys are documented in docs/watching.md."""
        return {
            "output": self.url,
            "fingerprint": self.fingerprint,
            "state": self.state,
            "prompt_sets": [{"name": name, "queries": queries} for name, queries in self.prompt_sets],
            "runs": [
                {**run.values, "run_id": run.run_id, "state": run.state, "heartbeat_age_s": run.age_s}
                for run in self.runs
            ],
            "earlier_runs": self.earlier,
        }


def read(output: str) -> Status:
    """The status of the dataset at ``output``: a handful of requests, whatever its size.

    Where a heartbeat seems old, its file is watched until it changes, for three heartbeats at most.
    Raises UserError where no dataset is, and for storage that cannot be read.
    """
    store = Store.of(output)
    made = record.require(store)
    with plain_errors(store.url):
        claimed = sets.read(store)
        newest, older = runs.newest(store)
        found = [_run(run_id, values) for run_id, values in newest]
        counted = _watched(store, _counted(found))
    return Status(
        url=store.url,
        fingerprint=made.fingerprint,
        prompt_sets=tuple((item.name, len(item.written)) for item in claimed),
        runs=tuple(counted),
        earlier=older + len(found) - len(counted),
    )


def alive(store: Store, concerns: Callable[[Run], bool]) -> list[Run]:
    """The runs for which ``concerns`` holds that are running, watched as ``read`` does. Raises UserError."""
    with plain_errors(store.url):
        newest, _ = runs.newest(store)
        found = [run for run_id, values in newest if concerns(run := _run(run_id, values))]
        return [run for run in _watched(store, found) if run.state == RUNNING]


def _run(run_id: str, values: dict[str, Any]) -> Run:
    """A run at first sight: one whose heartbeat's time is not near this machine's is stale until it was watched.

    One whose driver was a process of this machine and is no more is stale for good.
    """
    state = values.get("state", RUNNING)
    age = time.time() - values["time"] if "time" in values else None
    late = age is None or abs(age) > STALE_AFTER * values["heartbeat_s"]
    if state not in _ORDER or (state == RUNNING and (late or _is_gone(values))):
        state = STALE
    return Run(run_id, state, None if age is None else max(0.0, age), values)


def _watched(store: Store, found: list[Run]) -> list[Run]:
    """The same, after what seemed stale had three of its heartbeats' time to prove that it is not."""
    doubted = {
        run.run_id: run for run in found if run.state == STALE and run.age_s is not None and not _is_gone(run.values)
    }
    now = {run.run_id: run for run in found}
    started = time.monotonic()
    while doubted:
        time.sleep(min(run.values["heartbeat_s"] for run in doubted.values()) / _LOOKS)
        for run in list(doubted.values()):
            values = run.values
            with contextlib.suppress(UserError):  # what cannot be read is no sign of life
                values = runs.read_status(store, run.run_id)
            if values != run.values:
                age = max(0.0, time.time() - values["time"])
                now[run.run_id] = Run(run.run_id, values.get("state", RUNNING), age, values)
            elif time.monotonic() - started <= STALE_AFTER * run.values["heartbeat_s"]:
                continue
            del doubted[run.run_id]
    return list(now.values())


def _is_gone(values: dict[str, Any]) -> bool:
    return driver_process.is_gone(values.get("process"))


def _counted(found: list[Run]) -> list[Run]:
    """Of runs, oldest first, those that say how things stand: a newer one replaces what has ended, except other shares
    of the same division."""
    kept: list[Run] = []
    for run in found:
        kept = [old for old in kept if old.state == RUNNING or _beside(old.part, run.part)]
        kept.append(run)
    return kept


def _beside(one: str | None, other: str | None) -> bool:
    return bool(one and other and one != other and one.partition("/")[2] == other.partition("/")[2])
