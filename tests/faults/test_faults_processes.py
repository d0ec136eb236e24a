"""Processes that are killed, interrupted, starved or poisoned, and what the dataset looks like afterwards."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from PIL import Image
from rich.console import Console

from clipseg_ray.report import status_text as words
from clipseg_ray.report.watch import EXIT_CODES, watch
from clipseg_ray.results import backlog, status
from clipseg_ray.storage import Store
from tests.made import make
from tests.pipeline import world
from tests.tars import tar_of, write_tar

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CPUS = "import ray; ray.init(address='local', num_cpus={cpus}, include_dashboard=False, log_to_driver=False)\n"
RUN = "import sys; from clipseg_ray.cli import main; sys.argv = ['clipseg-ray', 'run', *sys.argv[1:]]; main()\n"


def start(config: Path, cpus: int | None = None, before: str = "", *options: str) -> subprocess.Popen[str]:
    """``clipseg-ray run CONFIG OPTIONS`` as a process of its own, on a local cluster with so many CPUs."""
    code = before + ("" if cpus is None else CPUS.format(cpus=cpus)) + RUN
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(config), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=config.parent,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], seconds: float = 400) -> tuple[int, str]:
    """Exit code and all that was printed."""
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out + err


def kill_with_children(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the driver alone; its local cluster is then ended by pid, as a lost machine would be."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait(30)
    for child in children:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(children, timeout=30)


def write_config(folder: Path, checkpoint: Path, *, output: str = "out", **sections: dict) -> Path:
    """A configuration for a run of many small chunks."""
    folder.mkdir(exist_ok=True)
    table = world.write_table(folder / "queries.jsonl")
    values = world.settings(str(folder / "in"), str(folder / output), checkpoint, table, **sections)
    path = folder / f"{output}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def rows(output: Path) -> tuple[list[dict], list[dict]]:
    """All images and masks, in order."""
    return world.images(str(output)).to_pylist(), world.masks(str(output)).to_pylist()


def wait_for_parts(process: subprocess.Popen[str], output: Path, parts: int) -> None:
    """Until the run has written so many masks parts."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"the run ended early: {finish(process)}")
        if len(list(output.glob("masks/*/*.parquet"))) >= parts:
            return
        time.sleep(0.05)
    raise AssertionError("no parts in time")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    world.write_tars(str(tmp_path / "in"), shards=4, images=40)
    return tmp_path


def test_an_interrupted_and_then_killed_driver_loses_and_doubles_nothing(folder: Path, checkpoint_dir: Path) -> None:
    make(yaml.safe_load(write_config(folder, checkpoint_dir, output="undisturbed").read_text()))

    config = write_config(folder, checkpoint_dir)
    interrupted = start(config)
    wait_for_parts(interrupted, folder / "out", 4)
    os.kill(interrupted.pid, signal.SIGINT)
    code, text = finish(interrupted, 60)
    assert code == 130, text
    assert f"run it again to go on: clipseg-ray run {config}" in text
    assert "Traceback" not in text

    there = len(list((folder / "out").glob("masks/*/*.parquet")))
    killed = start(config)
    wait_for_parts(killed, folder / "out", there + 6)
    kill_with_children(killed)
    written = len(list((folder / "out").glob("masks/*/*.parquet")))
    assert there + 6 <= written < 80

    code, text = finish(start(config))
    assert code == 0, text
    assert rows(folder / "out") == rows(folder / "undisturbed")
    assert len(list((folder / "out").glob("masks/*/*.parquet"))) == 80
    assert not [path for path in (folder / "out").rglob("*.tmp") if not path.name.startswith(".")]


def test_two_drivers_at_once_with_overlapping_queries(tmp_path: Path, checkpoint_dir: Path) -> None:
    world.write_tars(str(tmp_path / "in"), shards=3, images=6)
    processes = []
    for name, queries in (("one", world.QUERIES[:2]), ("two", world.QUERIES[1:])):
        table = world.write_table(tmp_path / f"{name}.jsonl", queries)
        values = world.settings(str(tmp_path / "in"), str(tmp_path / "out"), checkpoint_dir, table)
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values))
        processes.append(start(tmp_path / f"{name}.yaml", 1))
    for process in processes:
        code, text = finish(process)
        assert code == 0, text
    images, masks = rows(tmp_path / "out")
    asked = [(row["image_id"], row["query_id"]) for row in masks]
    assert len(images) == 18
    assert len(asked) == len(set(asked)) == 18 * 3


