"""What a run reports to Prometheus, through Ray: sums that the driver keeps anyway, handed on about once a second.

Nothing is added to the way of a chunk, and a number is the same here, in the status file and in the run's record.
Ray puts ``ray_`` before every name and ``_total`` behind a counter's; configs/grafana/ has a dashboard of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache

from ray.util.metrics import Counter, Gauge

from clipseg_ray.pipeline.progress import Reporter

TAGS = ("output", "run")
"""On every metric: the dataset's URL and the run's id."""

COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "clipseg_chunks": ("Chunks whose parts are all written.", ()),
    "clipseg_images": ("Images of those chunks, by status: ok, or why there are no masks.", ("status",)),
    "clipseg_masks": ("Rows of masks written, by what they hold: found or empty.", ("kind",)),
    "clipseg_bytes": ("Bytes of parts written.", ()),
    "clipseg_failures": ("Tries of a chunk that failed.", ()),
    "clipseg_step_seconds": (
        "Seconds spent by all workers, by step: read, decode, model, rle, write.",
        ("step",),
    ),
}
GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "clipseg_chunks_done": ("Chunks done, those of earlier runs included.", ()),
    "clipseg_chunks_planned": ("Chunks there are to do and done; an estimate until every shard has been read.", ()),
    "clipseg_queue": ("Chunks that are read and decoded and wait for an actor.", ()),
    "clipseg_actors": ("Actors by state: running or pending.", ("state",)),
    "clipseg_eta_seconds": ("Seconds left at the present pace.", ()),
}


class Prometheus:
    """One run's metrics."""

    def __init__(self, output: str, run_id: str) -> None:
        self._tags = {"output": output, "run": run_id}
        self._sent: dict[tuple[str, str], float] = {}

    def emit(self, reporter: Reporter) -> None:
        """Hand on what the reporter has counted since the last time; a fault of Ray's is no fault of the run's."""
        with contextlib.suppress(Exception):
            self._emit(reporter)

    def _emit(self, reporter: Reporter) -> None:
        counters, gauges = _instruments()
        for name, tag, value in _sums(reporter):
            new = value - self._sent.get((name, tag), 0)
            if new > 0:
                counters[name].inc(new, self._tagged(COUNTERS[name][1], tag))
                self._sent[name, tag] = value
        for name, tag, level in _levels(reporter):
            if level is not None:
                gauges[name].set(level, self._tagged(GAUGES[name][1], tag))

    def _tagged(self, keys: tuple[str, ...], value: str) -> dict[str, str]:
        return {**self._tags, **dict.fromkeys(keys, value)}


@cache
def _instruments() -> tuple[dict[str, Counter], dict[str, Gauge]]:
    return (
        {name: Counter(name, about, (*TAGS, *keys)) for name, (about, keys) in COUNTERS.items()},
        {name: Gauge(name, about, (*TAGS, *keys)) for name, (about, keys) in GAUGES.items()},
    )


def _sums(reporter: Reporter) -> Iterator[tuple[str, str, float]]:
    """(name, its own tag's value, sum since the run began)."""
    totals = reporter.totals
    yield "clipseg_chunks", "", totals.chunks
    for status, images in dict(totals.statuses).items():
        yield "clipseg_images", status, images
    yield "clipseg_masks", "found", totals.nonempty
    yield "clipseg_masks", "empty", totals.masks - totals.nonempty
    yield "clipseg_bytes", "", totals.bytes
    yield "clipseg_failures", "", totals.failures.count
    for step, seconds in dict(totals.seconds).items():
        yield "clipseg_step_seconds", step, seconds


def _levels(reporter: Reporter) -> Iterator[tuple[str, str, float | None]]:
    """(name, its own tag's value, level now or None: unknown)."""
    found = reporter.snapshot()
    yield "clipseg_chunks_done", "", found["chunks_done"]
    yield "clipseg_chunks_planned", "", found["chunks_total"]
    yield "clipseg_queue", "", found["queue"]
    yield "clipseg_actors", "running", found["actors"]
    yield "clipseg_actors", "pending", found["actors_pending"]
    yield "clipseg_eta_seconds", "", found["eta_s"]
