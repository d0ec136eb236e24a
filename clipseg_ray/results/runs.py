"""``_runs/``: what each run was asked, what it did, and how far it is; one file per run, touched by no other."""

from __future__ import annotations

import contextlib
import json
import secrets
from datetime import UTC, datetime
from typing import Any

from clipseg_ray.errors import UserError
from clipseg_ray.redaction import redacted
from clipseg_ray.results import layout, own_files
from clipseg_ray.storage import Store, get_all

NEWEST = 200
"""Runs whose status is looked at: more drivers than that do not fill one output at once."""

_STATUS = ".status.json"


def new_run_id() -> str:
    """A name that sorts by start time: ``20260131T235959-1a2b3c``."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def write_record(store: Store, run_id: str, record: dict[str, Any]) -> None:
    """Put the run's record (JSON values), secrets in URLs hidden."""
    store.put(layout.run_record(run_id), redacted(json.dumps(record, indent=2, default=str)).encode())


def write_status(store: Store, run_id: str, status: dict[str, Any]) -> None:
    """Put the run's heartbeat (JSON values), secrets in URLs hidden."""
    store.put(layout.run_status(run_id), redacted(json.dumps(status, indent=2)).encode())


def read_status(store: Store, run_id: str) -> dict[str, Any]:
    """The run's last heartbeat. Raises FileNotFoundError, and UserError for one that cannot be read."""
    path = layout.run_status(run_id)
    return _heartbeat(store.get(path), store.url_of(path))


def last_record(store: Store) -> dict[str, Any]:
    """The record of the newest run that has one that can be read; empty where none has."""
    records = [path for path in own_files.names(store, layout.RUNS) if not path.endswith(_STATUS)]
    for path in reversed(records):
        with contextlib.suppress(UserError):
            return own_files.json_object(store.get(path), store.url_of(path))
    return {}


def newest(store: Store) -> tuple[list[tuple[str, dict[str, Any]]], int]:
    """(run_id, last heartbeat) of the newest runs, oldest first, and how many older ones were not looked at.

    A run that was cut off before its first heartbeat has its record's ``state`` and ``message`` instead, one whose file
    cannot be read a ``message`` that names it.
    """
    names = set(own_files.names(store, layout.RUNS))
    run_ids = sorted({name.rpartition("/")[2].partition(".")[0] for name in names})
    looked_at = run_ids[-NEWEST:]
    paths = [
        status if (status := layout.run_status(run_id)) in names else layout.run_record(run_id) for run_id in looked_at
    ]
    found = []
    for run_id, path, body in zip(looked_at, paths, get_all([store.url_of(path) for path in paths]), strict=True):
        try:
            found.append((run_id, _heartbeat(body, store.url_of(path))))
        except UserError as error:
            found.append((run_id, {"message": str(error)}))
    return found, len(run_ids) - len(looked_at)


def _heartbeat(body: bytes, name: str) -> dict[str, Any]:
    values = own_files.json_object(body, name, remedy="the run it tells of counts as stale")
    if not name.endswith(_STATUS):
        return {key: values[key] for key in ("state", "message") if key in values}
    for key in ("time", "heartbeat_s"):
        if not isinstance(values.get(key), int | float):
            raise UserError(f"{name}: has no number {key}; the run it tells of counts as stale")
    return values
