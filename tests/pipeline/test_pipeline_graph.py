"""What the graph asks of Ray Data's inner workings, which a new release may change without notice."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.data._internal.execution.operators.map_operator import MapOperator

from clipseg_ray.cluster.ray_internals import PoolState
from clipseg_ray.pipeline import graph


def test_statistics_of_blocks_do_not_pile_up() -> None:
    operator = Operator()
    operator._output_blocks_stats = list(range(1000))
    graph.Watch.watcher = staticmethod(lambda state: None)
    graph.Watch().on_execution_step(SimpleNamespace(_topology={operator: None}))
    assert operator._output_blocks_stats == [999]


class Operator:
    """Of a topology."""

    _output_blocks_stats: list[int]


@pytest.mark.usefixtures("ray_cluster")
def test_ray_data_keeps_them_under_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    shutdown = MapOperator._do_shutdown

    def look(self: MapOperator, force: bool = False) -> None:
        kept.append(len(self._output_blocks_stats))
        shutdown(self, force)

    monkeypatch.setattr(MapOperator, "_do_shutdown", look)
    # Runs before this one in the session leave their watcher with Ray Data; it would throw them away.
    monkeypatch.setattr(ray.data.DataContext.get_current(), "custom_execution_callback_classes", [])
    ray.data.range(3, override_num_blocks=3).map_batches(lambda batch: batch).materialize()
    assert max(kept) >= 3


@pytest.mark.usefixtures("ray_cluster")
def test_ray_data_reports_its_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[PoolState] = []
    monkeypatch.setattr(graph.Watch, "watcher", staticmethod(seen.append))
    monkeypatch.setattr(ray.data.DataContext.get_current(), "custom_execution_callback_classes", [graph.Watch])
    ray.data.range(8, override_num_blocks=8).map_batches(Slow, compute=ray.data.ActorPoolStrategy(size=1)).materialize()
    assert {1} <= {state.running for state in seen} <= {0, 1}
    assert {1} <= {state.pending for state in seen} <= {0, 1}
    assert max(state.queue or 0 for state in seen) > 0
    assert None not in {state.queue for state in seen}


class Slow:
    """An actor for which blocks wait."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.1)
        return batch
