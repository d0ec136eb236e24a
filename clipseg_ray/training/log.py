"""The log of a run: one JSON object a line, rewritten as a whole, since object stores do not append."""

from __future__ import annotations

import json
from typing import Any

from clipseg_ray.storage import Store

NAME = "log.jsonl"


class Log:
    """Records by step; what came after the step a run goes on from is forgotten."""

    def __init__(self, store: Store, steps_done: int) -> None:
        self._store = store
        self.records: list[dict[str, Any]] = []
        if steps_done and store.exists(NAME):
            found = [json.loads(line) for line in store.get(NAME).decode().splitlines()]
            self.records = [record for record in found if record["step"] <= steps_done]

    def add(self, record: dict[str, Any]) -> None:
        """Keep a record; it needs a ``step``, counted from 1."""
        self.records.append({key: _short(value) for key, value in record.items()})

    def write(self) -> None:
        """Put all records."""
        self._store.put(NAME, "".join(f"{json.dumps(each, ensure_ascii=False)}\n" for each in self.records).encode())


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _short(inner) for key, inner in value.items()}
    return value


def described(record: dict[str, Any], steps: int) -> str:
    """A record as a line for a person; ``steps`` is the number of the last."""
    line = (
        f"step {record['step']}/{steps}: loss {record['loss']:.4f} (masks {record['bce']:.4f}), "
        f"{record['seconds']:.2f} s a step, of which {record['waited']:.2f} s waiting for data"
    )
    measured = [
        f"\n  {kind}: " + ", ".join(f"{name} {value:.3f}" for name, value in scores.items() if value is not None)
        for kind, scores in record.get("validation", {}).items()
    ]
    return line + "".join(measured)
