"""Ray's private names: every one is there in this Ray, and a run does without any of them."""

from __future__ import annotations

import dataclasses
import re
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from packaging.version import Version
from ray._private.state import GlobalState
from ray.autoscaler.v2 import schema, sdk

from clipseg_ray.cluster import ray_internals
from clipseg_ray.cluster.capacity import capacity
from clipseg_ray.cluster.ray_internals import Launches, PoolState
from clipseg_ray.pipeline import graph, nodes
from clipseg_ray.pipeline.progress import Reporter
from clipseg_ray.pipeline.segmenter import ChunkResult
from tests.pipeline import world

ROOT = Path(__file__).parents[2]


def pool(*without: str) -> Any:
    """An operator of Ray Data's, a pool of three actors, that lacks some names."""
    reported = SimpleNamespace(running=3, pending=1, restarting=1)
    operator = Operator()
    operator.get_actor_info = lambda: reported
    operator._output_blocks_stats = list(range(1000))
    for name in without:
        delattr(reported if hasattr(reported, name) else operator, name)
    return operator


class Operator(SimpleNamespace):
    """A key, as Ray's are."""

    __hash__ = object.__hash__


def executor(operator: Any, *without: str) -> Any:
    """Ray Data's executor of a job that ends with this operator, for which five blocks wait."""
    state = SimpleNamespace(total_enqueued_input_blocks=lambda: 5)
    found = SimpleNamespace(_topology={Operator(): None, operator: state})
    for name in without:
        delattr(state if hasattr(state, name) else found, name)
    return found


@pytest.mark.parametrize(
    ("job", "known"),
    [
        (executor(pool()), PoolState(running=3, pending=2, queue=5)),
        (executor(pool("running")), PoolState(running=None, pending=2, queue=5)),
        (executor(pool("pending")), PoolState(running=3, pending=None, queue=5)),
        (executor(pool("restarting")), PoolState(running=3, pending=None, queue=5)),
        (executor(pool("get_actor_info")), PoolState(running=None, pending=None, queue=5)),
        (executor(pool(), "total_enqueued_input_blocks"), PoolState(running=3, pending=2, queue=None)),
        (executor(pool(), "_topology"), PoolState()),
        (SimpleNamespace(_topology=None), PoolState()),
    ],
)
def test_a_pool_reports_what_it_can(job: Any, known: PoolState) -> None:
    assert ray_internals.pool_state(job) == known


def test_statistics_under_another_name_are_left_alone() -> None:
    ray_internals.forget_block_statistics(executor(pool("_output_blocks_stats")))
    ray_internals.forget_block_statistics(executor(pool(), "_topology"))
    other = pool()
    other._output_blocks_stats = (1, 2, 3)
    ray_internals.forget_block_statistics(executor(other))
    assert other._output_blocks_stats == (1, 2, 3)


LAUNCH = {"ray_node_type_name": "gpu", "count": 2, "details": "no\ncapacity"}


def status(*without: str) -> Any:
    """What an autoscaler reports that launches three nodes and could not launch another, less some names."""
    launch = {name: value for name, value in LAUNCH.items() if name not in without}
    found = {
        "pending_launches": [SimpleNamespace(**launch)],
        "pending_nodes": [SimpleNamespace(**launch)],
        "failed_launches": [SimpleNamespace(**launch)],
    }
    return SimpleNamespace(**{name: value for name, value in found.items() if name not in without})


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    ("reported", "words"),
    [
        (status(), "launching 3 gpu, launch of gpu failed: no capacity"),
        (status("pending_launches"), "launch of gpu failed: no capacity"),
        (status("pending_nodes"), "launch of gpu failed: no capacity"),
        (status("count"), "launch of gpu failed: no capacity"),
        (status("failed_launches"), "launching 3 gpu"),
        (status("details"), "launching 3 gpu"),
        (status("ray_node_type_name"), ""),
    ],
)
def test_what_an_autoscaler_does_is_reported_as_far_as_it_is_known(
    reported: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdk, "get_cluster_status", lambda address: reported)
    assert nodes.launching() == words


