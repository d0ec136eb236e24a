"""What a workbench remembers between its runs: the list with its undone changes, and what was being looked at."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clipseg_ray import json_text
from clipseg_ray.addresses import absolute
from clipseg_ray.errors import UserError
from clipseg_ray.storage import Store
from clipseg_ray.workbench.collection import Entry, History

FILE = "list.json"
VIEW_BYTES = 2**19
"""Of what the page was showing; what was painted is most of it."""


@dataclass(frozen=True)
class Kept:
    """history: the list's. view: what the page was showing, in its own words. table: SHA-256 of the table's bytes that
    the list was begun with, "" where it was begun with none."""

    history: History
    view: Mapping[str, Any] = field(default_factory=dict)
    table: str = ""


def folder_of(place: str) -> str:
    """Where a workbench on a configuration or input keeps its state: below the user's state folder (XDG)."""
    where = absolute(place)
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    name = re.sub(r"[^\w.-]+", "-", where.rstrip("/").rpartition("/")[2])[:40].strip("-.") or "images"
    return f"{absolute(base)}/clipseg-ray/workbench/{name}-{hashlib.sha256(where.encode()).hexdigest()[:12]}"


def read(store: Store) -> Kept | None:
    """What was kept; None where nothing is. Raises UserError for a file that cannot be read as it."""
    try:
        data = store.get(FILE)
    except FileNotFoundError:
        return None
    try:
        kept = json_text.load(data.decode())
        states = tuple(tuple(Entry(each["uid"], each["row"]) for each in state) for state in kept["states"])
        if not 0 <= kept["at"] < len(states):
            raise ValueError("its place among the changes is none of them")
        return Kept(History(states, kept["at"]), kept["view"], kept["table"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{store.url_of(FILE)}: the kept list cannot be read ({error}); move the file away to begin anew"
        ) from error


def write(store: Store, kept: Kept) -> None:
    """Keep it, whole or not at all."""
    states = [[{"uid": entry.uid, "row": entry.row} for entry in state] for state in kept.history.states]
    values = {"states": states, "at": kept.history.at, "view": kept.view, "table": kept.table}
    store.put(FILE, json.dumps(values, ensure_ascii=False).encode())


def table_hash(table: str) -> str:
    """SHA-256 (hex) of a table's bytes as they are now."""
    return hashlib.sha256(Store.of(table).get("")).hexdigest()
