"""Compacting on Ray: the files of a compacted dataset, made side by side. See ``upkeep.compaction``."""

from __future__ import annotations

import sys
import time

from clipseg_ray.cluster.connection import guard_a_local_cluster
from clipseg_ray.report import card
from clipseg_ray.results import layout
from clipseg_ray.storage import Store
from clipseg_ray.upkeep.compaction import Compaction, Compactor, Spec, prepare

_SAY_EVERY_S = 15.0


def compact(output: str, destination: str) -> str:
    """Make or bring up to date the compacted dataset ``destination`` of ``output``; say in one line what was done, in
    another what ``output`` lacks.

    Run again, it goes on where it was stopped; where nothing is new it needs no Ray. Raises UserError for anything
    that stops it.
    """
    job = prepare(output, destination)
    target = Store.of(job.spec.destination)
    lacks = ""
    if job.lacks:
        lacks = f"\n{job.spec.output} is incomplete: {'; '.join(job.lacks)}; run the job to its end and compact again"
    if not job.todo:
        if not target.exists(layout.CARD):
            card.write_or_warn(target)
        return f"Nothing to do: {job.spec.destination} has all of {job.spec.output} in {job.files} file(s){lacks}"
    guard_a_local_cluster()
    rows, size = _make(job)
    card.write_or_warn(target)
    return (
        f"{job.spec.destination}: {len(job.todo)} of {job.files} file(s) written and checked, {rows} rows, "
        f"{size / 1e6:.1f} MB{lacks}"
    )


def _make(job: Compaction) -> tuple[int, int]:
    """Rows and bytes written."""
    import ray

    from clipseg_ray.cluster.connection import connected
    from clipseg_ray.cluster.shard_map import map_shards

    rows = size = 0
    said = time.monotonic()
    with connected():
        workers = max(1, int(ray.cluster_resources().get("CPU", 1)))
        found = map_shards(_prepare, job.spec, job.todo, workers=workers, cpus=1, gpus=0)
        for number, (_, written) in enumerate(found, 1):
            rows, size = rows + written.rows, size + written.bytes
            if time.monotonic() - said > _SAY_EVERY_S:
                said = time.monotonic()
                print(f"files {number}/{len(job.todo)} · {size / 1e6:.0f} MB", file=sys.stderr, flush=True)
    return rows, size


def _prepare(spec: Spec) -> Compactor:
    return Compactor(spec)
