"""A stand-in for bytes that crash the process that handles them: one chunk ends whatever actor takes it, one
whatever reader."""

import os
from typing import Any

POISON_KEY = "1-004"
POISON_FOR_READERS = "2-004"


def install() -> None:
    """Patch this worker process."""
    from clipseg_ray.pipeline import reader, segmenter

    whole = segmenter.Segmenter.process
    read = reader.Reader.row

    def process(self: Any, row: Any, result: Any) -> None:
        if POISON_KEY in row.images.column("key").to_pylist():
            os._exit(1)
        whole(self, row, result)

    def row(self: Any, work: Any, chunk: Any, started: float) -> Any:
        if any(sample.key == POISON_FOR_READERS for sample in chunk.samples):
            os._exit(1)
        return read(self, work, chunk, started)

    segmenter.Segmenter.process = process
    reader.Reader.row = row
