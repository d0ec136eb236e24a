"""Outputs that go while a run works, and what a run says there is in the end. The job's own steps, without Ray."""

import dataclasses
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clipseg_ray import config
from clipseg_ray.cluster.capacity import Capacity
from clipseg_ray.pipeline import driver, execute, graph
from clipseg_ray.pipeline import outcome as outcomes
from clipseg_ray.pipeline.plan import look
from clipseg_ray.pipeline.pool import pool_of
from clipseg_ray.pipeline.progress import Reporter
from clipseg_ray.pipeline.segmenter import ChunkResult, Segmenter
from clipseg_ray.pipeline.settle import Settled, settle
from clipseg_ray.results import layout
from clipseg_ray.results.foundation import OutputLost
from tests.pipeline import world


class Job:
    """A run of six chunks in this process. ``spoil``: what happens to the output after so many of them."""

    def __init__(self, folder: Path, checkpoint: Path) -> None:
        world.write_tars(str(folder / "in"), shards=2, images=5)
        table = world.write_table(folder / "queries.jsonl")
        self.output = folder / "out"
        self.values = world.settings(str(folder / "in"), str(self.output), checkpoint, table)
        self.spoil: dict[int, Callable[[], object]] = {}
        self._computed = 0
        self._segmenter: Segmenter | None = None

    def results(self, reader: Any, work: Any, spec: Any, *_: object, **__: object) -> Iterator[ChunkResult]:
        """Instead of the graph."""
        self._segmenter = self._segmenter or Segmenter(spec)
        for item in work:
            for row in reader.rows(item):
                result = ChunkResult(shard=row.shard, chunk=row.chunk, failure=row.failure)
                if row.failure is None:
                    self._segmenter.process(row, result)
                self._computed += 1
                self.spoil.get(self._computed, lambda: None)()
                yield result

    def run(self) -> tuple[int, str, Reporter]:
        """Exit code and message, and the reporter with its totals."""
        settled = settle(look(config.parse(self.values)), "cpu", 1)
        work = settled.survey()
        reporter = Reporter("run", work, io.StringIO())
        pool = pool_of(settled.plan.config.pool, "cpu", Capacity({"CPU": 2}), 10)
        return *execute._passes(settled, work, pool, reporter), reporter


class Unwatched:
    """Instead of the watch over Ray."""

    def __init__(self, *_: object) -> None:
        self.step = self.look = self.progressed = self.stop = lambda *_: None


@pytest.fixture
def job(tmp_path: Path, checkpoint_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    found = Job(tmp_path, checkpoint_dir)
    monkeypatch.setattr(graph, "results", found.results)
    monkeypatch.setattr(execute, "_Watch", Unwatched)
    return found


def test_an_output_that_is_removed_midway_is_no_dataset(job: Job) -> None:
    job.spoil = {4: lambda: shutil.rmtree(job.output)}
    code, message, _ = job.run()
    assert code == outcomes.INCOMPLETE
    assert "removed or replaced while the run went on" in message
    assert layout.DATASET in message
    assert "Complete" not in message


def test_an_output_that_another_dataset_has_replaced_is_not_this_runs(job: Job) -> None:
    def replace() -> None:
        shutil.rmtree(job.output)
        other = {**job.values, "input": {**job.values["input"], "chunk_images": 3}}
        settle(look(config.parse(other)), "cpu", 1)

    job.spoil = {6: replace}
    code, message, _ = job.run()
    assert code == outcomes.INCOMPLETE
    assert layout.DATASET in message


@pytest.mark.parametrize("gone", ["_dataset.json", "_inputs", "_sets", "queries"])
def test_each_thing_a_run_goes_by_is_asked_for(job: Job, gone: str) -> None:
    def remove() -> None:
        for path in [job.output / gone] if gone.endswith("json") else list((job.output / gone).iterdir()):
            path.unlink()

    job.spoil = {6: remove}
    code, message, _ = job.run()
    assert code == outcomes.INCOMPLETE
    assert gone in message


def test_what_other_runs_add_is_no_loss(job: Job) -> None:
    settled = settle(look(config.parse(job.values)), "cpu", 1)
    world.write_tars(job.values["input"]["url"], shards=1, first=7)
    more = world.write_table(job.output.parent / "more.jsonl", [("hat", "a hat")])
    settle(look(config.parse({**job.values, "queries": {"table": more}})), "cpu", 1)
    settled.survey_again()
    (job.output / layout.DATASET).unlink()
    with pytest.raises(OutputLost):
        settled.survey_again()


def test_a_chunk_whose_part_was_lost_is_counted_once(job: Job) -> None:
    def lose() -> None:
        for path in list(job.output.glob("masks/*/*.parquet"))[:3]:
            path.unlink()

    job.spoil = {6: lose}
    code, message, reporter = job.run()
    assert (code, reporter.totals.chunks, reporter.totals.images, reporter.totals.masks) == (0, 6, 10, 30)
    assert message.startswith("Complete: 10 images (0 without masks, see images.status), 30 masks (")


def test_a_resumed_run_tells_the_datasets_images_and_its_own(job: Job) -> None:
    assert job.run()[0] == 0
    for path in list(job.output.glob("masks/*/*.parquet"))[:2]:
        path.unlink()
    code, message, reporter = job.run()
    assert code == 0
    assert reporter.totals.images < 10
    ours = f"Complete: 10 images; this run {reporter.totals.images} of them (0 without masks, see images.status), "
    assert message.startswith(ours)


def test_nothing_to_do_is_said_of_what_there_is_now(job: Job) -> None:
    plan = look(config.parse(job.values))
    settled: Settled = settle(plan, "cpu", 1)
    for _ in job.results(settled.reader, settled.survey().todo, settled.spec):
        continue
    found = outcomes.nothing_to_do(plan, settled.survey())  # the plan was made before there was anything
    assert found.message.startswith("Nothing to do: all 6 chunk(s) of 2 shard(s) (10 images) have masks")


def test_a_dataset_that_lost_its_queries_is_not_taken_for_whole(job: Job) -> None:
    assert job.run()[0] == 0
    assert driver.run(config.parse(job.values)).message.startswith("Nothing to do")
    (table,) = (job.output / "queries").iterdir()
    before = table.read_bytes()
    table.unlink()
    plan = look(config.parse(job.values))
    assert plan.work.complete
    assert not plan.nothing_left
    settle(plan, "cpu", 1)
    assert table.read_bytes() == before
    assert dataclasses.replace(plan, tables=True).nothing_left
