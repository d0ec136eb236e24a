"""Ray Data's view of the input: one read task per shard, one row per chunk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
from ray.data import Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

from clipseg_ray.pipeline.reader import Reader, ShardWork


class ShardDatasource(Datasource):
    """Reads the chunks that each shard lacks. Ray's own readers lose or merge rows on faults; this one may not."""

    def __init__(self, reader: Reader, work: Sequence[ShardWork]) -> None:
        self._reader = reader
        self._work = tuple(work)

    def get_name(self) -> str:
        """The operator's name in Ray's logs."""
        return "Shards"

    def estimate_inmemory_data_size(self) -> int | None:
        """Unknown: how many chunks a shard holds is known only once it has been read."""
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: object = None
    ) -> list[ReadTask]:
        """One task per shard, whatever parallelism is proposed: a shard is one sequential pass."""
        return [_read_task(self._reader, work) for work in self._work]


def _read_task(reader: Reader, work: ShardWork) -> ReadTask:
    def read() -> Iterator[pa.Table]:
        for row in reader.rows(work):
            yield row.to_arrow()

    metadata = BlockMetadata(num_rows=None, size_bytes=None, input_files=(work.shard.path,), exec_stats=None)
    return ReadTask(read, metadata)
