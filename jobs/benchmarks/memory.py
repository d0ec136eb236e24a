"""How much memory an actor takes at several numbers of queries, each measured in a process of its own."""

from __future__ import annotations

import gc
import multiprocessing
import resource
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

_IMAGES = 2


def measure(checkpoint: str, device: str, precision: str, compile: bool, prompts: Sequence[int]) -> dict[str, Any]:
    """Peak memory for each number of prompts at the same batch, and the largest over the smallest.

    ``working_bytes``: the process's highest resident set while it segments. ``growth_bytes``: how far that is above
    what it was with the engine ready. ``peak_bytes``: the highest ever, loading the checkpoint included.
    ``gpu_working_bytes``: the most PyTorch held of a GPU while it segments, the memory of captured graphs included.
    """
    entries = []
    for number in prompts:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            entries.append(pool.submit(_actor, checkpoint, device, precision, compile, number).result())
    found: dict[str, Any] = {"images": _IMAGES, "entries": entries}
    for key in ("working_bytes", "growth_bytes", "peak_bytes", "gpu_working_bytes"):
        values = [entry[key] for entry in entries if entry.get(key)]
        if values:
            found[key.replace("bytes", "ratio")] = max(values) / min(values)
    return found


def notes(found: dict[str, Any]) -> list[str]:
    """For a person."""
    lines = [
        f"Memory of an actor at P={entry['prompts']}: {entry['working_bytes'] / 2**20:.0f} MiB while it segments, "
        f"{entry['growth_bytes'] / 2**20:.0f} MiB above the ready engine; {entry['peak_bytes'] / 2**20:.0f} MiB while "
        "it loads" + (f"; GPU {entry['gpu_working_bytes'] / 2**20:.0f} MiB." if "gpu_working_bytes" in entry else ".")
        for entry in found["entries"]
    ]
    if lines:
        ratios = ", ".join(
            f"{name} {found[key]:.2f}×"
            for name, key in (
                ("while segmenting", "working_ratio"),
                ("growth", "growth_ratio"),
                ("GPU", "gpu_working_ratio"),
            )
            if key in found
        )
        lines.append(f"Memory, largest over smallest: {ratios}.")
    return lines


def _actor(checkpoint: str, device: str, precision: str, compile: bool, prompts: int) -> dict[str, Any]:
    """Segment images of noise with random conditionals, and keep the columns as an actor does."""
    import torch

    from benchmarks.harness import single_thread
    from benchmarks.ours import Ours
    from clipseg_ray.model.checkpoint import load

    single_thread(device)
    loaded = load(checkpoint)
    config: Any = loaded.config
    width = config.projection_dim
    ours = Ours(loaded, device, precision, compile)
    del loaded
    rng = np.random.default_rng(0)
    side = ours.preprocessing.size
    pixels_bhwc = rng.integers(0, 256, (_IMAGES * ours.engine.batch, side, side, 3), np.uint8)
    embedded = ours.engine.embed(rng.normal(0, 0.5, (prompts, width)).astype(np.float32))
    gc.collect()
    forget_peak()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    ready = status("VmRSS")
    kept = [ours.columns(block) for block in ours.blocks(pixels_bhwc, embedded)]
    highest = status("VmHWM")
    entry = {
        "prompts": prompts,
        "rows": sum(len(columns["area"]) for columns in kept),
        "ready_bytes": ready,
        "working_bytes": highest,
        "growth_bytes": max(0, highest - ready),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    if device == "cuda":
        entry["gpu_working_bytes"] = torch.cuda.max_memory_reserved()
    return entry


def forget_peak() -> None:
    """Start Linux's high-water mark anew from the present resident set (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def status(name: str) -> int:
    """A memory figure of this process, in bytes (proc(5), status)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)
