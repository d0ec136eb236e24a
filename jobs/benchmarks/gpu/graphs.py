"""Streams and graphs: the engine's masks against those of its own modules called one by one, and again and again.

On a GPU a copy that overtakes the computation, or a graph that reads what is being written, shows as masks that are not
the same twice, or not those of the plain calls.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.gpu import models
from benchmarks.gpu.answers import Answers
from benchmarks.gpu.part import Finding, Setting
from benchmarks.gpu.stopwatch import seconds
from clipseg_ray.masks import packing_kernel
from clipseg_ray.masks.threshold import pack
from clipseg_ray.model import feedforward_kernel
from clipseg_ray.model.decoder import Decoder, FilmLayers
from clipseg_ray.model.encoder import Encoder
from clipseg_ray.model.precision import DTYPES

_FLIPS = {"fp32": 1e-4, "bf16": 5e-3}
"""The share of pixels that may differ from the plain calls, whose products may round in another order."""


def compare(setting: Setting) -> Finding:
    """In both precisions, three batches and a part of one, chunks that do and do not end with an image."""
    values = {precision: _compared(setting, precision) for precision in ("fp32", "bf16")}
    summary = "; ".join(
        f"{precision}: {found['pixels_differ']:.1e} of pixels differ from plain calls, "
        f"{found['repeats']} repeats {'identical' if found['identical'] else 'DIFFER'}, "
        f"{found['plain_s'] / found['engine_s']:.2f}× as fast"
        for precision, found in values.items()
    )
    agrees = all(found["identical"] and found["pixels_differ"] <= _FLIPS[name] for name, found in values.items())
    return Finding(summary, values, agrees)


def _compared(setting: Setting, precision: str) -> dict[str, Any]:
    engine = models.engine(setting, precision)
    plain = _Plain(setting, precision, engine.batch, engine.decode_chunk)
    pixels_bhwc = models.pixels(setting, 3 * engine.batch + 1)
    conditionals_qc = models.conditionals(setting, 5 if setting.small else 24)
    first = Answers.of(engine, pixels_bhwc, conditionals_qc)
    expected = plain.answers(pixels_bhwc, conditionals_qc)
    repeats = 2 if setting.small else 8
    identical = True
    for _ in range(repeats):
        # In between something of another shape, so that graphs take turns.
        Answers.of(engine, pixels_bhwc[:1], conditionals_qc[:1])
        identical &= first.identical(Answers.of(engine, pixels_bhwc, conditionals_qc))
    rounds = 1 if setting.small else 3
    return {
        "pixels_differ": first.differing(expected),
        "highest_difference": first.highest_difference(expected),
        "identical": identical,
        "repeats": repeats,
        "engine_s": seconds(lambda: Answers.of(engine, pixels_bhwc, conditionals_qc), setting.device, rounds=rounds),
        "plain_s": seconds(lambda: plain.answers(pixels_bhwc, conditionals_qc), setting.device, rounds=rounds),
    }


class _Plain:
    """Encoder, decoder and packing called one after another on the current stream, each waited for."""

    def __init__(self, setting: Setting, precision: str, batch: int, chunk: int) -> None:
        loaded = models.checkpoint(setting)
        self.device, self.batch, self.chunk = torch.device(setting.device), batch, chunk
        dtype = DTYPES[precision]
        self.encoder = Encoder(loaded, dtype).eval().to(self.device)
        self.decoder = Decoder(loaded, self.encoder.grid).to(dtype).eval().to(self.device)
        self.to_prompts = FilmLayers(loaded).eval().to(self.device)
        self.pack: Any = pack
        if setting.device == "cuda":
            feedforward_kernel.choose(self.decoder.blocks)
            self.pack = packing_kernel.choose(self.device)

    @torch.no_grad()
    def answers(self, pixels_bhwc: np.ndarray, conditionals_qc: np.ndarray) -> Answers:
        """Every image with every query."""
        prompts = self.to_prompts(torch.from_numpy(conditionals_qc).to(self.device))
        parts = []
        for start in range(0, len(pixels_bhwc), self.batch):
            taps_kbtd, *_ = self.encoder(torch.from_numpy(pixels_bhwc[start : start + self.batch]).to(self.device))
            rows = torch.arange(taps_kbtd.shape[1] * len(prompts), device=self.device)
            for row_p in rows.split(self.chunk):
                query_p = row_p % len(prompts)
                logits_pwh = self.decoder(
                    taps_kbtd, row_p // len(prompts), prompts.mul_qd[query_p], prompts.add_qd[query_p]
                )
                packed = self.pack(logits_pwh, torch.zeros(len(row_p), device=self.device))
                parts.append([tensor.cpu().numpy() for tensor in packed])
        return Answers(*(np.concatenate(column) for column in zip(*parts, strict=True)))