@pytest.mark.usefixtures("ray_cluster")
def test_modules_and_functions_that_have_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    there = ray.cluster_resources()
    with monkeypatch.context() as gone:
        gone.delattr(sdk, "get_cluster_status")
        gone.delattr(GlobalState, "get_max_resources_from_cluster_config")
        assert (nodes.launching(), capacity().now, capacity().limit) == ("", there, {})
    monkeypatch.setitem(sys.modules, "ray.core.generated.common_pb2", None)
    monkeypatch.delattr(ray.core.generated, "common_pb2", raising=False)
    assert ray_internals.workers_killed_for_memory() is None
    ray_internals.shut_down(None)
    ray_internals.shut_down(object())
    for name in ("ray._private.state", "ray.autoscaler.v2.sdk", "ray.data._internal.execution.execution_callback"):
        monkeypatch.setitem(sys.modules, name, None)
    assert ray_internals.launches() == Launches(None, None)
    assert ray_internals.starting_actors() is None
    assert (ray_internals.execution_callback(), ray_internals.most_resources()) == (None, None)
    assert capacity().now == there


def test_the_lock_has_the_oldest_ray_that_the_pins_allow() -> None:
    # `make test-ray` runs this file at the newest.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (pins,) = [re.fullmatch(r"ray\[.*\]>=([\d.]+),<[\d.]+", each) for each in project["dependencies"] if "ray[" in each]
    locked = re.search(r"^ray==(.+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert pins is not None
    assert locked is not None
    assert Version(pins[1]) == Version(locked[1])


@pytest.mark.usefixtures("ray_cluster")
def test_this_ray_has_them_all() -> None:
    assert ray_internals.execution_callback() is not None
    assert ray_internals.workers_killed_for_memory() is not None
    assert ray_internals.starting_actors() == 0
    assert callable(GlobalState.get_max_resources_from_cluster_config)
    assert ray_internals.launches() == Launches({}, None)  # and not None for those under way
    names = {field.name for field in dataclasses.fields(schema.ClusterStatus)}
    assert names >= {"pending_launches", "pending_nodes", "failed_launches"}
    names = {field.name for field in dataclasses.fields(schema.LaunchRequest)}
    assert names >= {"ray_node_type_name", "count", "details"}
    assert "ray_node_type_name" in {field.name for field in dataclasses.fields(schema.NodeInfo)}
    assert [ray_internals.is_head(node["Resources"]) for node in ray.nodes()] == [True]


@pytest.mark.usefixtures("ray_cluster")
def test_a_run_without_any_of_them_is_whole(
    tmp_path: Path, checkpoint_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = graph.Watch.on_execution_step
    monkeypatch.setattr(graph.Watch, "on_execution_step", lambda self, _: step(self, object()))
    monkeypatch.delattr(GlobalState, "get_max_resources_from_cluster_config")
    monkeypatch.setitem(sys.modules, "ray.autoscaler.v2.sdk", None)
    seen: list[dict[str, Any]] = []
    add = Reporter.add

    def look(self: Reporter, result: ChunkResult) -> None:
        seen.append(self.snapshot())
        add(self, result)

    monkeypatch.setattr(Reporter, "add", look)
    world.write_tars(str(tmp_path / "in"), shards=1, images=2)
    table = world.write_table(tmp_path / "queries.jsonl")
    outcome = world.run(world.settings(str(tmp_path / "in"), str(tmp_path / "out"), checkpoint_dir, table))
    assert outcome.code == 0, outcome.message
    assert world.masks(str(tmp_path / "out")).num_rows == 6
    assert [(values["actors"], values["actors_pending"], values["queue"]) for values in seen] == [(None, None, None)]


def test_without_its_base_class_ray_data_does_not_call(monkeypatch: pytest.MonkeyPatch) -> None:
    context = ray.data.DataContext.get_current()
    monkeypatch.setattr(context, "custom_execution_callback_classes", [])
    graph._settings()
    assert context.custom_execution_callback_classes == [graph.Watch]
    monkeypatch.setattr(graph, "_CALLBACK", object)
    graph._settings()
    assert context.custom_execution_callback_classes == []
