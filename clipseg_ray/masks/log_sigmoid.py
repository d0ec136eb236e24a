"""log σ in float32 from sums and products alone, so that every device and library rounds it alike.

A library's own exp and log differ by an ulp from the next one's, and an ulp decides who takes a pixel. The polynomials
are those of Cephes' ``expf`` and ``logf`` (Moshier); ``contest_kernel`` has the same operations in the same order.
"""

import torch
from torch import Tensor

FARTHEST = 87.0
"""Magnitudes beyond count as this one: e⁻⁸⁷ is the last power with a normal float32."""
LOG2_E = 1.44269504
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4
"""ln 2 in two parts; products of the first with whole numbers below 2⁸ are exact."""
EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
LOG = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
BEND = 0.41421356
"""√2 − 1: above it log(1 + x) is ln 2 + log((1 + x) / 2)."""


def log_sigmoid(logits: Tensor) -> Tensor:
    """log(1 / (1 + e⁻ˣ)) of finite float32 logits of any shape, within 2 ulp or 1e-7; the same bits everywhere.

    Not for ``torch.compile``, which fuses multiplications with additions.
    """
    falling = (-logits.abs()).clamp(min=-FARTHEST)
    power = (falling * LOG2_E).round()
    rest = falling - power * LN2_HIGH - power * LN2_LOW
    series = rest * EXP[0]
    for coefficient in EXP[1:-1]:
        series = (series + coefficient) * rest
    exponential = (series + EXP[-1]) * (rest * rest) + rest + 1.0
    exponential = exponential * ((power.to(torch.int32) + 127) << 23).view(torch.float32)
    halved = exponential > BEND
    x = torch.where(halved, (exponential - 1.0) * 0.5, exponential)
    square = x * x
    series = x * LOG[0]
    for coefficient in LOG[1:-1]:
        series = (series + coefficient) * x
    logarithm = (series + LOG[-1]) * x * square - square * 0.5
    logarithm = torch.where(halved, logarithm + LN2_LOW, logarithm) + x
    logarithm = torch.where(halved, logarithm + LN2_HIGH, logarithm)
    return logits.clamp(max=0.0) - logarithm
