"""How large a pool a cluster and the work that is left justify, and what a run says of nodes that come and go."""

import io
import sys
from types import SimpleNamespace

import pytest

from clipseg_ray.cluster.capacity import Capacity, device_of
from clipseg_ray.config import PoolConfig
from clipseg_ray.errors import UserError
from clipseg_ray.pipeline import nodes
from clipseg_ray.pipeline.pool import chunks_at_most, pool_of
from clipseg_ray.pipeline.progress import Reporter
from clipseg_ray.pipeline.work import ShardWork
from clipseg_ray.sources.base import Member, Shard
from clipseg_ray.sources.chunking import Chunking
from tests.pipeline import world

HEAD_ALONE = Capacity({"memory": 1e9})
TWO_CORES = Capacity({"CPU": 2})
FOUR_GPUS = Capacity({"CPU": 16, "GPU": 4})
GROWING = Capacity({}, {"CPU": 64, "GPU": 16})


@pytest.mark.parametrize(
    ("wish", "gpus", "capacity", "device"),
    [
        ("auto", None, FOUR_GPUS, "cuda"),
        ("auto", None, TWO_CORES, "cpu"),
        ("auto", None, GROWING, "cuda"),
        ("auto", 0.5, HEAD_ALONE, "cuda"),
        ("auto", 0, FOUR_GPUS, "cpu"),
        ("cpu", 1, FOUR_GPUS, "cpu"),
        ("cuda", None, HEAD_ALONE, "cuda"),
    ],
)
def test_the_device(wish: str, gpus: float | None, capacity: Capacity, device: str) -> None:
    assert device_of(wish, gpus, capacity) == device


def test_an_empty_cluster_cannot_decide_the_device() -> None:
    with pytest.raises(UserError, match=r"model\.device: auto cannot be decided .* say cuda or cpu"):
        device_of("auto", None, HEAD_ALONE)


@pytest.mark.parametrize(
    ("settings", "capacity", "chunks", "most", "initial"),
    [
        ({}, FOUR_GPUS, 1000, 4, 4),
        ({}, FOUR_GPUS, 3, 3, 3),
        ({"gpus": 0.5}, FOUR_GPUS, 1000, 8, 8),
        ({"max": 12}, FOUR_GPUS, 1000, 12, 12),
        ({"max": 12, "initial": 2}, FOUR_GPUS, 1000, 12, 2),
        ({"max": 12, "min": 3, "initial": 3}, FOUR_GPUS, 1000, 12, 3),
        ({"max": 12, "min": 6}, FOUR_GPUS, 5, 5, 5),
        ({"max": 12}, HEAD_ALONE, 1000, 12, 12),
        ({"max": 12}, HEAD_ALONE, 0, 1, 1),
        ({}, HEAD_ALONE, 1000, 1, 1),
        ({}, GROWING, 1000, 16, 16),
        ({}, Capacity({}, {"GPU": sys.maxsize}), 1000, 1000, 1000),
    ],
)
def test_a_pool_on_gpus(settings: dict, capacity: Capacity, chunks: int, most: int, initial: int) -> None:
    pool = pool_of(PoolConfig(**settings), "cuda", capacity, chunks)
    assert (pool.max, pool.initial) == (most, initial)
    assert pool.min <= pool.initial
    assert (pool.actor_cpus, pool.reader_cpus) == (0, 1)
    smaller = pool.at_most(2)
    assert smaller.max == smaller.initial == min(2, most)


@pytest.mark.parametrize(("settings", "actors"), [({}, 2), ({"max": 2}, 2), ({"max": 6}, 6)])
def test_actors_on_cpus_leave_a_quarter_of_every_core_to_reading(settings: dict, actors: int) -> None:
    pool = pool_of(PoolConfig(**settings), "cpu", TWO_CORES, 1000)
    assert pool.max == actors
    assert pool.max * pool.actor_cpus == pytest.approx(1.5)
    assert pool.reader_cpus == 0.25


def test_an_actor_may_hold_a_gpu_and_compute_on_the_cpu() -> None:
    pool = pool_of(PoolConfig(gpus=1, max=3), "cpu", HEAD_ALONE, 1000)
    assert (pool.max, pool.actor_gpus, pool.actor_cpus, pool.room) == (3, 1, 0, 0)
    assert pool.needs == "1 GPU"


