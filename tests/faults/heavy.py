"""Chunks that take their time, and a note of each one begun, so that a test can kill nodes in the middle and count what
was done twice. ``INSTALL`` is code for the driver's process; the workers find this module by its name."""

import os
import time
from collections import Counter
from pathlib import Path

from clipseg_ray.pipeline.row import ChunkRow
from clipseg_ray.pipeline.segmenter import ChunkResult, Segmenter

SECONDS = 1.5
INSTALL = """
from clipseg_ray.cluster.connection import expect_lost_nodes
expect_lost_nodes()  # as the driver does, before Ray is imported
from clipseg_ray.pipeline import graph, progress
from tests.faults.heavy import HeavySegmenter
graph.Segmenter = HeavySegmenter
progress.HEARTBEAT_S = 5.0
"""


class HeavySegmenter(Segmenter):
    """Holds its lock longer, as if the device were busy with the chunk; that costs a test no CPU."""

    def process(self, row: ChunkRow, result: ChunkResult) -> None:
        """Note the chunk, wait, then the usual."""
        notes = _notes(self.spec.output)
        notes.mkdir(exist_ok=True)
        with (notes / f"{os.getpid()}.txt").open("a") as file:
            file.write(f"{row.shard} {row.chunk}\n")
        with self._lock:
            time.sleep(SECONDS)
        super().process(row, result)


def begun(output: Path) -> Counter[str]:
    """How often each chunk of a run was begun."""
    return Counter(line for path in _notes(str(output)).glob("*.txt") for line in path.read_text().splitlines())


def busiest(output: Path) -> int:
    """The process that has begun most of a run's chunks."""
    notes = list(_notes(str(output)).glob("*.txt"))
    return int(max(notes, key=lambda path: path.stat().st_size).stem)


def _notes(output: str) -> Path:
    return Path(f"{output}-notes")
