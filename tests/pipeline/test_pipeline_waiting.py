"""A pass for which Ray does nothing: when it is given up, and what is said."""

import io
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from clipseg_ray.cluster.capacity import Capacity
from clipseg_ray.cluster.ray_internals import PoolState
from clipseg_ray.config import PoolConfig
from clipseg_ray.pipeline import execute, graph, nodes
from clipseg_ray.pipeline.breaker import RunStopped
from clipseg_ray.pipeline.pool import pool_of
from clipseg_ray.pipeline.progress import Reporter
from tests.pipeline import world


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A watch with ``pool.wait_s: 30``, its clock, and what the cluster tells."""
    clock = [0.0]
    told: dict[str, Any] = {"killed": 7}
    monkeypatch.setattr(execute, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(nodes, "_EVERY_S", 0.01)
    monkeypatch.setattr(nodes.ray, "nodes", list)
    monkeypatch.setattr(nodes, "there_and_free", lambda: "the cluster has 2 CPU, free are 0 CPU")
    monkeypatch.setattr(nodes, "launching", lambda: "")
    monkeypatch.setattr(nodes.ray_internals, "starting_actors", lambda: 0)
    looked = threading.Event()

    def killed() -> int:
        looked.set()
        return int(told["killed"])

    monkeypatch.setattr(nodes.ray_internals, "workers_killed_for_memory", killed)
    settings = PoolConfig(wait_s=30)
    settled: Any = SimpleNamespace(plan=SimpleNamespace(config=SimpleNamespace(pool=settings)))
    pool = pool_of(settings, "cpu", Capacity({"CPU": 2}), 10)
    watch = execute._Watch(settled, pool, Reporter("run", world.work(), io.StringIO()), None)
    assert looked.wait(30)
    yield SimpleNamespace(watch=watch, clock=clock, told=told)
    watch.stop()


def test_a_thread_of_ray_that_hangs_ends_the_run_all_the_same(watching: Any) -> None:
    watching.watch.step(PoolState(running=2, pending=0, queue=1))
    watching.clock[0] = 31.0  # and not a step since: the last word was that all was well
    with pytest.raises(RunStopped, match=r"Nothing could start for 31 s: an actor needs 0\.75 CPU; the cluster has"):
        watching.watch.look()


def test_actors_that_compute_for_long_are_no_reason(watching: Any) -> None:
    for seconds in range(0, 300, 20):
        watching.clock[0] = float(seconds)
        watching.watch.step(PoolState(running=1, pending=1, queue=0))
        watching.watch.look()
    watching.watch.step(PoolState(running=0, pending=2, queue=0))
    watching.clock[0] += 29
    watching.watch.look()
    watching.watch.progressed()
    watching.clock[0] += 29
    watching.watch.look()


def test_where_ray_does_not_tell_nothing_is_concluded(watching: Any) -> None:
    watching.clock[0] = 1000.0
    watching.watch.look()


def test_workers_killed_for_memory_are_named(watching: Any) -> None:
    watching.told["killed"] = 12
    deadline = threading.Event()
    for _ in range(1000):
        if "killed" in watching.watch._nodes.there:
            break
        deadline.wait(0.01)
    watching.watch.step(PoolState(running=0, pending=2))
    watching.clock[0] = 40.0
    with pytest.raises(RunStopped, match=r"Ray's memory monitor killed 5 worker\(s\) since then, memory is short"):
        watching.watch.look()


def test_a_pass_that_was_left_is_not_watched_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []
    executor = SimpleNamespace(_topology={}, shutdown=lambda force: ended.append(force))
    monkeypatch.setattr(graph.Watch, "watcher", staticmethod(lambda state: None), raising=False)
    monkeypatch.setattr(graph.Watch, "executor", None)
    watch = graph.Watch()
    watch.before_execution_starts(executor)
    graph._leave()
    assert ended == [False]
    with pytest.raises(RuntimeError, match="nobody waits"):
        watch.on_execution_step(executor)
