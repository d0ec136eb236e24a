"""Which number format and which batch sizes suit a device."""

from pathlib import Path

import torch

from clipseg_ray.errors import UserError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_precision(precision: str, device: str) -> tuple[str, str]:
    """("fp32", "bf16" or "fp16", why) for a wish of those or "auto" on `device` ("cpu", "cuda", "cuda:1").

    bf16 pays on a CPU only where it multiplies bf16 itself, with AMX (5 times as fast as fp32) or AVX-512's BF16
    instructions (1.7 times): elsewhere it is 1.4–4.6 times slower. Raises UserError for a format that does not exist
    or that the device does not do.
    """
    cuda = torch.device(device).type == "cuda"
    if precision == "auto":
        if cuda:
            return "bf16", "the device is a GPU"
        if has_amx():
            return "bf16", "this CPU has AMX"
        if has_avx512_bf16():
            return "bf16", "this CPU has AVX-512 BF16 instructions"
        return "fp32", "this CPU has neither AMX nor AVX-512 BF16, without which bf16 is slower than fp32"
    if precision not in DTYPES:
        raise UserError(f"model.precision: {precision!r} is unknown; choose auto, fp32, bf16 or fp16")
    if precision == "fp16" and not cuda:
        raise UserError("model.precision: fp16 is for GPUs; on a CPU choose auto, fp32 or bf16")
    return precision, "as configured"


def has_amx() -> bool:
    """Whether this CPU multiplies bf16 tiles (Intel AMX), by the flags the kernel reports."""
    return {"amx_bf16", "amx_tile"} <= _flags()


def has_avx512_bf16() -> bool:
    """Whether this CPU multiplies bf16 pairs in its AVX-512 units, by the flags the kernel reports."""
    return "avx512_bf16" in _flags()


def _flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())


def default_batching(device: str, precision: str) -> tuple[int, int]:
    """(images encoded together, (image, query) rows decoded together).

    CPU: small enough for the caches, and so that a short chunk is not mostly padding. GPU: enough rows to fill the
    device, in line with the roofline; not measured on one yet.
    """
    if torch.device(device).type == "cuda":
        return (16, 128) if precision != "fp32" else (8, 64)
    return (2, 8) if precision == "bf16" else (2, 4)
