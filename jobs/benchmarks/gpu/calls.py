"""What the host asks of the driver for a chunk, and the bytes that cross PCIe for a mask, as CUPTI records them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu import models
from benchmarks.gpu.part import Finding, Setting
from benchmarks.gpu.stopwatch import synchronize
from benchmarks.ours import block_bytes
from clipseg_ray.model.precision import resolve_precision

_BYTES_SPARE = 1.02


def count(setting: Setting) -> Finding:
    """Calls and copies of a few batches with features at hand, so that every chunk is one of the decoder's."""
    engine = models.engine(setting, resolve_precision("auto", setting.device)[0])
    features = engine.encode(models.pixels(setting, engine.batch))
    prompts = engine.embed(models.conditionals(setting, 5 if setting.small else 128))
    limits_q = np.zeros(len(prompts), np.float32)
    activities = [ProfilerActivity.CPU]
    if setting.device == "cuda":
        activities.append(ProfilerActivity.CUDA)
    for _ in engine.segment(features, prompts, limits_q):  # captures what is to be counted
        pass
    synchronize(setting.device)
    chunks = masks = crossing = 0
    with profile(activities=activities) as recorded:
        for block in engine.segment(features, prompts, limits_q):
            chunks, masks, crossing = chunks + 1, masks + len(block.bits_pn), crossing + block_bytes(block)
        synchronize(setting.device)
    events = _events(recorded)
    kinds = ("cuda_runtime", "cuda_driver") if setting.device == "cuda" else ("cpu_op",)
    calls = Counter(event["name"] for event in events if event.get("cat") in kinds)
    copied: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "gpu_memcpy":
            copied[event["name"]] += event["args"].get("bytes", 0)
    down = sum(size for name, size in copied.items() if "DtoH" in name)
    values: dict[str, Any] = {
        "chunks": chunks,
        "masks": masks,
        "calls_per_chunk": sum(calls.values()) / chunks,
        "calls_per_chunk_by_name": {name: number / chunks for name, number in calls.most_common()},
        "block_bytes_per_mask": crossing / masks,
        "copied_bytes_per_mask": {name: size / masks for name, size in copied.items()},
    }
    what = "driver calls" if setting.device == "cuda" else "operations"
    summary = (
        f"{values['calls_per_chunk']:.1f} {what} a chunk of {engine.decode_chunk} ("
        + ", ".join(f"{name} {each:.3g}" for name, each in list(values["calls_per_chunk_by_name"].items())[:4])
        + f"); {values['block_bytes_per_mask']:.0f} bytes a mask to the host"
    )
    if setting.device != "cuda":
        return Finding(summary, values)
    if not copied:  # a container may withhold CUPTI's records of the device; the host's calls are there all the same
        return Finding(f"{summary} by their shapes; copies were not recorded", values)
    agrees = crossing <= down <= crossing * _BYTES_SPARE
    return Finding(f"{summary} by their shapes, {down / masks:.0f} recorded", values, agrees)


def _events(recorded: Any) -> list[dict[str, Any]]:
    """The profile's trace events; the format is Chrome's."""
    with TemporaryDirectory(prefix="clipseg-ray-benchmark-") as folder:
        path = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(path))
        return json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
