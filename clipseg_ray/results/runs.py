"""``_runs/``: what each run was asked, what it did, and how far it is; one file per run, touched by no other."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from typing import Any

from clipseg_ray.results import layout
from clipseg_ray.storage import Store, get_all

NEWEST = 200
"""Runs whose status is looked at: more drivers than that do not fill one output at once."""


def new_run_id() -> str:
    """A name that sorts by start time: ``20260131T235959-1a2b3c``."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def write_record(store: Store, run_id: str, record: dict[str, Any]) -> None:
    """Put the run's record (JSON values)."""
    store.put(layout.run_record(run_id), json.dumps(record, indent=2, default=str).encode())


def write_status(store: Store, run_id: str, status: dict[str, Any]) -> None:
    """Put the run's heartbeat (JSON values)."""
    store.put(layout.run_status(run_id), json.dumps(status, indent=2).encode())


def read_status(store: Store, run_id: str) -> dict[str, Any]:
    """The run's last heartbeat. Raises FileNotFoundError."""
    values: dict[str, Any] = json.loads(store.get(layout.run_status(run_id)))
    return values


def read_all(store: Store) -> list[tuple[str, dict[str, Any] | None, dict[str, Any] | None]]:
    """(run_id, record or None, last status or None) of every run, oldest first."""
    found: dict[str, list[dict[str, Any] | None]] = {}
    for entry in store.list(layout.RUNS):
        name = entry.path.rpartition("/")[2]
        run_id, _, kind = name.partition(".")
        pair = found.setdefault(run_id, [None, None])
        pair[0 if kind == "json" else 1] = json.loads(store.get(entry.path))
    return [(run_id, *found[run_id]) for run_id in sorted(found)]  # type: ignore[misc]


def newest(store: Store) -> tuple[list[tuple[str, dict[str, Any]]], int]:
    """(run_id, last heartbeat) of the newest runs, oldest first, and how many older ones were not looked at.

    A run that was cut off before its first heartbeat has its record's ``state`` and ``message`` instead.
    """
    names = {entry.path for entry in store.list(layout.RUNS)}
    run_ids = sorted({name.rpartition("/")[2].partition(".")[0] for name in names})
    looked_at = run_ids[-NEWEST:]
    paths = [
        status if (status := layout.run_status(run_id)) in names else layout.run_record(run_id) for run_id in looked_at
    ]
    found = []
    for run_id, path, body in zip(looked_at, paths, get_all([store.url_of(path) for path in paths]), strict=True):
        values = json.loads(body)
        if path == layout.run_record(run_id):
            values = {key: values[key] for key in ("state", "message") if key in values}
        found.append((run_id, values))
    return found, len(run_ids) - len(looked_at)
