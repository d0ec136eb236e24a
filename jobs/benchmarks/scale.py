"""What the driver does at scale: planning and resuming a hundred thousand simulated shards, and runs without pixels.

``simulated`` holds real plans against an S3 with computed listings (``simulated_s3``): real code, no network, no parts.
``run_without_pixels`` is a real run of the real graph on local Ray, whose workers decode and segment nothing
(``stand_ins``): they read real tars and write real parts. Each is measured in a process of its own; rates of the driver
are given in seconds of its CPU too, which say more than the clock where workers and driver share few cores.
"""

from __future__ import annotations

import contextlib
import io
import logging
import multiprocessing
import os
import pickle
import resource
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import stand_ins
from benchmarks.harness import aligned, environment, report
from benchmarks.simulated_s3 import Names, SimulatedS3
from clipseg_ray import config as configuration
from clipseg_ray import storage
from clipseg_ray.errors import UserError
from clipseg_ray.results import layout

_SPAWN = multiprocessing.get_context("spawn")
_CHUNK_IMAGES = 2
_SHARD_CHUNKS = 40
_MARK_EVERY = 100
_MOST_BYTES = 2 * 2**30
_LEAST_RATE = 40.0


@dataclass
class Step:
    """One simulated step: seconds of the clock and of CPU, requests by kind, and the process's largest size by then."""

    name: str
    wall_s: float
    cpu_s: float
    requests: dict[str, int]
    peak_bytes: int


