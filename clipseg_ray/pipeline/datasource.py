"""Ray Data's view of the input: read tasks over the shards, one row per chunk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import torch  # noqa: F401 (with the task, not with its first image: a reader's clock is running by then)
from ray.data import Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

from clipseg_ray.pipeline.reader import Reader, ShardWork

TASKS = 4096
"""Read tasks at most. Ray Data makes them all before the first one runs, and holds each until the end."""


class ShardDatasource(Datasource):
    """Reads the chunks that each shard lacks. Ray's own readers lose or merge rows on faults; this one may not."""

    def __init__(self, reader: Reader, work: Sequence[ShardWork]) -> None:
        self._reader = reader
        self._work = tuple(work)

    def __len__(self) -> int:
        """Read tasks there are."""
        return min(TASKS, len(self._work))

    def get_name(self) -> str:
        """The operator's name in Ray's logs."""
        return "Shards"

    def estimate_inmemory_data_size(self) -> int | None:
        """Unknown: how many chunks a shard holds is known only once it has been read."""
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: object = None
    ) -> list[ReadTask]:
        """One task per shard, whatever parallelism is proposed: a shard is one sequential pass.

        Where there are more than ``TASKS`` shards a task reads several, one after the other.
        """
        metadata = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        tasks = len(self)
        return [ReadTask(_Reading(self._reader, self._work[start::tasks]), metadata) for start in range(tasks)]


class _Reading:
    """What a read task does. A class and no closure: those are pickled with their code, each anew."""

    def __init__(self, reader: Reader, work: Sequence[ShardWork]) -> None:
        self._reader = reader
        self._work = work
        self.__name__ = "read"  # Ray names its tasks by it

    def __call__(self) -> Iterator[pa.Table]:
        for item in self._work:
            for row in self._reader.rows(item):
                yield row.to_arrow()
