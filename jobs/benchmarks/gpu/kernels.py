"""The two Triton kernels, each by itself and both in the engine, against PyTorch's operations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from benchmarks.gpu import models
from benchmarks.gpu.answers import Answers
from benchmarks.gpu.messages import messages
from benchmarks.gpu.part import Finding, Setting
from benchmarks.gpu.stopwatch import seconds, seconds_each
from clipseg_ray.masks import packing_kernel
from clipseg_ray.masks.threshold import pack
from clipseg_ray.model import feedforward_kernel
from clipseg_ray.model.decoder import Decoder

_ROWS = 128
_FLIPS = 5e-3
"""The share of pixels that other roundings in bf16 may flip: whole precisions differ by 3e-3 with random weights."""
_BUDGET_S = 0.6


def compare(setting: Setting) -> Finding:
    """Chosen or not, results, and times on against off."""
    if packing_kernel.triton is None:
        return Finding("Triton is not installed: the engine goes without", {"triton": False}, False)
    values: dict[str, Any] = {"feedforward": _feedforward(setting), "packing": _packing(setting)}
    values["engine"] = _engine(setting)
    first, second, whole = values["feedforward"], values["packing"], values["engine"]
    agrees = (
        first["error"] <= first["allowed"]
        and second["bits_differ"] == 0
        and second["maxima_differ"] == 0
        and second["sum_error"] < 1e-3
        and whole["pixels_differ"] <= _FLIPS
        and whole["both_chosen"]
    )
    summary = (
        f"feed-forward {first['off_s'] / first['on_s']:.2f}× (off by {first['error']:.1e} of the largest value), "
        f"packing {second['off_s'] / second['on_s']:.2f}×, the engine {whole['off_s'] / whole['on_s']:.2f}× with both; "
        f"{whole['pixels_differ']:.1e} of pixels differ" + ("" if whole["both_chosen"] else "; NOT BOTH CHOSEN")
    )
    return Finding(summary, values, agrees)


@torch.no_grad()
def _feedforward(setting: Setting) -> dict[str, float]:
    """A chunk's rows through one block's feed-forward: bf16, both against the block in fp32."""
    loaded = models.checkpoint(setting)
    config: Any = loaded.config
    grid = loaded.preprocessing.size // config.vision_config.patch_size
    exact: Any = Decoder(loaded, grid).blocks[0].float().to(setting.device)
    block: Any = Decoder(loaded, grid).blocks[0].to(torch.bfloat16).to(setting.device)
    fused = feedforward_kernel.FusedFeedForward(block)
    width = len(block.norm2.weight)
    x_ptd = torch.randn(_ROWS, grid**2 + 1, width, device=setting.device).to(torch.bfloat16)

    def plain() -> torch.Tensor:
        return block.norm2(x_ptd + block.feedforward(x_ptd))

    wide_ptd = x_ptd.float()
    expected = exact.norm2(wide_ptd + exact.feedforward(wide_ptd))
    largest = expected.abs().max()
    return {
        "error": ((fused(x_ptd).float() - expected).abs().max() / largest).item(),
        "error_off": ((plain().float() - expected).abs().max() / largest).item(),
        "allowed": 0.03,
        "on_s": seconds_each(lambda: fused(x_ptd), setting.device, _BUDGET_S),
        "off_s": seconds_each(plain, setting.device, _BUDGET_S),
    }


@torch.no_grad()
def _packing(setting: Setting) -> dict[str, float]:
    side = models.checkpoint(setting).preprocessing.size
    logits_pwh = (3 * torch.randn(_ROWS, side, side, device=setting.device)).to(torch.bfloat16)
    limit_p = torch.linspace(-2, 2, _ROWS, device=setting.device)
    ours, theirs = packing_kernel.pack_fused(logits_pwh, limit_p), pack(logits_pwh, limit_p)
    sums_p = theirs.probability_sum_p
    return {
        "bits_differ": int((ours.bits_pn != theirs.bits_pn).sum()),
        "maxima_differ": int((ours.max_logit_p != theirs.max_logit_p).sum()),
        "sum_error": ((ours.probability_sum_p - sums_p).abs() / sums_p.clamp_min(1)).max().item(),
        "on_s": seconds_each(lambda: packing_kernel.pack_fused(logits_pwh, limit_p), setting.device, _BUDGET_S),
        "off_s": seconds_each(lambda: pack(logits_pwh, limit_p), setting.device, _BUDGET_S),
    }


def _engine(setting: Setting) -> dict[str, Any]:
    """Both kernels where a run has them, against an engine made where Triton is not to be had."""
    with messages() as said:
        on = models.engine(setting, "bf16")
    with _without_triton():
        off = models.engine(setting, "bf16")
    pixels_bhwc = models.pixels(setting, 2 * on.batch)
    conditionals_qc = models.conditionals(setting, 64)
    answers, plain = (Answers.of(each, pixels_bhwc, conditionals_qc) for each in (on, off))
    return {
        "messages": said,
        "both_chosen": sum("the fused kernel" in message for message in said) == 2,
        "pixels_differ": answers.differing(plain),
        "highest_difference": answers.highest_difference(plain),
        "on_s": seconds(lambda: Answers.of(on, pixels_bhwc, conditionals_qc), setting.device),
        "off_s": seconds(lambda: Answers.of(off, pixels_bhwc, conditionals_qc), setting.device),
    }


@contextmanager
def _without_triton() -> Iterator[None]:
    modules: list[Any] = [feedforward_kernel, packing_kernel]
    kept = [module.triton for module in modules]
    for module in modules:
        module.triton = None
    try:
        yield
    finally:
        for module, triton in zip(modules, kept, strict=True):
            module.triton = triton
