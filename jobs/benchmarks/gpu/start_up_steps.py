"""The steps of an actor's start, timed: ``python -m <this> CHECKPOINT DEVICE`` prints seconds by step as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.gpu.worker import without_absent


def main(checkpoint: str, device: str) -> None:
    """As ``pipeline.segmenter.Segmenter`` starts: its imports, checkpoint, engine; then two chunks of one batch."""
    steps: dict[str, float] = {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        steps[name] = time.perf_counter() - started

    without_absent()
    with step("import torch"):
        import torch
    with step("import the segmenter"):
        import numpy as np

        import clipseg_ray.pipeline.segmenter  # noqa: F401
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
    config: Any = loaded.config
    prompts = engine.embed(np.zeros((8, config.projection_dim), np.float32))
    for name in ("first chunk", "second chunk"):
        with step(name):
            for _ in engine.segment(pixels_bhwc, prompts, np.zeros(8, np.float32)):
                pass
    print(json.dumps(steps))


if __name__ == "__main__":
    main(*sys.argv[1:])
