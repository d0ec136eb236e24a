"""Shards over actors: what happens where some find no room on the cluster, or others need theirs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from clipseg_ray.cluster.shard_map import map_shards
from clipseg_ray.errors import UserError

pytestmark = pytest.mark.usefixtures("ray_cluster")  # of two CPUs

DEADLINE_S = 180.0


def within_time(task: Callable[[], Any]) -> Any:
    """What ``task`` returns; fails, rather than waits, where it does not end."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(task()), daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    assert found, "did not end"
    return found[0]


def times(factor: int) -> Callable[[int], int]:
    return lambda item: factor * item


def test_actors_without_room_keep_nothing_from_the_others() -> None:
    def done() -> dict[int, int]:
        return dict(map_shards(times, 3, range(8), workers=4, cpus=1, gpus=0))

    assert within_time(done) == {item: 3 * item for item in range(8)}


def test_an_actor_without_work_makes_room_while_others_work(tmp_path: Path) -> None:
    def prepare(folder: Path) -> Callable[[str], str]:
        def work(item: str) -> str:
            while item == "long" and not (folder / "room").exists():
                time.sleep(0.1)
            return item

        return work

    @ray.remote(num_cpus=1)
    def in_its_place() -> None:
        (tmp_path / "room").touch()

    def done() -> list[str]:
        found = map_shards(prepare, tmp_path, ["long", "short"], workers=2, cpus=1, gpus=0)
        first = next(found)[0]
        in_its_place.remote()
        return [first, *(item for item, _ in found)]

    assert within_time(done) == ["short", "long"]


def test_an_actor_that_cannot_start_is_reported() -> None:
    def prepare(_: object) -> Callable[[int], int]:
        raise UserError("model.checkpoint: there is none")

    with pytest.raises(UserError, match=r"a worker could not start.*model\.checkpoint: there is none"):
        list(map_shards(prepare, None, [1, 2, 3], workers=2, cpus=1, gpus=0))
