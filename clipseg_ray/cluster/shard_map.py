"""One function over many shards on a Ray cluster: a few actors that each prepare once, results as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import ray
from ray.exceptions import RayActorError, RayTaskError

from clipseg_ray.errors import UserError, last_line

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

RETRIES = 2
"""Of a shard whose worker died."""


def map_shards(
    prepare: Callable[[S], Callable[[T], R]], spec: S, items: Sequence[T], *, workers: int, cpus: float, gpus: float
) -> Iterator[tuple[T, R]]:
    """``prepare(spec)(item)`` for each item, in the order they are done.

    Each of at most ``workers`` actors prepares once and holds ``cpus`` and ``gpus`` until no item waits for it; those
    the cluster has no room for do no harm. An item whose worker dies is tried again, RETRIES times. Raises what a
    worker raises: a UserError as it is, anything else as Ray's error; and UserError where workers cannot start or die
    again and again.
    """
    shared = ray.put(spec)
    actors = [
        _Worker.options(  # type: ignore[attr-defined]
            num_cpus=cpus, num_gpus=gpus, max_restarts=RETRIES, max_task_retries=RETRIES
        ).remote(prepare, shared)
        for _ in range(max(1, min(workers, len(items))))
    ]
    waiting = list(reversed(items))
    starting = {actor.started.remote(): actor for actor in actors}
    working: dict[Any, tuple[Any, T]] = {}

    def feed(actor: Any) -> None:
        if waiting:
            item = waiting.pop()
            working[actor.work.remote(item)] = (actor, item)
        else:  # what it holds may be all that another one, whose node was lost, waits for
            ray.kill(actor)

    try:
        while waiting or working:
            (done,), _ = ray.wait([*starting, *working], num_returns=1)
            result = _result(done)
            if done in starting:  # and not before: an actor that finds no room would keep its items from the others
                feed(starting.pop(done))
            else:
                actor, item = working.pop(done)
                feed(actor)
                yield item, result
    finally:
        for actor in actors:
            ray.kill(actor)


def _result(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise UserError(str(error.cause)) from error
        raise
    except RayActorError as error:
        raise UserError(f"a worker could not start, or died {RETRIES + 1} times: {last_line(error)}") from error


@ray.remote
class _Worker:
    def __init__(self, prepare: Callable[[Any], Callable[[Any], Any]], spec: Any) -> None:
        self._work = prepare(spec)

    def started(self) -> None:
        """Answered once the actor is there and has prepared."""

    def work(self, item: Any) -> Any:
        return self._work(item)
