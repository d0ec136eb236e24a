"""A small probability map of each mask, by which its threshold can be moved later; made where the logits are."""

import torch
import torch.nn.functional as F
from torch import Tensor


def quantised(logits_pwh: Tensor, side: int) -> Tensor:
    """Mean probability in each cell of a ``side`` × ``side`` grid: uint8 [P, side, side], 255 for 1, row by row.

    logits_pwh: [P, W, H] float32, bfloat16 or float16, transposed, at least ``side`` wide and high.
    """
    mean_pwh = F.adaptive_avg_pool2d(logits_pwh.float().sigmoid()[:, None], side)[:, 0]
    return (mean_pwh * 255).round().to(torch.uint8).transpose(1, 2).contiguous()
