"""How far the runs into a dataset are, read from the dataset alone."""

from __future__ import annotations

import time
from typing import Any

from clipseg_ray.errors import UserError
from clipseg_ray.results import inputs, layout, record, runs, sets
from clipseg_ray.results import shards as shard_records
from clipseg_ray.results.parts import PartIndex
from clipseg_ray.storage import Store, plain_errors


def text(output: str) -> str:
    """A few lines on the dataset, its prompt sets and its last run. Raises UserError where no dataset is."""
    store = Store.of(output)
    made = record.read(store)
    if made is None:
        raise UserError(f"{output}: no dataset here (no {layout.DATASET}); check the URL")
    with plain_errors(output):
        shards, _ = inputs.read(store)
        claimed = sets.read(store)
        index = PartIndex.listed(store, [layout.IMAGES, *(layout.masks_folder(item.name) for item in claimed)])
        read = len(shard_records.counts(store))
        history = runs.read_all(store)
    lines = [
        f"{store.url}  (fingerprint {made.fingerprint})",
        f"shards: {len(shards)} listed, {read} read to their end; images parts: {index.count(layout.IMAGES)}",
    ]
    for item in claimed:
        lines.append(
            f"{item.name}: {len(item.digests)} queries, {index.count(layout.masks_folder(item.name))} masks parts"
        )
    lines += [_run_line(*run) for run in history[-3:]]
    return "\n".join(lines)


def _run_line(run_id: str, made: dict[str, Any] | None, status: dict[str, Any] | None) -> str:
    state = (made or {}).get("state", "unknown")
    if state == "running" and status is not None:
        age = time.time() - status["time"]
        return (
            f"run {run_id}: running, chunks {status['chunks_done']}/{status['chunks_total']}, "
            f"images/s {status['images_per_s']:.1f}, failed {status['failed_chunks']}, said {age:.0f} s ago"
        )
    return f"run {run_id}: {state}. {(made or {}).get('message', '')}"