def test_two_drivers_at_once_with_a_share_each(tmp_path: Path, checkpoint_dir: Path) -> None:
    world.write_tars(str(tmp_path / "in"), shards=6, images=4)
    world.divide(tmp_path / "in")
    make(yaml.safe_load(write_config(tmp_path, checkpoint_dir, output="alone").read_text()))
    processes = []
    for i in (1, 2):
        config = write_config(tmp_path, checkpoint_dir, input={"part": f"{i}/2"})
        processes.append(start(config.rename(config.with_name(f"share-{i}.yaml")), 1))
    said = [finish(process) for process in processes]
    assert [code for code, _ in said] == [0, 0], said
    for i, (_, text) in enumerate(said, 1):
        assert f"Complete for input.part {i}/2" in text
    assert rows(tmp_path / "out") == rows(tmp_path / "alone")
    assert "Incomplete" not in (tmp_path / "out" / "README.md").read_text()
    names = {path.name for path in (tmp_path / "alone").glob("images/*.parquet")}
    assert {path.name for path in (tmp_path / "out").glob("images/*.parquet")} == names
    code, text = finish(start(write_config(tmp_path, checkpoint_dir), 1))
    assert code == 0, text
    assert "Nothing to do" in text


def test_reading_fits_beside_the_actors(tmp_path: Path, checkpoint_dir: Path) -> None:
    world.write_tars(str(tmp_path / "in"), shards=3, images=4)
    config = write_config(tmp_path, checkpoint_dir, pool={"max": None})
    code, text = finish(start(config, 1))
    assert code == 0, text
    assert len(rows(tmp_path / "out")[0]) == 12


def test_a_pool_nothing_can_serve_ends_with_the_unmet_resource(tmp_path: Path, checkpoint_dir: Path) -> None:
    world.write_tars(str(tmp_path / "in"), shards=1, images=2)
    config = write_config(tmp_path, checkpoint_dir, pool={"max": 1, "memory": "900GiB", "wait_s": 12})
    code, text = finish(start(config, 1), 200)
    assert code == 1, text
    assert "Nothing could start for" in text
    assert "an actor needs 0.75 CPU and 900.0 GiB of memory" in text


HANGING = """
import ray
from clipseg_ray.pipeline import graph
step = graph.Watch.on_execution_step
never = ray.remote(num_cpus=1000)(lambda: None)
def hangs(self, executor):
    step(self, executor)
    ray.get(never.remote())
graph.Watch.on_execution_step = hangs
"""
"""Ray Data's scheduling thread waits for ever, as for a worker that the memory monitor kills again and again."""


def test_a_scheduling_thread_that_hangs_is_given_up_after_wait_s(tmp_path: Path, checkpoint_dir: Path) -> None:
    world.write_tars(str(tmp_path / "in"), shards=1, images=2)
    process = start(write_config(tmp_path, checkpoint_dir, pool={"wait_s": 10}), before=HANGING)
    code, text = finish(process, 120)
    assert code == 1, text
    assert "Nothing could start for 10 s: an actor needs 0.75 CPU; the cluster has" in text
    assert "Finished chunks are kept; run again to go on" in text


def test_an_interrupt_is_heard_while_ray_hangs(tmp_path: Path, checkpoint_dir: Path) -> None:
    world.write_tars(str(tmp_path / "in"), shards=1, images=2)
    process = start(write_config(tmp_path, checkpoint_dir), before=HANGING)
    deadline = time.monotonic() + 120
    while "computing" not in "".join(path.read_text() for path in (tmp_path / "out").glob("_runs/*.status.json")):
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        time.sleep(0.2)
    time.sleep(2)
    os.kill(process.pid, signal.SIGTERM)
    code, text = finish(process, 90)
    assert code == 130, text
    assert "run it again to go on: clipseg-ray run" in text.splitlines()[-1]
    assert "Traceback" not in text


POISONED = """
import ray
from tests.faults.poison import install
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
         runtime_env={"worker_process_setup_hook": install})
"""


def test_a_chunk_that_kills_its_worker_takes_no_other_along(tmp_path: Path, checkpoint_dir: Path) -> None:
    world.write_tars(str(tmp_path / "in"), shards=3, images=8)
    config = write_config(tmp_path, checkpoint_dir)
    code, text = finish(start(config, before=POISONED), 1500)
    assert code == 1, text
    assert "Incomplete: 2 chunk(s) or shard(s)" in text
    assert "s-001.tar: chunk 2" in text
    assert "s-002.tar: not read to its end" in text
    images, masks = rows(tmp_path / "out")
    assert len(images) == 18  # a reader's death also leaves what follows in its shard to the next run
    assert len(masks) == 54
    before = named_in_status(tmp_path / "out")

    code, text = finish(start(config, None, "", "--retry-failed"), 1500)
    assert code == 0, text
    assert "retry     2 chunk(s) or shard(s) without their parts" in text
    assert len(rows(tmp_path / "out")[0]) == 24
    after = parts(tmp_path / "out")
    assert before.items() < after.items(), "a part was rewritten"
    assert status.read(str(tmp_path / "out")).state == "complete"