def benchmark(
    *, shards: int = 100_000, shard_chunks: int = 10, run_chunks: int = 20_000, json_file: str | None = None
) -> dict[str, Any]:
    """Plan ``shards`` shards of ``shard_chunks`` simulated chunks, run ``run_chunks`` without pixels; print and return.

    ``agrees`` is false where the driver needs more than 2 GiB, is slower than 40 chunks a CPU second, or lost a chunk.
    """
    result: dict[str, Any] = {
        "benchmark": "scale",
        **environment("cpu"),
        "settings": {"shards": shards, "shard_chunks": shard_chunks, "run_chunks": run_chunks},
    }
    steps = [Step(**values) for values in _in_a_process(simulated, shards, shard_chunks)]
    chunks = shards * shard_chunks
    result["simulated"] = [asdict(step) for step in steps]
    result["peak_bytes"] = max(step.peak_bytes for step in steps)
    result["agrees"] = result["peak_bytes"] < _MOST_BYTES
    notes = [f"Simulated: {shards} shards, {chunks} chunks.", _simulated_table(steps), ""]
    if run_chunks:
        found = _in_a_process(run_without_pixels, max(1, run_chunks // _SHARD_CHUNKS))
        result["run"] = found
        result["agrees"] &= found["chunks_per_cpu_s"] >= _LEAST_RATE and found["peak_bytes"] < _MOST_BYTES
        result["agrees"] &= found["written"] == found["chunks"]
        notes += [_run_note(found)]
    report(result, [], notes, json_file)
    return result


def simulated(shards: int, shard_chunks: int) -> list[dict[str, Any]]:
    """The steps of planning, in this process."""
    s3 = SimulatedS3()
    s3.names = [Names("simulated/in/", [f"{number:07d}" for number in range(shards)], [".tar"])]
    real = storage._filesystem
    storage._filesystem = lambda protocol, hosts=(): s3 if protocol == "s3" else real(protocol, hosts)
    from clipseg_ray.pipeline import datasource
    from clipseg_ray.pipeline.plan import Plan, look
    from clipseg_ray.pipeline.settle import settle
    from clipseg_ray.results import backlog, inputs, status

    steps: list[Step] = []

    @contextlib.contextmanager
    def step(name: str) -> Iterator[None]:
        s3.requests.clear()
        started, cpu = time.perf_counter(), time.process_time()
        yield
        wall, used = time.perf_counter() - started, time.process_time() - cpu
        steps.append(Step(name, wall, used, dict(s3.requests), _peak()))

    with TemporaryDirectory(prefix="clipseg-ray-benchmark-") as temporary:
        config = _config("s3://simulated/in", "s3://simulated/out", Path(temporary))
        with step("loading the code and the model, for what follows"):
            from clipseg_ray.model import checkpoint

            checkpoint.load(config.model.checkpoint)
        plan: Plan
        with step("plan: nothing there yet"):
            plan = look(config)
        with step("settle: listing frozen, queries claimed"):
            settled = settle(plan, "cpu", 1)
        with step("survey before the first chunk"):
            work = settled.survey()
        with step("read tasks made and pickled"):
            tasks = datasource.ShardDatasource(settled.reader, work.todo).get_read_tasks(1)
            pickled = sum(len(pickle.dumps(task.read_fn)) for task in tasks)
        assert pickled < 2**30
        del tasks, work
        stored, _ = inputs.read(settled.plan.store)
        ids = sorted(shard.shard_id for shard in stored)
        folders = [layout.IMAGES, *(layout.masks_folder(each.name) for each in settled.prompt_sets)]
        names = [f"-{chunk:06d}.parquet" for chunk in range(shard_chunks)]
        record = [f"-{shard_chunks}-{shard_chunks * _CHUNK_IMAGES}-0.json"]
        listing = s3.names[0]
        for title, done in (("half", ids[: shards // 2]), ("all", ids)):
            s3.names = [listing, Names(f"simulated/out/{layout.SHARDS}/", done, record)]
            s3.names += [Names(f"simulated/out/{folder}/", done, names) for folder in folders]
            with step(f"resume: {title} of the chunks there"):
                plan = look(config)
            assert plan.work.chunks_done == len(done) * shard_chunks
        with step("status"):
            status.read("s3://simulated/out")
        with step("status --deep"):
            backlog.read("s3://simulated/out")
    return [asdict(each) for each in steps]


def run_without_pixels(shards: int) -> dict[str, Any]:
    """One run of 40 chunks a shard on a Ray of its own, in this process."""
    from clipseg_ray.cluster.connection import guard_a_local_cluster

    guard_a_local_cluster()
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    from clipseg_ray.pipeline import driver, graph

    # Workers do not look beside jobs/benchmark.py by themselves, and without the stand-ins none of them starts.
    found_in = str(Path(stand_ins.__file__).parents[1])
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={
            "worker_process_setup_hook": stand_ins.install,
            "env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, (found_in, os.environ.get("PYTHONPATH"))))},
        },
    )
    marks: list[tuple[float, float]] = []
    real = graph.results

    def watched(*arguments: Any, **settings: Any) -> Iterator[Any]:
        for number, result in enumerate(real(*arguments, **settings)):
            if number % _MARK_EVERY == 0:
                marks.append((time.perf_counter(), time.process_time()))
            yield result

    graph.results = watched  # type: ignore[assignment]
    with TemporaryDirectory(prefix="clipseg-ray-benchmark-") as temporary:
        folder = Path(temporary)
        _write_shards(folder / "in", shards)
        config = _config(str(folder / "in"), str(folder / "out"), folder)
        started = time.perf_counter()
        with contextlib.redirect_stdout(sys.stderr):
            outcome = driver.run(config)
        wall = time.perf_counter() - started
        written = sum(1 for _ in (folder / "out" / layout.MASKS).glob("*/*.parquet"))
    ray.shutdown()
    if outcome.code or len(marks) < 2:
        raise SystemExit(outcome.message)
    (first_wall, first_cpu), (last_wall, last_cpu) = marks[0], marks[-1]
    chunks = (len(marks) - 1) * _MARK_EVERY
    return {
        "chunks": shards * _SHARD_CHUNKS,
        "written": written,
        "wall_s": wall,
        "chunks_per_s": chunks / (last_wall - first_wall),
        "chunks_per_cpu_s": chunks / (last_cpu - first_cpu),
        "cpu_ms_per_chunk": 1e3 * (last_cpu - first_cpu) / chunks,
        "peak_bytes": _peak(),
    }


def _config(source: str, output: str, folder: Path) -> configuration.RunConfig:
    (folder / "queries.csv").write_text("query_id,text\ncat,a cat\ndog,a dog\n")
    return configuration.parse(
        {
            "input": {"url": source, "chunk_images": _CHUNK_IMAGES},
            "output": {"url": output},
            "model": {"checkpoint": "builtin:scenes", "device": "cpu", "precision": "fp32"},
            "queries": {"table": str(folder / "queries.csv")},
            "pool": {"max": 1},
        }
    )


def _write_shards(folder: Path, shards: int) -> None:
    """One tar of one-byte images, and links to it under other names: for a run those are other shards."""
    folder.mkdir()
    first = folder / "0000000.tar"
    with tarfile.open(first, "w", format=tarfile.USTAR_FORMAT) as tar:
        for index in range(_SHARD_CHUNKS * _CHUNK_IMAGES):
            info = tarfile.TarInfo(f"{index:06d}.jpg")
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
    for number in range(1, shards):
        os.link(first, folder / f"{number:07d}.tar")


def _in_a_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """What ``work`` returns in a fresh process, whose memory is then its own."""
    ours, theirs = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_send, args=(theirs, work, arguments))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError as error:
        process.join()
        raise UserError(f"{work.__name__} failed (exit code {process.exitcode}); its messages are above") from error
    finally:
        process.join()


def _send(pipe: Any, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    pipe.send(work(*arguments))


def _peak() -> int:
    """The largest size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _simulated_table(steps: list[Step]) -> str:
    rows = [["", "wall s", "CPU s", "lists", "gets", "heads", "puts", "peak MiB"]]
    for step in steps:
        counts = [str(step.requests.get(kind, 0)) for kind in ("list", "get", "head", "put")]
        rows.append([step.name, f"{step.wall_s:.1f}", f"{step.cpu_s:.1f}", *counts, f"{step.peak_bytes / 2**20:.0f}"])
    return aligned(rows)


def _run_note(found: dict[str, Any]) -> str:
    return (
        f"Run without pixels: {found['written']} of {found['chunks']} chunks in {found['wall_s']:.0f} s, "
        f"{found['chunks_per_s']:.1f} a second; the driver took {found['cpu_ms_per_chunk']:.1f} ms of CPU a chunk "
        f"({found['chunks_per_cpu_s']:.0f} a CPU second) and at most {found['peak_bytes'] / 2**20:.0f} MiB."
    )
