"""A whole run while Ray Data's scheduling thread waits in Ray for what never comes."""

import re
import time
from pathlib import Path
from typing import Any

import pytest
import ray

from clipseg_ray.pipeline import graph
from clipseg_ray.pipeline import outcome as outcomes
from tests.pipeline import world


@pytest.mark.usefixtures("ray_cluster")
def test_a_scheduling_thread_that_hangs_in_ray_ends_the_run_in_time(
    tmp_path: Path, checkpoint_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = ray.remote(num_cpus=1000)(lambda: None).remote()
    step = graph.Watch.on_execution_step

    def hangs(self: graph.Watch, executor: Any) -> None:
        step(self, executor)
        ray.get(never)

    monkeypatch.setattr(graph.Watch, "on_execution_step", hangs)
    world.write_tars(str(tmp_path / "in"), shards=1, images=2)
    table = world.write_table(tmp_path / "queries.jsonl")
    started = time.monotonic()
    outcome = world.run(
        world.settings(str(tmp_path / "in"), str(tmp_path / "out"), checkpoint_dir, table, pool={"wait_s": 5})
    )
    ray.cancel(never)
    assert outcome.code == outcomes.INCOMPLETE
    assert re.search(r"Nothing could start for [5-9] s: an actor needs 0\.75 CPU; the cluster has", outcome.message)
    assert time.monotonic() - started < 60
