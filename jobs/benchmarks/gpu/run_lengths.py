"""Packed bits to run lengths on the host: what a card must not outrun."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from benchmarks.gpu.part import Finding, Setting
from benchmarks.gpu.stopwatch import seconds
from benchmarks.rle import SIDE, smooth_fields
from clipseg_ray.masks.rle import encode_bits
from clipseg_ray.masks.threshold import pack

_CHUNK = 128


def measure(setting: Setting) -> Finding:
    """Masks a second with 1, 4 and 8 threads, a decoder's chunk at a time; the same characters from all."""
    fields_phw = smooth_fields(_CHUNK)
    packed = pack(fields_phw.transpose(1, 2).contiguous(), torch.zeros(_CHUNK))
    bits_pn, nonempty_p = packed.bits_pn.numpy(), (packed.max_logit_p > 0).numpy()
    expected = encode_bits(bits_pn, SIDE, SIDE, nonempty_p)
    chunks = 4 if setting.small else 400
    rates, same = {}, True
    for threads in (1, 4, 8):
        with ThreadPoolExecutor(threads) as pool:

            def run(pool: ThreadPoolExecutor = pool) -> bool:
                encoded = pool.map(lambda _: encode_bits(bits_pn, SIDE, SIDE, nonempty_p).counts, range(chunks))
                return all(counts.equals(expected.counts) for counts in encoded)

            same &= run()
            rates[threads] = chunks * _CHUNK / seconds(run, "cpu", warm=False)
    summary = "masks/s with threads: " + ", ".join(f"{threads}: {rate:.4g}" for threads, rate in rates.items())
    values = {
        "masks_per_s": {str(threads): rate for threads, rate in rates.items()},
        "empty_share": float(np.mean(~nonempty_p)),
    }
    return Finding(f"{summary} ({values['empty_share']:.0%} of the masks empty)", values, same)