def parts(output: Path) -> dict[Path, int]:
    """Every part, and when it was written."""
    found = [*output.glob("images/*.parquet"), *output.glob("masks/*/*.parquet")]
    return {path: path.stat().st_mtime_ns for path in found}


def named_in_status(output: Path) -> dict[Path, int]:
    """What the status reports after a poisoned run; the parts that are there."""
    found = status.read(str(output))
    assert found.state == "incomplete"
    reported = found.runs[-1].values
    assert reported["missing_chunks"] == 2
    missing = {(item["path"], item["chunk"]): item for item in reported["missing"]}
    assert set(missing) == {("s-001.tar", 2), ("s-002.tar", None)}
    for item in missing.values():
        assert "its worker died each time" in item["cause"]
    assert reported["failures"], "no cause was counted"
    shown = words.text(found, backlog.read(str(output)))
    assert "s-001.tar: chunk 2 (" in shown
    assert "s-002.tar: not read to its end" in shown
    assert "9 of at least 10" in shown
    assert watch(str(output), Console(file=io.StringIO())).state == "incomplete"
    assert EXIT_CODES.get(found.state, 1) == 1
    return parts(output)


def anonymous_memory(process: subprocess.Popen[str], progress: Callable[[], float]) -> list[list[tuple[float, int]]]:
    """For each Ray worker (progress, anonymous bytes) pairs, sampled until the run ends."""
    driver = psutil.Process(process.pid)
    seen: dict[int, list[tuple[float, int]]] = {}
    while process.poll() is None:
        done = progress()
        for worker in driver.children(recursive=True):
            try:
                if worker.name().startswith("ray::") or "ray::" in " ".join(worker.cmdline()):
                    anonymous = sum(int(part.anonymous) for part in worker.memory_maps(grouped=False))
                    seen.setdefault(worker.pid, []).append((done, anonymous))
            except (psutil.Error, OSError):
                continue
        time.sleep(0.1)
    return list(seen.values())


def growth(seen: list[list[tuple[float, int]]], early: tuple[float, float], late: float) -> float:
    """The greatest growth of any worker's peak from the early part to the late part, as a share."""
    shares = []
    for samples in seen:
        before = [used for done, used in samples if early[0] <= done <= early[1]]
        after = [used for done, used in samples if done >= late]
        if before and after:
            shares.append(max(after) / max(before) - 1)
    assert shares, "no worker lived long enough"
    return max(shares)


def test_memory_stays_flat_from_the_5th_to_the_50th_shard(tmp_path: Path, checkpoint_dir: Path) -> None:
    source = Store.of(str(tmp_path / "in"))
    pictures = [world.jpeg(i, 640, 480) for i in range(8)]
    for shard in range(50):
        source.put(f"s-{shard:03d}.tar", tar_of({f"{shard}-{i}.jpg": pictures[i % 8] for i in range(24)}))
    process = start(write_config(tmp_path, checkpoint_dir, input={"chunk_images": 24}), 2)
    seen = anonymous_memory(process, lambda: len(list((tmp_path / "out").glob("masks/*/*.parquet"))))
    code, text = finish(process)
    assert code == 0, text
    assert growth(seen, (5, 15), 40) <= 0.10


def test_memory_stays_flat_over_a_tar_of_a_gigabyte(tmp_path: Path, checkpoint_dir: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1400, 1400, 3), np.uint8)
    sink = io.BytesIO()
    Image.fromarray(noise).save(sink, "JPEG", quality=92)
    picture = sink.getvalue()
    images = -(-(2**30) // len(picture))
    (tmp_path / "in").mkdir()
    with open(tmp_path / "in" / "large.tar", "wb") as file:
        write_tar(file, ((f"{number:05d}.jpg", picture) for number in range(images)))
    process = start(write_config(tmp_path, checkpoint_dir, input={"chunk_images": 16}), 2)
    chunks = -(-images // 16)
    seen = anonymous_memory(process, lambda: len(list((tmp_path / "out").glob("images/*.parquet"))) / chunks)
    code, text = finish(process)
    assert code == 0, text
    assert len(rows(tmp_path / "out")[0]) == images
    assert growth(seen, (0.1, 0.3), 0.8) <= 0.10