@pytest.mark.parametrize(
    ("settings", "device", "message"),
    [({"gpus": 0}, "cuda", "pool.gpus: 0 with model.device: cuda"), ({}, "cpu", "on a cluster without a CPU")],
)
def test_pools_that_cannot_be(settings: dict, device: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        pool_of(PoolConfig(**settings), device, HEAD_ALONE, 1000)


def test_chunks_are_counted_where_they_are_known_and_taken_for_many_where_not() -> None:
    members = tuple(Member(f"{i}.jpg", 50_000, "e") for i in range(250))
    sliced = ShardWork(Shard.of_slice(members), {})
    unread = ShardWork(Shard.of_object(Member("c.tar", 100_000_000, "e")).cut(Chunking(100)), {})

    def left(*todo: ShardWork, estimate: int) -> int:
        return chunks_at_most(world.work(*todo, chunks=estimate))

    assert left(sliced, estimate=3) == 3
    assert left(sliced, unread, estimate=13) == 13 + 40 + 4  # of 25 kB an image, or of a quarter of its bytes


def node(name: str, alive: bool = True, reason: str = "", gpus: int = 1) -> dict:
    resources = {"CPU": 4.0, "GPU": gpus} if alive else {}
    return {
        "NodeID": name * 10,
        "NodeManagerHostname": "host",
        "Alive": alive,
        "Resources": resources,
        "DeathReasonMessage": reason,
    }


@pytest.mark.parametrize(("reported", "note"), [((0, 2), "no actor"), ((1, 2), "2 actor(s) not"), ((None, None), "")])
def test_what_actors_wait_for_is_said_where_ray_reports_it(
    reported: tuple, note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes.ray, "nodes", list)
    monkeypatch.setattr(nodes, "there_and_free", lambda: "")
    monkeypatch.setattr(nodes, "launching", lambda: "")
    monkeypatch.setattr(nodes.ray_internals, "starting_actors", lambda: 0)
    clock = [0.0]
    monkeypatch.setattr(nodes, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    watch = nodes.NodeWatch(Reporter("run", world.work(), io.StringIO()), "1 GPU")
    clock[0] = 60.0
    assert watch._note() == ""  # nothing has been reported yet
    watch.actors(*reported)
    found = watch._note()
    watch.stop()
    assert found == (note and f"{note} ready{' for 60 s' if reported[0] == 0 else ''}: each needs 1 GPU")


@pytest.mark.parametrize(
    ("after_s", "ready", "starting", "note"),
    [
        (5, 0, None, "the actors load the model"),
        (15, 0, 0, "the actors load the model"),
        (60, 0, 2, "the actors load the model"),
        (60, 0, None, "no actor ready for 60 s: each needs 1 GPU"),
        (60, 1, 1, ""),
        (15, 1, 0, ""),
    ],
)
def test_actors_that_have_their_place_load_the_model(
    after_s: float, ready: int, starting: int | None, note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes.ray, "nodes", list)
    monkeypatch.setattr(nodes, "there_and_free", lambda: "")
    monkeypatch.setattr(nodes, "launching", lambda: "")
    monkeypatch.setattr(nodes.ray_internals, "starting_actors", lambda: starting)
    clock = [0.0]
    monkeypatch.setattr(nodes, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    watch = nodes.NodeWatch(Reporter("run", world.work(), io.StringIO()), "1 GPU")
    clock[0] = after_s
    watch.actors(ready, 2)
    found = watch._note()
    watch.stop()
    assert found == note


def test_nodes_that_come_and_go_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [node("a"), node("b")]
    monkeypatch.setattr(nodes.ray, "nodes", lambda: there)
    seen = nodes.Nodes()
    assert seen.news() == []
    there[:] = [node("a"), node("b", alive=False, reason="no\nheartbeat"), node("c", gpus=2)]
    assert seen.news() == [
        "node host cccccccc (4 CPU, 2 GPU) joined; the cluster has 8 CPU, 3 GPU now",
        "node host bbbbbbbb (4 CPU, 1 GPU) is gone, no heartbeat; the cluster has 8 CPU, 3 GPU now",
    ]
    assert seen.news() == []
    there[:] = [node(name) for name in "adefgh"]
    assert seen.news() == [
        "5 nodes joined; the cluster has 24 CPU, 6 GPU now",
        "node host cccccccc (4 CPU, 2 GPU) is gone; the cluster has 24 CPU, 6 GPU now",
    ]
