"""The decoder's feed-forward, residual and norm as one GPU kernel (Triton).

Of the 17 MB a query moves through the decoder 12 are the hidden layer of ``Linear(64→2048), ReLU,
Linear(2048→64)``. Here a tile of rows stays in registers while the kernel walks over the hidden layer, which is
never written: matrix products in the weights' precision, sums in float32.
"""

import logging
from typing import Any

import torch
from torch import nn

from clipseg_ray.model.layers import DecoderBlock

try:
    import triton
    import triton.language as tl
except ImportError:  # PyTorch's CPU wheels come without it
    triton = None

log = logging.getLogger(__name__)

_ROWS, _HIDDEN = 128, 64  # tile: rows of x in registers × hidden units at a time
# With 4 warps the compiler spills registers on Ampere; with 8 it does not for any width, and two tiles fit a Hopper's
# multiprocessor (jobs/BENCHMARKS.md, 2026-11-24). Fixed, not tuned: the order of sums is part of what a mask is.
_WARPS, _STAGES = 8, 3
_TOLERANCE = 0.03  # of the largest value; bfloat16 rounds to 0.004

if triton is not None:

    @triton.jit(do_not_specialize=["rows"])
    def _kernel(  # type: ignore[no-untyped-def]
        x_ptr,
        w1_ptr,
        b1_ptr,
        w2_ptr,
        b2_ptr,
        gamma_ptr,
        beta_ptr,
        out_ptr,
        rows,
        eps,
        D: tl.constexpr,
        H: tl.constexpr,
        ROWS: tl.constexpr,
        HIDDEN: tl.constexpr,
    ):
        row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
        d = tl.arange(0, D)
        place = row.to(tl.int64)[:, None] * D + d[None, :]
        inside = row[:, None] < rows
        x = tl.load(x_ptr + place, mask=inside, other=0.0)
        total = x.to(tl.float32) + tl.load(b2_ptr + d).to(tl.float32)[None, :]
        for start in range(0, H, HIDDEN):
            h = start + tl.arange(0, HIDDEN)
            w1_dh = tl.load(w1_ptr + h[None, :] * D + d[:, None])
            hidden = tl.dot(x, w1_dh, input_precision="ieee") + tl.load(b1_ptr + h).to(tl.float32)[None, :]
            hidden = tl.maximum(hidden, 0.0).to(x.dtype)
            w2_hd = tl.load(w2_ptr + h[:, None] * D + d[None, :])
            total += tl.dot(hidden, w2_hd, input_precision="ieee")
        mean = tl.sum(total, 1) / D
        centred = total - mean[:, None]
        scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / D + eps)
        gamma = tl.load(gamma_ptr + d).to(tl.float32)
        beta = tl.load(beta_ptr + d).to(tl.float32)
        out = centred * scale[:, None] * gamma[None, :] + beta[None, :]
        tl.store(out_ptr + place, out.to(x.dtype), mask=inside)


class FusedFeedForward(nn.Module):
    """``norm2(x + feedforward(x))`` of a decoder block in one kernel: [..., d] → [..., d], contiguous."""

    def __init__(self, block: DecoderBlock) -> None:
        super().__init__()
        widen, narrow, norm = block.feedforward.widen, block.feedforward.narrow, block.norm2
        self.hidden, self.width = widen.weight.shape
        self.eps = norm.eps
        self.widen_hd, self.widen_h = widen.weight, widen.bias
        self.register_buffer("narrow_hd", narrow.weight.T.contiguous())
        self.narrow_d, self.gamma_d, self.beta_d = narrow.bias, norm.weight, norm.bias

    @staticmethod
    def supports(block: DecoderBlock) -> bool:
        """Whether the kernel can be had and fits the block's widths: d a power of two ≥ 16, hidden a multiple of 64."""
        hidden, width = block.feedforward.widen.weight.shape
        return (
            triton is not None
            and 16 <= width <= 128
            and width & (width - 1) == 0
            and hidden % _HIDDEN == 0
            and block.feedforward.widen.activation == "relu"
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous()
        out = torch.empty_like(x)
        rows = x.numel() // self.width
        _kernel[(triton.cdiv(rows, _ROWS),)](
            x,
            self.widen_hd,
            self.widen_h,
            self.narrow_hd,
            self.narrow_d,
            self.gamma_d,
            self.beta_d,
            out,
            rows,
            self.eps,
            D=self.width,
            H=self.hidden,
            ROWS=_ROWS,
            HIDDEN=_HIDDEN,
            num_warps=_WARPS,
            num_stages=_STAGES,
        )
        return out


def choose(blocks: nn.ModuleList) -> None:
    """Put the kernel into decoder `blocks` on a GPU where it runs and agrees with PyTorch's operations.

    By rule and not by timing: two actors of one job must take the same way, or their masks differ at threshold ties.
    Tensor cores for bfloat16 came with compute capability 8. float32 engines are exact as they are and keep PyTorch's.
    """
    first = blocks[0]
    assert isinstance(first, DecoderBlock)
    weight: Any = first.norm2.weight
    if weight.dtype == torch.float32 or not FusedFeedForward.supports(first):
        return
    if torch.cuda.get_device_capability(weight.device) < (8, 0):
        return
    try:
        error = _difference(first)
    except torch.AcceleratorError:
        raise  # the device is lost to this process
    except Exception as fault:  # a Triton that cannot compile for this GPU, or finds no C compiler
        log.warning("the fused feed-forward kernel does not run here (%s); going on without", str(fault)[:200])
        return
    if error > _TOLERANCE:
        log.warning("the fused feed-forward kernel is off by %.2g of the largest value here; going on without", error)
        return
    log.info("feed-forward: the fused kernel, off by %.2g of the largest value", error)
    for block in blocks:
        assert isinstance(block, DecoderBlock)
        block.fused = FusedFeedForward(block)


def _difference(block: DecoderBlock) -> float:
    """The largest difference between kernel and PyTorch's operations, as a share of the largest value."""
    weight: Any = block.norm2.weight
    rows, width = 2 * _ROWS + 1, len(weight)  # whole tiles and a part of one
    x_rd = torch.arange(rows * width, device=weight.device, dtype=torch.float32).sin().view(rows, width)
    x_rd = (2 * x_rd).to(weight.dtype)
    with torch.no_grad(), torch.cuda.device(weight.device):
        found = FusedFeedForward(block)(x_rd).float()
        expected = block.norm2(x_rd + block.feedforward(x_rd)).float()
    return ((found - expected).abs().max() / expected.abs().max()).item()
