"""The steps of an actor's start, timed: ``python -m <this> CHECKPOINT DEVICE [MODULE …]`` prints them as JSON.

For each step the seconds by the clock (``wall``) and of this process's CPU (``cpu``). The modules named are imported
first, each a step: what a process has loaded before it comes to our code.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


def main(checkpoint: str, device: str, *modules: str) -> None:
    """As ``pipeline.segmenter.Segmenter`` starts: its imports, checkpoint, engine; then two chunks of one batch."""
    steps: dict[str, dict[str, float]] = {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        steps[name] = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}

    for module in modules:
        with step(f"import {module}"):
            importlib.import_module(module)
    with step("import torch"):
        import torch
    with step("import the segmenter"):
        import numpy as np

        import clipseg_ray.pipeline.segmenter  # noqa: F401
        from clipseg_ray.masks.columns import columns
        from clipseg_ray.masks.rle import encode_bits
        from clipseg_ray.model.checkpoint import load
        from clipseg_ray.model.engine import Engine
        from clipseg_ray.model.factory import make_model
        from clipseg_ray.model.precision import default_batching, resolve_precision
    if device == "cpu":
        torch.set_num_threads(1)
    with step("open the device"):
        torch.zeros(1, device=device).item()
    with step("load the checkpoint"):
        loaded = load(checkpoint)
    with step("make the engine"):
        precision, _ = resolve_precision("auto", device)
        batch, decode_chunk = default_batching(device, precision)
        model = make_model(loaded, device=device, precision=precision, batch=batch, decode_chunk=decode_chunk)
        engine = Engine(model)
    side = loaded.preprocessing.size
    pixels_bhwc = np.zeros((batch, side, side, 3), np.uint8)
    prompts = engine.embed(np.zeros((8, loaded.config.projection_dim), np.float32))
    for name in ("first chunk", "second chunk"):
        with step(name):
            for block in engine.segment(pixels_bhwc, prompts, np.zeros(8, np.float32)):
                rles = encode_bits(block.bits_pn, *engine.grid, block.max_logit_p > 0)
                columns(rles, *engine.grid, block.max_logit_p, block.probability_sum_p)
    print(json.dumps(steps))


if __name__ == "__main__":
    main(*sys.argv[1:])
