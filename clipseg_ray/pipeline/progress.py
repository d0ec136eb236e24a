"""How far a run is: a bar on a terminal, one plain line at a time elsewhere, and the values of its status file."""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from clipseg_ray.pipeline.failures import Failures
from clipseg_ray.pipeline.plan import Work
from clipseg_ray.pipeline.reader import WHOLE_SHARD
from clipseg_ray.pipeline.segmenter import ChunkResult
from clipseg_ray.printable import printable
from clipseg_ray.redaction import redacted
from clipseg_ray.report import status_text as words
from clipseg_ray.results import layout
from clipseg_ray.results.completeness import Missing

HEARTBEAT_S = 15.0
ROLLING_S = 180.0
MISSING_NAMED = 10


@dataclass(kw_only=True)
class Totals:
    """What the chunks of one run came to, each counted once: a part that was lost is computed again.

    ``conflicts``: chunks of which another run put other rows, and the parts.
    """

    chunks: int = 0
    images: int = 0
    encoded: int = 0
    """Bytes of the images as they were read."""
    phrases: int = 0
    masks: int = 0
    nonempty: int = 0
    bytes: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    cut: dict[str, int] = field(default_factory=dict)
    failures: Failures = field(default_factory=Failures)
    conflicts: dict[tuple[str, int], str] = field(default_factory=dict)
    _counted: dict[str, bytearray] = field(default_factory=dict)
    """By shard, a byte a chunk: a million chunks are one megabyte."""

    def add(self, result: ChunkResult) -> None:
        """Count one chunk that has its parts, unless it was counted before."""
        counted = self._counted.setdefault(result.shard, bytearray())
        counted.extend(bytes(max(0, result.chunk + 1 - len(counted))))
        if counted[result.chunk]:
            return
        counted[result.chunk] = 1
        self.chunks += 1
        self.images += result.images
        self.encoded += result.encoded
        self.phrases += result.phrases
        self.masks += result.masks
        self.nonempty += result.nonempty
        self.bytes += result.bytes
        self.statuses.update(result.statuses)
        self.seconds.update(result.seconds)
        self.cut |= result.cut if len(self.cut) < 10_000 else {}

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
            "failed_chunks": self.failures.count,
            "failures": self.failures.as_json(),
        }


