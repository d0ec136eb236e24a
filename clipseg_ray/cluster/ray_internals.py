"""What is asked of Ray under names that are not public, each of which any release may change without notice.

All such names are here, and nothing rests on one: a getter whose name has gone answers None, or does nothing, and a
number nobody knows is left out of what is said. None ends a run. Ray itself is imported on the first question.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def _none_if_renamed(ask: Callable[P, T]) -> Callable[P, T | None]:
    """``ask``, or None where a name in it is not there any more, or is another thing now."""

    @functools.wraps(ask)
    def asked(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return ask(*args, **kwargs)
        except (AttributeError, ImportError, LookupError, TypeError):
            return None

    return asked


@dataclass(frozen=True)
class PoolState:
    """Ray Data's pool of actors: how many are ready, how many are not yet, how many blocks wait for one.

    None is what this Ray does not report.
    """

    running: int | None = None
    pending: int | None = None
    queue: int | None = None


@dataclass(frozen=True)
class Launches:
    """What an autoscaler does: nodes on their way by type, and the last launch that failed (type, why).

    None where there is no such launch, and where this Ray does not report it.
    """

    pending: Mapping[str, int] | None
    failed: tuple[str, str] | None


@_none_if_renamed
def execution_callback() -> type:
    """The base class of what Ray Data calls at each step of its scheduling loop."""
    from ray.data._internal.execution.execution_callback import ExecutionCallback

    return ExecutionCallback


def pool_state(executor: Any) -> PoolState:
    """The pool of actors at the end of the job that ``executor`` (Ray Data's, of its callbacks) carries out."""
    *_, (operator, state) = _operators(executor).items() or [(None, None)]
    return PoolState(_running(operator), _pending(operator), _queue(state))


@_none_if_renamed
def shut_down(executor: Any) -> None:
    """End the job that ``executor`` carries out; nothing happens where none is known."""
    executor.shutdown(force=False)


def forget_block_statistics(executor: Any) -> None:
    """Throw away all but the last of the statistics of every block that Ray Data keeps until a job's end."""
    for operator in _operators(executor):
        _forget(operator)


def _operators(executor: Any) -> Mapping[Any, Any]:
    """Ray Data's operators, each with its state, from the first to the last; none before the job has begun."""
    return getattr(executor, "_topology", None) or {}


@_none_if_renamed
def _running(operator: Any) -> int:
    return int(operator.get_actor_info().running)


@_none_if_renamed
def _pending(operator: Any) -> int:
    actors = operator.get_actor_info()
    return int(actors.pending + actors.restarting)


@_none_if_renamed
def _queue(state: Any) -> int:
    return int(state.total_enqueued_input_blocks())


@_none_if_renamed
def _forget(operator: Any) -> None:
    del operator._output_blocks_stats[:-1]


@_none_if_renamed
def most_resources() -> Mapping[str, float] | None:
    """The most the connected cluster can have of each resource; None where it does not report it."""
    from ray._private.state import state

    found: Mapping[str, float] | None = state.get_max_resources_from_cluster_config()
    return found


def launches() -> Launches:
    """What the connected cluster's autoscaler does."""
    status = _autoscaler_status()
    return Launches(_on_their_way(status), _last_failed(status))


@_none_if_renamed
def _autoscaler_status() -> Any:
    import ray
    from ray.autoscaler.v2.sdk import get_cluster_status

    return get_cluster_status(ray.get_runtime_context().gcs_address)


@_none_if_renamed
def _on_their_way(status: Any) -> Mapping[str, int]:
    counts: Counter[str] = Counter()
    for launch in status.pending_launches:
        counts[launch.ray_node_type_name] += launch.count
    counts.update(node.ray_node_type_name for node in status.pending_nodes)
    return counts


@_none_if_renamed
def _last_failed(status: Any) -> tuple[str, str]:
    last = status.failed_launches[-1]
    return last.ray_node_type_name, " ".join(str(last.details).split())


@_none_if_renamed
def starting_actors() -> int:
    """How many of this job's actors have a process on a node, with all they asked for, and are not ready yet."""
    import ray
    from ray._private.state import state

    actors = state.actor_table(None, ray.JobID.from_hex(ray.get_runtime_context().get_job_id()))
    waiting = [actor for actor in actors.values() if actor["State"] in ("PENDING_CREATION", "RESTARTING")]
    # A node is named as soon as it is asked for a place; the address of a process is there once it gave one.
    return sum(bool(actor["Address"]["IPAddress"]) for actor in waiting)


@_none_if_renamed
def scheduling() -> bool:
    """Whether a thread of Ray Data's still schedules: until it ends, it calls Ray."""
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

    return any(isinstance(thread, StreamingExecutor) for thread in threading.enumerate())


@_none_if_renamed
def workers_killed_for_memory() -> int:
    """How many worker processes Ray's memory monitor has killed on the connected cluster."""
    from ray._private.state import state
    from ray.core.generated import common_pb2, gcs_pb2

    killed = common_pb2.WorkerExitType.Value("NODE_OUT_OF_MEMORY")  # type: ignore[attr-defined]
    read = gcs_pb2.WorkerTableData.FromString  # type: ignore[attr-defined]
    workers = map(read, state._connect_and_get_accessor().get_worker_table())
    return sum(worker.exit_type == killed for worker in workers if not worker.is_alive)


def is_head(resources: Mapping[str, float]) -> bool:
    """Whether a node with these resources is the cluster's head; no node is where Ray marks it in another way."""
    return "node:__internal_head__" in resources
