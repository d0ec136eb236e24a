"""Threshold, bit packing, maximum and masked probability sum as one GPU kernel (Triton).

PyTorch's operations move some 7 MB for a map of 352×352 through memory, mostly temporaries in float32; this reads the
logits once, 0.25 MB in bfloat16, and writes the bits, 15 KB.
"""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from clipseg_ray.masks.threshold import Packed, pack

try:
    import triton
    import triton.language as tl
except ImportError:  # PyTorch's CPU wheels come without it
    triton = None

log = logging.getLogger(__name__)

# Octets of pixels a program goes through, and at a time. Fixed, not tuned: the order of sums is part of a score.
_SEGMENT, _OCTETS = 2048, 256

if triton is not None:

    @triton.jit
    def _kernel(  # type: ignore[no-untyped-def]
        logits_ptr,
        limit_ptr,
        bits_ptr,
        highest_ptr,
        sum_ptr,
        pixels,
        octets,
        SEGMENT: tl.constexpr,
        OCTETS: tl.constexpr,
    ):
        row = tl.program_id(0).to(tl.int64)
        segment = tl.program_id(1)
        limit = tl.load(limit_ptr + row)
        k = tl.arange(0, 8)
        highest = tl.full((OCTETS,), float("-inf"), tl.float32)
        taint = tl.zeros((OCTETS,), tl.float32)
        total = tl.zeros((OCTETS,), tl.float32)
        for start in range(0, SEGMENT, OCTETS):
            octet = segment * SEGMENT + start + tl.arange(0, OCTETS)
            pixel = octet[:, None] * 8 + k[None, :]
            there = pixel < pixels
            x = tl.load(logits_ptr + row * pixels + pixel, mask=there, other=float("-inf")).to(tl.float32)
            inside = x > limit
            bits = tl.sum(inside.to(tl.int32) << k[None, :], 1)
            tl.store(bits_ptr + row * octets + octet, bits.to(tl.uint8), mask=octet < octets)
            highest = tl.maximum(highest, tl.max(x, 1))
            # 0 for a finite x and NaN for any other, which a maximum may pass over and a sum does not.
            taint += tl.sum(tl.where(there, x - x, 0.0), 1)
            total += tl.sum(tl.where(inside, tl.sigmoid(x), 0.0), 1)
        place = row * tl.num_programs(1) + segment
        tl.store(highest_ptr + place, tl.max(highest, 0) + tl.sum(taint, 0))
        tl.store(sum_ptr + place, tl.sum(total, 0))


def pack_fused(logits_pwh: Tensor, threshold_logit_p: Tensor) -> Packed:
    """`pack` on a GPU: the same bits and maxima, sums up to rounding."""
    logits_pn = logits_pwh.flatten(1)
    rows, pixels = logits_pn.shape
    octets = (pixels + 7) // 8
    segments = (octets + _SEGMENT - 1) // _SEGMENT
    bits_pn = logits_pn.new_empty((rows, octets), dtype=torch.uint8)
    highest_ps = logits_pn.new_empty((rows, segments), dtype=torch.float32)
    sum_ps = torch.empty_like(highest_ps)
    _kernel[(rows, segments)](
        logits_pn.contiguous(),
        threshold_logit_p,
        bits_pn,
        highest_ps,
        sum_ps,
        pixels,
        octets,
        SEGMENT=_SEGMENT,
        OCTETS=_OCTETS,
    )
    return Packed(bits_pn, highest_ps.amax(1), sum_ps.sum(1))


def choose(device: torch.device) -> Callable[[Tensor, Tensor], Packed]:
    """`pack_fused` where it runs on the GPU `device` and agrees with `pack`, else `pack`.

    By rule and not by timing: two actors of one job must take the same way to give the same scores.
    """
    if triton is None:
        return pack
    with torch.no_grad(), torch.cuda.device(device):
        # A part of a segment and of an octet; values on the threshold and on both sides; a NaN and an infinity.
        logits_pn = torch.arange(4 * (8 * _SEGMENT + 12), device=device, dtype=torch.float32)
        logits_pn = (logits_pn * 0.7).sin().mul(8).round().view(4, 1, -1)
        logits_pn[2, 0, 5], logits_pn[3, 0, -1] = float("nan"), float("inf")
        limit_p = torch.tensor([0.0, 8.0, -1.0, 2.0]).to(device)
        expected = pack(logits_pn, limit_p)
        try:
            found = pack_fused(logits_pn, limit_p)
            agree = all(
                torch.allclose(ours.cpu().float(), theirs.cpu().float(), rtol=1e-4, equal_nan=True)
                for ours, theirs in zip(found, expected, strict=True)
            )
        except torch.AcceleratorError:
            raise  # the device is lost to this process
        except Exception as fault:  # a Triton that cannot compile for this GPU, or finds no C compiler
            log.warning("the packing kernel does not run here (%s); going on without", str(fault)[:200])
            return pack
    if not agree:
        log.warning("the packing kernel does not agree with PyTorch here; going on without")
        return pack
    log.info("packing of masks: the fused kernel")
    return pack_fused
