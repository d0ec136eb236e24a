"""What Ray costs: the job against the bare loop, decode + engine + RLE + parts, in as many processes.

Both write real datasets from the same shards of JPEGs with the same full-size model, in turns, each round in
processes of its own.

How it is measured: a chunk is finished when its masks part is in place (the file's modification time), in the loop as
in the job. With w workers, the steady state goes from the w-th chunk finished (each worker has then about one behind
it, and start-up and compilation are over) to the last one; its rate counts the images of the chunks after the w-th.
The wall time is that of the whole round's process, start-up included.
"""

from __future__ import annotations

import contextlib
import io
import math
import multiprocessing
import os
import shutil
import statistics
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
import torch

from benchmarks import inputs
from benchmarks.harness import aligned, environment, report, single_thread
from benchmarks.process_cpu import ProcessCpu
from clipseg_ray import config as configuration
from clipseg_ray.config import RunConfig
from clipseg_ray.errors import UserError
from clipseg_ray.model.precision import default_batching, resolve_precision
from clipseg_ray.pipeline import driver
from clipseg_ray.pipeline.plan import look
from clipseg_ray.pipeline.reader import Reader
from clipseg_ray.pipeline.segmenter import ChunkResult, Segmenter, SegmenterSpec
from clipseg_ray.pipeline.settle import settle
from clipseg_ray.pipeline.work import ShardWork

_SPAWN = multiprocessing.get_context("spawn")
_CHUNKS_A_WORKER = 24
"""So many at least in a round: what the last chunk leaves idle then weighs little."""
_LARGEST_CHUNK = 256


@dataclass(frozen=True)
class _Size:
    """How much work a round is: equal shards of equal chunks."""

    shards: int
    chunks: int
    chunk_images: int

    @property
    def images(self) -> int:
        """In a whole round."""
        return self.shards * self.chunks * self.chunk_images


@dataclass(frozen=True)
class _Setting:
    """What does not change from round to round. ``folder`` holds the shards, the query table and the outputs."""

    folder: Path
    checkpoint: str
    device: str
    precision: str
    compile: bool
    workers: int
    jpegs: list[bytes]

    def config(self, name: str, size: _Size) -> RunConfig:
        """The run configuration of one round, into an output of its own."""
        return configuration.parse(
            {
                "input": {"url": f"{self.folder / _shards_name(size)}/*.tar", "chunk_images": size.chunk_images},
                "model": {
                    "checkpoint": self.checkpoint,
                    "device": self.device,
                    "precision": self.precision,
                    "compile": "on" if self.compile else "off",
                },
                "queries": {"table": str(self.folder / "queries.csv")},
                "pool": {"min": self.workers, "max": self.workers},
                "output": {"url": str(self.folder / name)},
            }
        )


def benchmark(
    *,
    device: str = "cpu",
    precision: str = "fp32",
    compile: bool = False,
    prompts: int = 16,
    images: int | None = None,
    rounds: int = 2,
    seconds: float = 120.0,
    workers: int | None = None,
    checkpoint: str | None = None,
    images_dir: str | None = None,
    json_file: str | None = None,
) -> dict[str, Any]:
    """Run it, print it, and return what the JSON line holds.

    images: in a round; by default as many as take the loop ``seconds`` of steady state, by a short trial.
    workers: model processes, in the loop as in the job; by default every GPU, or every core.
    """
    single_thread(device)
    precision, _ = resolve_precision(precision, device)
    workers = workers or (torch.cuda.device_count() if device == "cuda" else len(os.sched_getaffinity(0)))
    with inputs.checkpoint(checkpoint) as model, TemporaryDirectory(prefix="clipseg-ray-benchmark-") as temporary:
        folder = Path(temporary)
        (folder / "queries.csv").write_text("text\n" + "".join(f"{text}\n" for text in inputs.texts(prompts)))
        jpegs = inputs.jpegs(64, images_dir)
        setting = _Setting(folder, model, device, precision, compile, workers, jpegs)
        size = _divided(images, setting) if images else _calibrated(setting, seconds)
        _write_shards(setting, size)
        found: dict[str, list[dict[str, Any]]] = {"loop": [], "job": []}
        differing = []
        for number in range(rounds):
            for way in found:
                found[way].append(_round(setting, size, way, f"{way}-{number}"))
            differing.append(_differing(folder / f"loop-{number}", folder / f"job-{number}"))
            for way in found:
                shutil.rmtree(folder / f"{way}-{number}")
    rates = {way: statistics.median(entry["images_per_s"] for entry in entries) for way, entries in found.items()}
    result: dict[str, Any] = {
        "benchmark": "pipeline",
        **environment(device),
        "settings": {
            "device": device,
            "precision": precision,
            "compile": compile,
            "prompts": prompts,
            "workers": workers,
            "images": size.images,
            "shards": size.shards,
            "chunks": size.shards * size.chunks,
            "chunk_images": size.chunk_images,
            "rounds": rounds,
            "pictures": "drawn, 825×550" if images_dir is None else "photographs",
            "checkpoint": "seeded random ViT-B/16, refined head" if checkpoint is None else "as given",
        },
        "rounds": found,
        "loop_images_per_s": rates["loop"],
        "job_images_per_s": rates["job"],
        "ratio": rates["job"] / rates["loop"],
        "wall_ratio": statistics.median(entry["wall_s"] for entry in found["loop"])
        / statistics.median(entry["wall_s"] for entry in found["job"]),
        "masks": size.images * prompts,
        "masks_differing": max(differing),
        "agrees": max(differing) == 0,
    }
    report(result, [], _notes(result), json_file)
    return result


