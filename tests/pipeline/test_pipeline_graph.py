"""What the graph asks of Ray Data's inner workings, which a new release may change without a word."""

from types import SimpleNamespace

import pytest
import ray
from ray.data._internal.execution.operators.map_operator import MapOperator

from clipseg_ray.pipeline import graph


def test_statistics_of_blocks_do_not_pile_up() -> None:
    operator = Operator()
    setattr(operator, graph.BLOCK_STATISTICS, list(range(1000)))
    graph.Watch.watcher = staticmethod(lambda state: None)
    graph.Watch().on_execution_step(SimpleNamespace(_topology={operator: None}))
    assert getattr(operator, graph.BLOCK_STATISTICS) == [999]


class Operator:
    """Of a topology."""


@pytest.mark.usefixtures("ray_cluster")
def test_ray_data_keeps_them_under_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    shutdown = MapOperator._do_shutdown

    def look(self: MapOperator, force: bool = False) -> None:
        kept.append(len(getattr(self, graph.BLOCK_STATISTICS)))
        shutdown(self, force)

    monkeypatch.setattr(MapOperator, "_do_shutdown", look)
    # Runs before this one in the session leave their watcher with Ray Data; it would throw them away.
    monkeypatch.setattr(ray.data.DataContext.get_current(), "custom_execution_callback_classes", [])
    ray.data.range(3, override_num_blocks=3).map_batches(lambda batch: batch).materialize()
    assert max(kept) >= 3
