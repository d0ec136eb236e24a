"""How far the runs into a dataset are, read from the dataset alone and without listing a part.

found = read("s3://my-bucket/masks")
print(found.state, [run.values["chunks_done"] for run in found.runs])
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from clipseg_ray.results import record, runs, sets
from clipseg_ray.storage import Store, plain_errors

STALE_AFTER = 3
"""Heartbeats missed until a run that says it is running is called stale: its driver died, or lost the storage."""

RUNNING, STALE, NONE = "running", "stale", "none"
_ORDER = (RUNNING, STALE, "failed", "stopped", "interrupted", "incomplete", "complete")
"""Of several runs at once the first of these is the dataset's state."""


@dataclass(frozen=True)
class Run:
    """One run as its status file has it.

    ``state``: running, stale, complete, incomplete, stopped (it gave up), failed (an error), interrupted.
    ``age_s``: seconds since its last heartbeat by this machine's clock, None where no heartbeat was ever written.
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

    Raises UserError where no dataset is, and for storage that cannot be read.
    """
    store = Store.of(output)
    made = record.require(store)
    with plain_errors(store.url):
        claimed = sets.read(store)
        newest, older = runs.newest(store)
    found = [_run(run_id, values) for run_id, values in newest]
    counted = _counted(found)
    return Status(
        url=store.url,
        fingerprint=made.fingerprint,
        prompt_sets=tuple((item.name, len(item.digests)) for item in claimed),
        runs=tuple(counted),
        earlier=older + len(found) - len(counted),
    )


def _run(run_id: str, values: dict[str, Any]) -> Run:
    state = values.get("state", RUNNING)
    age = max(0.0, time.time() - values["time"]) if "time" in values else None
    if state not in _ORDER or (state == RUNNING and (age is None or age > STALE_AFTER * values["heartbeat_s"])):
        state = STALE
    return Run(run_id, state, age, values)


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
