"""The whole job: read shards → Segmenter pool. Two operators, one row per chunk, one small record back.

Ray Data settings that are not its defaults, and why:

* a block is one row: with larger blocks one poison chunk takes its neighbours along;
* errored blocks never end the run: the listing of parts says what is missing, and a second pass isolates it;
* retries are bounded (the default repeats a chunk that kills its worker for ever);
* each actor takes two calls at once, so that RLE and writing of one chunk overlap the model on the next.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext

from clipseg_ray.cluster import ray_internals
from clipseg_ray.cluster.awaited import awaited
from clipseg_ray.cluster.ray_internals import PoolState
from clipseg_ray.errors import brief
from clipseg_ray.pipeline.datasource import ShardDatasource
from clipseg_ray.pipeline.pool import Pool
from clipseg_ray.pipeline.reader import Reader, ShardWork
from clipseg_ray.pipeline.segmenter import ChunkResult, Segmenter, SegmenterSpec

TRIES = 3
CALLS_AT_ONCE = 2
CALLS_QUEUED = 4
_CALLBACK: Any = ray_internals.execution_callback() or object


def results(
    reader: Reader,
    work: Sequence[ShardWork],
    spec: SegmenterSpec,
    pool: Pool,
    *,
    isolate: bool = False,
    watch: Callable[[PoolState], None] = lambda state: None,
    lost: Callable[[str], None] = lambda cause: None,
    look: Callable[[], None] = lambda: None,
) -> Generator[ChunkResult, None, None]:
    """Run one pass and give each chunk's result as it comes.

    ``isolate``: one task in flight per actor, so that a chunk that kills its worker takes no other along. ``watch``
    is called about ten times a second from Ray Data's scheduling thread, as long as that is not held up. ``lost`` is
    called with the cause whenever a chunk is given up without a result: its worker died each time. ``look`` is called
    a few times a second from the caller's own thread while it waits, whatever Ray does; what it raises ends the pass.
    """
    Watch.executor = None
    Watch.watcher = staticmethod(watch)
    _settings()
    # Ray announces new names for these options in 2.64 and has none for them yet.
    warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
    shards = ShardDatasource(reader, work)
    dataset = ray.data.read_datasource(
        shards,
        override_num_blocks=len(shards),
        num_cpus=pool.reader_cpus,
        ray_remote_args={"max_retries": TRIES - 1},
    ).map_batches(
        Segmenter,
        fn_constructor_args=(spec,),
        batch_size=1,
        batch_format="pyarrow",
        zero_copy_batch=True,
        num_cpus=pool.actor_cpus,
        num_gpus=pool.actor_gpus or None,
        memory=pool.actor_memory,
        max_restarts=-1,
        max_task_retries=TRIES - 1,
        compute=ActorPoolStrategy(
            min_size=pool.min,
            max_size=pool.max,
            initial_size=pool.initial,
            max_tasks_in_flight_per_actor=1 if isolate else CALLS_QUEUED,
            max_concurrent_calls_per_actor=1 if isolate else CALLS_AT_ONCE,
            enable_true_multi_threading=True,
        ),
    )
    with _quiet(lost):
        blocks = dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1)
        for block in awaited(blocks, look, _leave):
            assert isinstance(block, pa.Table)
            for text in block.column("result").to_pylist():
                yield ChunkResult.from_json(text)


def _leave() -> None:
    Watch.watcher = staticmethod(_left)
    ray_internals.shut_down(Watch.executor)


def _left(state: PoolState) -> None:
    raise RuntimeError("nobody waits for this pass any more")


class _LostBlocks(logging.Handler):
    """Ray Data reports a block it gives up only in its log."""

    def __init__(self, lost: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._lost = lost

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self._lost(brief(record.exc_info[1]))


@contextmanager
def _quiet(lost: Callable[[str], None]) -> Iterator[None]:
    """Keep Ray Data's own lines off the console (its log file has them) and pass on what it says of lost blocks."""
    logger = logging.getLogger("ray.data")
    console = [handler for handler in logger.handlers if isinstance(handler, logging.StreamHandler)]
    levels = [handler.level for handler in console]
    listener = _LostBlocks(lost)
    logger.addHandler(listener)
    for handler in console:
        handler.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.removeHandler(listener)
        for handler, level in zip(console, levels, strict=True):
            handler.setLevel(level)


def _settings() -> None:
    context = DataContext.get_current()
    context.target_max_block_size = 1
    context.max_errored_blocks = -1
    context.execution_options.preserve_order = False
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.enable_auto_log_stats = False
    context.log_internal_stack_trace = False
    context.max_consecutive_actor_init_deaths = TRIES
    context.custom_execution_callback_classes = [] if _CALLBACK is object else [Watch]


class Watch(_CALLBACK):
    """Hands the state of the actor pool to the watcher of the running pass, and keeps Ray Data's memory bounded.

    Ray Data keeps statistics of every block of every operator until the end, for a summary that nobody asks for here:
    1 kB a block, 2 GB in a million chunks. All but the last are thrown away.

    Ray Data makes the instance itself and pickles the class with its settings, so the watcher (a closure over the
    driver's state) cannot be a part of it.
    """

    watcher: ClassVar[Callable[[PoolState], None]] = staticmethod(lambda state: None)
    executor: ClassVar[Any] = None
    """Ray Data's, of the running pass."""

    def __init__(self) -> None:
        self._seen_at = 0.0

    def before_execution_starts(self, executor: Any) -> None:
        """Called by Ray Data before the first step."""
        Watch.executor = executor

    def on_execution_step(self, executor: Any) -> None:
        """Called by Ray Data at each step of its scheduling loop; an exception ends the pass."""
        now = time.monotonic()
        if now - self._seen_at < 0.1:
            return
        self._seen_at = now
        ray_internals.forget_block_statistics(executor)
        Watch.watcher(ray_internals.pool_state(executor))
