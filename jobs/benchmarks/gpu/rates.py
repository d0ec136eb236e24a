"""The card's own rates: matrix products in each format, copies on the device and over PCIe."""

from __future__ import annotations

from functools import partial

import torch

from benchmarks.gpu.part import Finding, Setting
from benchmarks.gpu.stopwatch import seconds_each
from benchmarks.roofline import H200_BF16


def measure(setting: Setting) -> Finding:
    """Operations a second of the largest product and of the encoder's own shapes, and bytes a second."""
    values: dict[str, float] = {}
    budget_s = 0.1 if setting.small else 0.8
    for name, dtype, side in (("bf16", torch.bfloat16, 8192), ("fp32", torch.float32, 4096)):
        side = 256 if setting.small else side
        values[f"{name}_flops"] = _product(setting.device, dtype, (side, side, side), budget_s)
    if not setting.small:
        # ViT-B/16 at 352 pixels, 16 images at once: what the encoder asks for, not what flatters the card.
        shapes = [(16 * 485, 768, 3072), (16 * 485, 3072, 768), (16 * 485, 768, 2304), (128 * 485, 64, 2048)]
        for shape in shapes:
            rate = _product(setting.device, torch.bfloat16, shape, budget_s / 2)
            values["bf16_flops_" + "x".join(map(str, shape))] = rate
    count = 2**22 if setting.small else 2**30
    values["copy_bytes_per_s"] = _copy(setting.device, count, budget_s)
    if setting.device == "cuda":
        values |= _over_pcie(count // 4, budget_s)
    bf16_flops, copied = values["bf16_flops"], values["copy_bytes_per_s"]
    summary = (
        f"bf16 {bf16_flops / 1e12:.3g} TFLOP/s ({bf16_flops / H200_BF16:.0%} of an H200's 790), "
        f"fp32 {values['fp32_flops'] / 1e12:.3g}, copy {copied / 1e12:.3g} TB/s read and written"
    )
    if "to_host_bytes_per_s" in values:
        summary += f", to host {values['to_host_bytes_per_s'] / 1e9:.3g} GB/s"
    return Finding(summary, values)


def _product(device: str, dtype: torch.dtype, shape: tuple[int, int, int], budget_s: float) -> float:
    """Operations a second; fp32 without TF32."""
    torch.backends.cuda.matmul.allow_tf32 = False
    rows, inner, columns = shape
    a = torch.randn(rows, inner, device=device).to(dtype)
    b = torch.randn(inner, columns, device=device).to(dtype)
    out = torch.empty(rows, columns, device=device, dtype=dtype)
    return 2 * rows * inner * columns / seconds_each(partial(torch.mm, a, b, out=out), device, budget_s)


def _copy(device: str, count: int, budget_s: float) -> float:
    """Bytes read and written a second."""
    source = torch.zeros(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * count / seconds_each(partial(target.copy_, source), device, budget_s)


def _over_pcie(count: int, budget_s: float) -> dict[str, float]:
    there = torch.zeros(count, dtype=torch.uint8, device="cuda")
    here = torch.empty(count, dtype=torch.uint8, pin_memory=True)
    return {
        "to_host_bytes_per_s": count / seconds_each(partial(here.copy_, there, True), "cuda", budget_s),
        "to_device_bytes_per_s": count / seconds_each(partial(there.copy_, here, True), "cuda", budget_s),
    }
