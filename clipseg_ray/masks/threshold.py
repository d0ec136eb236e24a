"""Logits to packed bits and the two numbers a score is made of, on whatever device the logits are on."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clipseg_ray.masks.packing import pack_bfloat16, pack_float32


class Packed(NamedTuple):
    """Everything about P masks that leaves the device.

    bits_pn: uint8 [P, ceil(W·H/8)]. Bit k (lowest first, as ``numpy.packbits(bitorder="little")``) of byte n is
        pixel 8n + k of the mask in COCO's column-major order; bits past the last pixel are 0.
    max_logit_p: float32 [P], the highest logit of the grid; NaN if any logit of the row is NaN or infinite.
    probability_sum_p: float32 [P], sum of sigmoid(logit) over the pixels inside the mask; 0 for an empty mask.
    """

    bits_pn: Tensor
    max_logit_p: Tensor
    probability_sum_p: Tensor


def pack(logits_pwh: Tensor, threshold_logit_p: Tensor) -> Packed:
    """Threshold P logit maps and pack the masks into bits.

    logits_pwh: [P, W, H] float32, bfloat16 or float16, *transposed*: row-major order of a map is COCO's order.
    threshold_logit_p: float32 [P] on the same device; a pixel is inside when its logit, as float32, is above it.

    Nothing waits for the device and shapes follow from shapes, so this can be compiled and captured in a graph; on a
    CPU call it outside what torch compiles, whose code for bits is 15 times slower than ours.
    The bits are the same on every path; sums differ by rounding (accumulated in float32 or better).
    """
    logits_pn = logits_pwh.flatten(1)
    if logits_pn.device.type == "cpu" and not torch.compiler.is_compiling():
        return _pack_on_cpu(logits_pn, threshold_logit_p)
    return _pack_with_torch(logits_pn, threshold_logit_p)


def _pack_with_torch(logits_pn: Tensor, threshold_logit_p: Tensor) -> Packed:
    logits_pn = logits_pn.float()
    inside_pn = logits_pn > threshold_logit_p[:, None]
    probability_sum_p = torch.where(inside_pn, logits_pn.sigmoid(), 0.0).sum(1)
    # x - x is 0 for a finite x and NaN for any other, and a maximum keeps NaN: one number shows both.
    max_logit_p = (logits_pn + (logits_pn - logits_pn)).amax(1)
    octets_pnk = F.pad(inside_pn, (0, -inside_pn.shape[1] % 8)).view(torch.uint8).unflatten(1, (-1, 8))
    bits_pn = octets_pnk[:, :, 0]
    for k in range(1, 8):  # pointwise, where a sum over eight would be compiled into a slow reduction
        bits_pn = bits_pn | (octets_pnk[:, :, k] << k)
    return Packed(bits_pn, max_logit_p, probability_sum_p)


def _pack_on_cpu(logits_pn: Tensor, threshold_logit_p: Tensor) -> Packed:
    """The same in machine code: 5 times faster than torch operations, 15 times faster than those compiled."""
    rows, pixels = logits_pn.shape
    bits_pn = np.empty((rows, (pixels + 7) // 8), np.uint8)
    max_logit_p = np.empty(rows, np.float32)
    probability_sum_p = np.empty(rows, np.float32)
    limit_p = threshold_logit_p.detach().float().contiguous().numpy()
    if logits_pn.dtype == torch.bfloat16:
        encoded_pn = logits_pn.detach().contiguous().view(torch.int16).numpy()
        pack_bfloat16(encoded_pn, limit_p, bits_pn, max_logit_p, probability_sum_p)
    else:
        values_pn = logits_pn.detach().float().contiguous().numpy()
        pack_float32(values_pn, limit_p, bits_pn, max_logit_p, probability_sum_p)
    return Packed(*map(torch.from_numpy, (bits_pn, max_logit_p, probability_sum_p)))
