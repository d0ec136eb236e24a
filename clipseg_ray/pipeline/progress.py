"""How far a run is: a bar on a terminal, one plain line at a time elsewhere, and a status file in the output."""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from clipseg_ray.pipeline.plan import Work
from clipseg_ray.pipeline.segmenter import ChunkResult

HEARTBEAT_S = 15.0
ROLLING_S = 180.0
EXAMPLES = 3


@dataclass
class Totals:
    """What the chunks of one run came to."""

    chunks: int = 0
    images: int = 0
    masks: int = 0
    nonempty: int = 0
    bytes: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    failures: dict[str, list[str]] = field(default_factory=dict)

    def add(self, result: ChunkResult) -> None:
        """Count one chunk."""
        if result.failure is not None:
            self.failed += 1
            self.failures.setdefault(result.failure, []).append(f"{result.shard}-{result.chunk}")
            return
        self.chunks += 1
        self.images += result.images
        self.masks += result.masks
        self.nonempty += result.nonempty
        self.bytes += result.bytes
        self.statuses.update(result.statuses)
        self.seconds.update(result.seconds)

    def as_json(self) -> dict[str, Any]:
        """JSON values for the run record."""
        return {
            "chunks": self.chunks,
            "images": self.images,
            "masks": self.masks,
            "nonempty_masks": self.nonempty,
            "bytes": self.bytes,
            "images_by_status": dict(self.statuses),
            "seconds_by_step": {step: round(value, 2) for step, value in self.seconds.items()},
            "failed_chunks": self.failed,
            "failures": [
                {"cause": cause, "chunks": len(chunks), "examples": chunks[:EXAMPLES]}
                for cause, chunks in self.failures.items()
            ],
        }


class Reporter:
    """Tells a person how far the run is; ``snapshot`` gives the same as JSON values."""

    def __init__(self, run_id: str, work: Work, stream: Any = None) -> None:
        self.run_id = run_id
        self.totals = Totals()
        self.actors = 0
        self.note = ""
        self._chunks_done = work.chunks_done
        self._chunks_total = max(work.chunks_estimate, work.chunks_done)
        self._estimated = work.shards_unread > 0
        self._started = time.monotonic()
        self._said = self._started
        self._recent: deque[tuple[float, int, int]] = deque([(self._started, 0, 0)])
        self._console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None

    def __enter__(self) -> Reporter:
        if self._console.is_terminal:
            self._bar = Progress(BarColumn(), TextColumn("{task.description}"), console=self._console, transient=True)
            self._bar.add_task(self.line(), total=self._chunks_total, completed=self._chunks_done)
            self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def add(self, result: ChunkResult) -> None:
        """Count a chunk and move the bar."""
        self.totals.add(result)
        if result.failure is None:
            self._chunks_done += 1
            self._chunks_total = max(self._chunks_total, self._chunks_done)

    def heartbeat(self, force: bool = False) -> bool:
        """Say where the run is if it is time to; True when something was said."""
        now = time.monotonic()
        self._recent.append((now, self.totals.images, self.totals.masks))
        while len(self._recent) > 2 and now - self._recent[0][0] > ROLLING_S:
            self._recent.popleft()
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0],
                completed=self._chunks_done,
                total=self._chunks_total,
                description=self.line(),
            )
        if not force and now - self._said < HEARTBEAT_S:
            return False
        self._said = now
        if self._bar is None:
            self._console.print(self.line(), markup=False)
        return True

    def say(self, text: str) -> None:
        """One line of its own."""
        self._console.print(text, markup=False)

    def line(self) -> str:
        """The heartbeat: chunks, rates over the last minutes and the whole run, actors, failures, time left."""
        found = self.snapshot()
        about = "~" if self._estimated else ""
        parts = [
            f"chunks {found['chunks_done']}/{about}{found['chunks_total']}",
            f"images/s {found['images_per_s']:.1f} (whole run {found['images_per_s_lifetime']:.1f})",
            f"masks/s {found['masks_per_s']:.0f}",
            f"actors {found['actors']}",
            f"failed {found['failed_chunks']}",
            f"ETA {_duration(found['eta_s'])}",
        ]
        return " · ".join([*parts, self.note] if self.note else parts)

    def snapshot(self) -> dict[str, Any]:
        """The state as JSON values."""
        now = time.monotonic()
        elapsed = max(now - self._started, 1e-6)
        since, images, masks = self._recent[0]
        window = max(now - since, 1e-6)
        left = self._chunks_total - self._chunks_done
        return {
            "run_id": self.run_id,
            "elapsed_s": round(elapsed, 1),
            "chunks_done": self._chunks_done,
            "chunks_total": self._chunks_total,
            "chunks_total_is_estimate": self._estimated,
            "images_per_s": (self.totals.images - images) / window,
            "images_per_s_lifetime": self.totals.images / elapsed,
            "masks_per_s": (self.totals.masks - masks) / window,
            "actors": self.actors,
            "failed_chunks": self.totals.failed,
            "eta_s": left * elapsed / self.totals.chunks if self.totals.chunks else None,
            "note": self.note,
        }


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"