def _calibrated(setting: _Setting, seconds: float) -> _Size:
    """The size whose steady state takes the loop ``seconds`` or a little more, from a trial of four chunks a worker."""
    batch, _ = default_batching(setting.device, setting.precision)
    trial = _Size(setting.workers, 4, 2 * batch if setting.device == "cpu" else _LARGEST_CHUNK)
    _write_shards(setting, trial)
    rate = _round(setting, trial, "loop", "trial")["images_per_s"]
    shutil.rmtree(setting.folder / "trial")
    return _divided(math.ceil(1.1 * rate * seconds), setting)


def _divided(images: int, setting: _Setting) -> _Size:
    """At least ``images``, in two shards a worker and chunks of whole batches."""
    batch, _ = default_batching(setting.device, setting.precision)
    each = images / setting.workers / _CHUNKS_A_WORKER
    chunk_images = max(1, min(_LARGEST_CHUNK, images, int(each) // batch * batch or batch))
    shards = 2 * setting.workers
    return _Size(shards, max(1, math.ceil(images / shards / chunk_images)), chunk_images)


def _shards_name(size: _Size) -> str:
    return f"shards-{size.shards}-{size.chunks}-{size.chunk_images}"


def _write_shards(setting: _Setting, size: _Size) -> None:
    """One tar of images, and links to it under other names: for a run those are other shards."""
    folder = setting.folder / _shards_name(size)
    folder.mkdir(exist_ok=True)
    first = folder / "0000.tar"
    with tarfile.open(first, "w", format=tarfile.USTAR_FORMAT) as tar:
        for index in range(size.chunks * size.chunk_images):
            jpeg = setting.jpegs[index % len(setting.jpegs)]
            info = tarfile.TarInfo(f"{index:06d}.jpg")
            info.size = len(jpeg)
            tar.addfile(info, io.BytesIO(jpeg))
    for number in range(1, size.shards):
        os.link(first, folder / f"{number:04d}.tar")


def _round(setting: _Setting, size: _Size, way: str, name: str) -> dict[str, Any]:
    """One round of the loop or the job in a process of its own; rates in images per second, times in seconds.

    ``cores``: CPU seconds a second in the steady state, by what each process is.
    """
    config = setting.config(name, size)
    targets: dict[str, tuple[Callable[..., None], tuple[Any, ...]]] = {
        "loop": (_loop, (config, setting.device, setting.workers)),
        "job": (_job, (config,)),
    }
    started = time.time()
    process = _start(*targets[way])
    with ProcessCpu(process.pid) as cpu:
        _finish([process], f"the {way}")
    wall = time.time() - started
    parts = (setting.folder / name / "masks").glob("set=*/*.parquet")
    finished = sorted(part.stat().st_mtime for part in parts)
    if len(finished) != size.shards * size.chunks:
        raise UserError(f"the {way} wrote {len(finished)} of {size.shards * size.chunks} parts")
    if len(finished) <= setting.workers:
        raise UserError(f"--images {size.images}: too few for {setting.workers} workers; give more")
    steady = finished[-1] - finished[setting.workers - 1]
    return {
        "images_per_s": (len(finished) - setting.workers) * size.chunk_images / steady,
        "steady_s": steady,
        "startup_s": finished[setting.workers - 1] - started,
        "wall_s": wall,
        "wall_images_per_s": size.images / wall,
        "cores": cpu.between(finished[setting.workers - 1], finished[-1]),
    }


def _start(target: Callable[..., None], arguments: tuple[Any, ...]) -> Any:
    process = _SPAWN.Process(target=target, args=arguments)
    process.start()
    return process


def _finish(processes: list[Any], what: str) -> None:
    for process in processes:
        process.join()
    codes = [process.exitcode for process in processes]
    if any(codes):
        raise UserError(f"{what} failed (exit codes {codes}); its messages are above")


def _job(config: RunConfig) -> None:
    """The job on a Ray of its own on this machine."""
    os.environ["RAY_ADDRESS"] = "local"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    with contextlib.redirect_stdout(sys.stderr):  # ours is for tables and the JSON line
        outcome = driver.run(config)
    if outcome.code:
        raise SystemExit(outcome.message)


def _loop(config: RunConfig, device: str, workers: int) -> None:
    """The bare loop: settle the run as the job does, then one process per worker, each over its share of the shards."""
    threads = 1 if device == "cpu" else max(1, len(os.sched_getaffinity(0)) // workers)
    settled = settle(look(config), device, threads)
    todo = settled.survey().todo
    _finish(
        [_start(_work, (settled.reader, settled.spec, todo[i::workers], device, i)) for i in range(workers)],
        "the loop",
    )


def _work(reader: Reader, spec: SegmenterSpec, todo: tuple[ShardWork, ...], device: str, number: int) -> None:
    if device == "cuda":
        torch.cuda.set_device(number)
    segmenter = Segmenter(spec)
    for work in todo:
        for row in reader.rows(work):
            if row.failure is not None:
                raise SystemExit(row.failure)
            segmenter.process(row, ChunkResult(shard=row.shard, chunk=row.chunk))


def _differing(loop: Path, job: Path) -> int:
    """Masks of the two datasets that are not the same in every column, or that only one of them has."""
    differing = 0
    names = {part.relative_to(root) for root in (loop, job) for part in root.glob("masks/set=*/*.parquet")}
    for name in names:
        a, b = (
            pq.read_table(root / name, partitioning=None) if (root / name).exists() else None for root in (loop, job)
        )
        if a is None or b is None or a.num_rows != b.num_rows:
            differing += max(0 if table is None else table.num_rows for table in (a, b))
        elif not a.equals(b):
            differing += sum(x != y for x, y in zip(a.to_pylist(), b.to_pylist(), strict=True))
    return differing


def _notes(result: dict[str, Any]) -> list[str]:
    settings = result["settings"]
    rows = [["", "images/s", "steady s", "start-up s", "wall s", "images/s of wall"]]
    for way, entries in result["rounds"].items():
        for number, entry in enumerate(entries, 1):
            keys = ("images_per_s", "steady_s", "startup_s", "wall_s", "wall_images_per_s")
            rows.append([f"{way}, round {number}", *(f"{entry[key]:.2f}" for key in keys)])
    return [
        aligned(rows),
        "",
        _cores(result["rounds"]),
        "",
        f"Job / loop: {result['ratio']:.3f} in the steady state, {result['wall_ratio']:.3f} with start-up "
        f"(medians of {settings['rounds']} round(s) taken in turns).",
        f"{settings['images']} images × {settings['prompts']} prompts in {settings['chunks']} chunks of "
        f"{settings['chunk_images']}, {settings['workers']} worker(s) on {settings['device']} in "
        f"{settings['precision']}{', compiled' if settings['compile'] else ''}. Steady state: from the "
        f"{settings['workers']}. chunk finished to the last, without the images of the first {settings['workers']}.",
        f"Masks that differ between job and loop: {result['masks_differing']} of {result['masks']}.",
    ]


def _cores(rounds: dict[str, list[dict[str, Any]]]) -> str:
    """Who had the cores in the steady state, by the medians of the rounds."""
    kinds = list(dict.fromkeys(kind for entry in (*rounds["job"], *rounds["loop"]) for kind in entry["cores"]))
    medians = {
        way: {kind: statistics.median(entry["cores"].get(kind, 0.0) for entry in entries) for kind in kinds}
        for way, entries in rounds.items()
    }
    rows = [["cores in the steady state", *rounds]]
    rows += [[kind, *(f"{medians[way][kind]:.3f}" for way in rounds)] for kind in kinds]
    rows.append(["in all", *(f"{sum(medians[way].values()):.3f}" for way in rounds)])
    return aligned(rows)
