"""Who of a group takes which pixel, on the CPU: one pass over the members' logits, in tiles that stay in the cache."""

import numpy as np
from numba import njit

from clipseg_ray.masks.compiled import as_float32, compiled, greater
from clipseg_ray.masks.log_sigmoid import BEND, EXP, FARTHEST, LN2_HIGH, LN2_LOW, LOG, LOG2_E

_TILE = 2048
_ROUND = np.float32(12582912.0)  # 1.5·2²³: adding and taking it away rounds to the nearest whole number, ties to even
_FARTHEST, _LOG2_E, _BEND = np.float32(FARTHEST), np.float32(LOG2_E), np.float32(BEND)
_LN2_HIGH, _LN2_LOW = np.float32(LN2_HIGH), np.float32(LN2_LOW)
_E0, _E1, _E2, _E3, _E4, _E5 = (np.float32(c) for c in EXP)
_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7, _L8 = (np.float32(c) for c in LOG)
_ONE, _HALF, _ZERO = np.float32(1), np.float32(0.5), np.float32(0)


@njit(error_model="numpy")
def _log_sigmoid(x: np.float32) -> np.float32:
    """``log_sigmoid.log_sigmoid`` of one value: the same operations in the same order."""
    falling = greater(-abs(x), -_FARTHEST)
    power = (falling * _LOG2_E + _ROUND) - _ROUND
    rest = falling - power * _LN2_HIGH - power * _LN2_LOW
    series = rest * _E0
    series = (series + _E1) * rest
    series = (series + _E2) * rest
    series = (series + _E3) * rest
    series = (series + _E4) * rest
    exponential = (series + _E5) * (rest * rest) + rest + _ONE
    exponential = exponential * as_float32(np.int32((np.int32(power) + np.int32(127)) << np.int32(23)))
    halved = exponential > _BEND
    t = (exponential - _ONE) * _HALF if halved else exponential
    square = t * t
    series = t * _L0
    series = (series + _L1) * t
    series = (series + _L2) * t
    series = (series + _L3) * t
    series = (series + _L4) * t
    series = (series + _L5) * t
    series = (series + _L6) * t
    series = (series + _L7) * t
    logarithm = (series + _L8) * t * square - square * _HALF
    logarithm = (logarithm + _LN2_LOW if halved else logarithm) + t
    logarithm = logarithm + _LN2_HIGH if halved else logarithm
    return (x if x < _ZERO else _ZERO) - logarithm


@compiled
def take(
    logits_mn: np.ndarray,
    row_g: np.ndarray,
    log_weight_g: np.ndarray,
    weighted: bool,
    member_k: np.ndarray,
    output_k: np.ndarray,
    lost: np.float32,
    maps_on: np.ndarray,
) -> None:
    """Fill rows ``output_k`` of ``maps_on`` with the logits of the members ``member_k`` where they win, else ``lost``.

    logits_mn: float32 [m, n], finite. row_g: int64 [g], the group's rows in them. log_weight_g: float32 [g], added to
    log σ(logit) where ``weighted``, else raw logits are compared. The first of the greatest wins.
    """
    pixels = logits_mn.shape[1]
    best, key = np.empty(_TILE, np.float32), np.empty(_TILE, np.float32)
    winner = np.empty(_TILE, np.int32)
    for start in range(0, pixels, _TILE):
        count = min(_TILE, pixels - start)
        for g in range(len(row_g)):
            own = logits_mn[row_g[g], start : start + count]
            if weighted:
                weight = log_weight_g[g]
                for j in range(count):
                    key[j] = _log_sigmoid(own[j]) + weight
            else:
                key[:count] = own
            if g == 0:
                best[:count] = key[:count]
                winner[:count] = 0
                continue
            number = np.int32(g)
            for j in range(count):
                ahead = key[j] > best[j]
                best[j] = key[j] if ahead else best[j]
                winner[j] = number if ahead else winner[j]
        for k in range(len(member_k)):
            own = logits_mn[row_g[member_k[k]], start : start + count]
            number = np.int32(member_k[k])
            target = maps_on[output_k[k], start : start + count]
            for j in range(count):
                target[j] = own[j] if winner[j] == number else lost
