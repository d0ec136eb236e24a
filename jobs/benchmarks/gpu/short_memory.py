"""A card filled until the engine runs out of memory for real: it halves what it does at a time and goes on."""

from __future__ import annotations

import gc
from typing import Any

import torch

from benchmarks.gpu import models
from benchmarks.gpu.answers import Answers
from benchmarks.gpu.messages import messages
from benchmarks.gpu.part import Finding, Setting
from clipseg_ray.errors import UserError

_QUERIES = 20
_SHARES = (0.7, 0.4, 0.2)
_FLIPS = 1e-4
"""The share of pixels that differ in fp32 where products are of fewer rows."""


def fill(setting: Setting) -> Finding:
    """With less and less of the memory that the work takes left free: the same masks from smaller steps."""
    free = models.engine(setting, "fp32")
    pixels_bhwc = models.pixels(setting, 2 * free.batch + 1)
    conditionals_qc = models.conditionals(setting, _QUERIES)
    _give_back()
    ready = torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    expected = Answers.of(free, pixels_bhwc, conditionals_qc)
    needed = torch.cuda.max_memory_reserved() - ready
    del free
    rounds = [_with_share(setting, share, needed, expected) for share in _SHARES]
    halved = [found for found in rounds if found["messages"] and "pixels_differ" in found]
    agrees = bool(halved) and all(
        max(found.get("pixels_differ", 0.0), found["pixels_differ_once_free"]) <= _FLIPS for found in rounds
    )
    summary = f"{needed / 2**20:.0f} MiB wanted; " + "; ".join(
        f"{found['share']:.0%} of it free: "
        + (
            f"batch {found['batch']}, chunk {found['decode_chunk']}, {found['pixels_differ']:.1e} of pixels differ"
            if "pixels_differ" in found
            else str(found["refused"])
        )
        for found in rounds
    )
    return Finding(summary, {"needed_bytes": needed, "rounds": rounds}, agrees)


def _with_share(setting: Setting, share: float, needed: int, expected: Answers) -> dict[str, Any]:
    """One engine on a card where ``share`` of ``needed`` is free, and again once the card is free."""
    engine = models.engine(setting, "fp32")
    pixels_bhwc = models.pixels(setting, 2 * engine.batch + 1)
    conditionals_qc = models.conditionals(setting, _QUERIES)
    _give_back()
    left = int(share * needed)
    filler = torch.empty(max(0, torch.cuda.mem_get_info()[0] - left), dtype=torch.uint8, device="cuda")
    found: dict[str, Any] = {"share": share, "free_bytes": torch.cuda.mem_get_info()[0]}
    with messages() as said:
        try:
            short = Answers.of(engine, pixels_bhwc, conditionals_qc)
            found["pixels_differ"] = short.differing(expected)
        except UserError as error:  # too little even for one image, which is what it is to say then
            found["refused"] = str(error)
    found |= {"messages": said, "batch": engine.batch, "decode_chunk": engine.decode_chunk}
    del filler
    _give_back()
    again = Answers.of(engine, pixels_bhwc, conditionals_qc)
    found["pixels_differ_once_free"] = again.differing(expected)
    return found


def _give_back() -> None:
    """What PyTorch keeps of memory that nothing uses, an earlier engine's graphs among it."""
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
