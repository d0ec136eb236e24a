"""Threshold, bit packing, maximum and masked probability sum of logit maps on the CPU, without temporaries."""

import numpy as np
from numba import njit

from clipseg_ray.masks.compiled import above64, as_float32, as_int32, compiled, greater, lesser

_LOG2_E = np.float32(1.44269504)
_ROUND = np.float32(12582912.0)  # 1.5·2²³: adding it leaves the nearest integer in the lowest mantissa bits
_FAR = np.float32(40.0)  # past it a probability is 0 or 1 to float32, and the product of two exponentials finite
# 2**f = 1 + c1 f + … + c6 f⁶ for |f| ≤ 0.5, least relative error (1.6e-8)
_POWERS = tuple(np.float32(c) for c in (0.6931472, 0.24022648, 0.055503324, 0.009618437, 0.0013398875, 0.00015353362))


@njit(fastmath={"contract"}, error_model="numpy")
def _one_plus_exp(x: np.float32) -> np.float32:
    """1 + exp(-x) within 2e-7 relative for |x| ≤ 40, clamped beyond, written so that a loop over it vectorises."""
    exponent = greater(lesser(x, _FAR), -_FAR) * -_LOG2_E
    shifted = exponent + _ROUND
    f = exponent - (shifted - _ROUND)
    power = _POWERS[5]
    power = power * f + _POWERS[4]
    power = power * f + _POWERS[3]
    power = power * f + _POWERS[2]
    power = power * f + _POWERS[1]
    power = power * f + _POWERS[0]
    power = power * f + np.float32(1)  # 2 to the f; the integer part goes straight into the exponent bits
    return np.float32(1) + as_float32(np.int32(as_int32(power) + (as_int32(shifted) << 23)))


@njit(fastmath={"reassoc"}, error_model="numpy")
def _highest(values_n: np.ndarray) -> np.float32:
    """The maximum, or NaN if any value is not finite."""
    highest = np.float32(-np.inf)
    taint = np.float32(0)
    for j in range(len(values_n)):
        highest = greater(values_n[j], highest)
        taint += values_n[j] - values_n[j]  # 0 for a finite value, NaN for any other
    return np.float32(np.nan) if np.isnan(taint) else highest


@njit(fastmath={"reassoc"}, error_model="numpy")
def _probability_sum(values_n: np.ndarray, limit: np.float32) -> np.float32:
    """Sum of sigmoid over the values above ``limit``, two to a division; an even number of values."""
    half = len(values_n) // 2
    first, second = values_n[:half], values_n[half:]
    total = np.float32(0)
    for j in range(half):
        a, b = _one_plus_exp(first[j]), _one_plus_exp(second[j])
        a_inside = b if first[j] > limit else np.float32(0)
        b_inside = a if second[j] > limit else np.float32(0)
        total += (a_inside + b_inside) / (a * b)
    return total


@njit(error_model="numpy")
def _pack_row(
    values_n: np.ndarray, limit: np.float32, bits_n: np.ndarray, words_n: np.ndarray, tail: np.ndarray
) -> tuple[np.float32, float]:
    """Write one row's bits; return its highest value (NaN if any is not finite) and its probability sum.

    ``words_n`` and ``tail`` are room to work in: uint64 [ceil(n / 64)] and float32 [64].
    """
    n = len(values_n)
    highest = _highest(values_n)
    if highest <= limit:
        bits_n[:] = 0
        return highest, 0.0
    total = 0.0
    whole = n // 64
    first = 0  # of the words not yet summed; long slices keep the vector units busy, empty words are skipped
    for k in range(whole):
        words_n[k] = above64(values_n, 64 * k, limit)
        if words_n[k] == np.uint64(0):
            if first < k:
                total += float(_probability_sum(values_n[64 * first : 64 * k], limit))
            first = k + 1
    if first < whole:
        total += float(_probability_sum(values_n[64 * first : 64 * whole], limit))
    if n % 64:
        tail[:] = -np.inf
        tail[: n % 64] = values_n[64 * whole :]
        words_n[whole] = above64(tail, 0, limit)
        total += float(_probability_sum(tail, limit))
    bits_n[:] = words_n.view(np.uint8)[: len(bits_n)]
    return highest, total


@compiled
def pack_float32(
    logits_pn: np.ndarray,
    threshold_logit_p: np.ndarray,
    bits_pn: np.ndarray,
    max_logit_p: np.ndarray,
    probability_sum_p: np.ndarray,
) -> None:
    """Fill the last three as :func:`clipseg_ray.masks.threshold.pack` says; ``logits_pn`` is float32."""
    words_n, tail = np.empty((logits_pn.shape[1] + 63) // 64, np.uint64), np.empty(64, np.float32)
    for p in range(len(logits_pn)):
        max_logit_p[p], probability_sum_p[p] = _pack_row(logits_pn[p], threshold_logit_p[p], bits_pn[p], words_n, tail)


@compiled
def pack_bfloat16(
    encoded_pn: np.ndarray,
    threshold_logit_p: np.ndarray,
    bits_pn: np.ndarray,
    max_logit_p: np.ndarray,
    probability_sum_p: np.ndarray,
) -> None:
    """The same for bfloat16 logits, given as the int16 that hold their bits."""
    words_n, tail = np.empty((encoded_pn.shape[1] + 63) // 64, np.uint64), np.empty(64, np.float32)
    values_n = np.empty(encoded_pn.shape[1], np.float32)
    values_bits_n = values_n.view(np.int32)
    for p in range(len(encoded_pn)):
        for j in range(len(values_n)):
            values_bits_n[j] = np.int32(encoded_pn[p, j]) << np.int32(16)
        max_logit_p[p], probability_sum_p[p] = _pack_row(values_n, threshold_logit_p[p], bits_pn[p], words_n, tail)
