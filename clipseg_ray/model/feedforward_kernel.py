"""The decoder's feed-forward, residual and norm as one GPU kernel (Triton).

Of the 17 MB a query moves through the decoder 12 are the hidden layer of ``Linear(64→2048), ReLU,
Linear(2048→64)``. Here a tile of rows stays in registers while the kernel walks over the hidden layer, which is
never written: matrix products in the weights' precision, sums in float32.
"""

import logging
from collections.abc import Callable
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

if triton is not None:

    @triton.jit
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
        )
        return out


def choose(blocks: nn.ModuleList, *, rows: int, tokens: int, compile: bool) -> None:
    """Put the kernel into decoder `blocks` on a GPU if it agrees there with PyTorch's operations and is faster.

    One timing on the first block with `rows` × `tokens` rows, against the compiled operations where the engine
    compiles. float32 engines are exact as they are and keep PyTorch's.
    """
    first: Any = blocks[0]
    weight = first.norm2.weight
    if weight.dtype == torch.float32 or not FusedFeedForward.supports(first):
        return

    def plain(x: torch.Tensor) -> torch.Tensor:
        return first.norm2(x + first.feedforward(x))

    x_ptd = torch.randn(rows, tokens, len(weight), device=weight.device, dtype=weight.dtype)
    reference: Callable[[torch.Tensor], torch.Tensor] = torch.compile(plain, dynamic=False) if compile else plain
    fused = FusedFeedForward(first)
    try:
        with torch.inference_mode():
            error = (fused(x_ptd).float() - plain(x_ptd).float()).abs().max().item()
            ours, theirs = _milliseconds(fused, x_ptd), _milliseconds(reference, x_ptd)
    except torch.OutOfMemoryError:
        raise
    except Exception as fault:  # a Triton that cannot compile for this GPU
        log.warning("the fused feed-forward kernel does not run here (%s); going on without", str(fault)[:200])
        return
    wins = ours < theirs and error < 0.1  # two roundings of values of order 1 in bf16
    log.info(
        "feed-forward of %d rows: kernel %.3f ms, PyTorch %.3f ms, largest difference %.3g; using %s",
        rows,
        ours,
        theirs,
        error,
        "the kernel" if wins else "PyTorch",
    )
    if wins:
        for block in blocks:
            assert isinstance(block, DecoderBlock)
            block.fused = FusedFeedForward(block)


def _milliseconds(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, repeats: int = 20) -> float:
    for _ in range(5):
        function(x)
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(repeats):
        function(x)
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / repeats