class Reporter:
    """Reports to a person how far the run is; ``snapshot`` gives the same as JSON values."""

    def __init__(self, run_id: str, work: Work, stream: Any = None) -> None:
        self.run_id = run_id
        self.totals = Totals()
        self.actors: int | None = 0
        self.actors_pending: int | None = 0
        self.queue: int | None = 0
        """Chunks that are read and wait for an actor. These three are None while Ray does not report them."""
        self.doing = "starting"
        self.note = ""
        """What the run waits for."""
        self._missing: list[dict[str, Any]] = []
        self._missing_chunks: int | None = None
        self.planned(work)
        self._started = self._last_chunk = time.monotonic()
        self._said = self._started
        self._recent: deque[tuple[float, int, int, int]] = deque([(self._started, 0, 0, 0)])
        self._console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None

    def __enter__(self) -> Reporter:
        if self._console.is_terminal:
            self._bar = Progress(BarColumn(), TextColumn("{task.description}"), console=self._console, transient=True)
            self._bar.add_task(self.line(), total=self._chunks_total(), completed=self._chunks_done)
            self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def planned(self, work: Work) -> None:
        """What there is to do, as the last look at the dataset found it."""
        self._paths = {item.shard.shard_id: item.shard.path for item in work.todo}
        self._chunks_done = work.chunks_done
        self._work = work

    def add(self, result: ChunkResult) -> None:
        """Count a chunk, done or failed."""
        if result.failure is not None:
            where = self._paths.get(result.shard, result.shard)
            if result.chunk >= 0:
                where += f" chunk {result.chunk} ({layout.part_name(result.shard, result.chunk)})"
            self.totals.failures.add(result.failure, (result.shard, result.chunk), where)
            if result.conflict:
                self.totals.conflicts[result.shard, result.chunk] = f"{where}: {result.failure}"
            return
        self.totals.conflicts.pop((result.shard, result.chunk), None)
        self.totals.add(result)
        self._last_chunk = time.monotonic()
        self._chunks_done += 1

    def surveyed(self, left: Work, found: Sequence[Missing], doing: str) -> None:
        """What a look at the dataset found done and missing, and what is done about it."""
        self.doing = doing
        self._chunks_done, self._work = left.chunks_done, left
        self._missing_chunks = len(found)
        self._missing = [
            {
                "path": item.path,
                "shard": item.shard_id,
                "chunk": item.chunk,
                "part": None if item.chunk is None else layout.part_name(item.shard_id, item.chunk),
                "lacks": list(item.folders),
                "cause": self._cause(item),
            }
            for item in found[:MISSING_NAMED]
        ]

    def _chunks_total(self) -> int:
        """All chunks; those of unread shards by what this run's images turned out to weigh."""
        seen, work = self.totals, self._work
        image_bytes = seen.encoded / seen.images if seen.encoded else work.image_bytes
        return max(work.chunks_known + work.unread.chunks(image_bytes), self._chunks_done)

    def _cause(self, item: Missing) -> str | None:
        failures = self.totals.failures
        own = None if item.chunk is None else failures.cause_of((item.shard_id, item.chunk))
        return own or failures.cause_of((item.shard_id, WHOLE_SHARD)) or failures.unclaimed

    def ended(self) -> None:
        """The run is over: nobody works or waits any more."""
        self.doing = self.note = ""
        self.actors = self.actors_pending = self.queue = 0

    def heartbeat(self) -> bool:
        """Say where the run is if it is time to; True when something was said."""
        now = time.monotonic()
        self._recent.append((now, self.totals.images, self.totals.masks, self.totals.chunks))
        while len(self._recent) > 2 and now - self._recent[0][0] > ROLLING_S:
            self._recent.popleft()
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0],
                completed=self._chunks_done,
                total=self._chunks_total(),
                description=self.line(),
            )
        if now - self._said < HEARTBEAT_S:
            return False
        self._said = now
        if self._bar is None:
            self._console.print(self.line(), markup=False)
        return True

    def say(self, text: str) -> None:
        """One line of its own, secrets in URLs hidden."""
        self._console.print(printable(redacted(text)), markup=False)

    def line(self) -> str:
        """The heartbeat: chunks, rates over the last minutes and the whole run, actors, failures, time left."""
        return words.line(self.snapshot())

    def snapshot(self) -> dict[str, Any]:
        """The state as JSON values: what ``_runs/<run-id>.status.json`` holds (documented in docs/watching.md)."""
        now = time.monotonic()
        elapsed = max(now - self._started, 1e-6)
        since, images, masks, chunks = self._recent[0]
        window = max(now - since, 1e-6)
        totals = self.totals
        total = self._chunks_total()
        left = total - self._chunks_done
        pace = (totals.chunks - chunks) / window or totals.chunks / elapsed
        return {
            "run_id": self.run_id,
            "heartbeat_s": HEARTBEAT_S,
            "doing": self.doing,
            "waits_for": self.note,
            "elapsed_s": round(elapsed, 1),
            "chunks_done": self._chunks_done,
            "chunks_total": total,
            "chunks_total_is_estimate": self._work.shards_unread > 0,
            "eta_s": left / pace if pace else None,
            "last_chunk_s": round(now - self._last_chunk, 1),
            "images_per_s": (totals.images - images) / window,
            "images_per_s_lifetime": totals.images / elapsed,
            "masks_per_s": (totals.masks - masks) / window,
            "masks_per_s_lifetime": totals.masks / elapsed,
            "actors": self.actors,
            "actors_pending": self.actors_pending,
            "queue": self.queue,
            **totals.as_json(),
            "missing_chunks": self._missing_chunks,
            "missing": self._missing,
        }
