"""One mask against its truth, counted by probability: a tenth of a millisecond for 352×352 pixels."""

import numpy as np

from clipseg_ray.masks.compiled import compiled

BINS = 2000
"""Bins of a probability histogram; bin k holds k / BINS < p ≤ (k + 1) / BINS, bin 0 also p = 0."""

_SPREAD = 64  # places that share the lowest bin, where most pixels fall: one place would wait for its own last store


@compiled
def count(probability_n: np.ndarray, label_n: np.ndarray, ignore_n: np.ndarray, pixels_cb: np.ndarray) -> bool:
    """Fill int32 ``pixels_cb`` [2, BINS] with a histogram of the background's (0) and foreground's (1) pixels.

    probability_n: float32 [n]. label_n, ignore_n: bool [n], or bool [0] for "nowhere". False, and nothing filled, if
    a probability is not within 0…1.
    """
    n = len(probability_n)
    row = BINS + _SPREAD
    place_n = np.empty(n, np.int32)
    within = True
    for i in range(n):
        p = probability_n[i]
        within &= p >= np.float32(0) and p <= np.float32(1)
        k = np.int32(np.ceil(np.float64(p) * BINS)) - np.int32(1)
        place_n[i] = k if k > 0 else BINS + (i & (_SPREAD - 1))
    if not within:
        return False
    if len(label_n):
        for i in range(n):
            place_n[i] += row * label_n[i]
    found_n = np.zeros(2 * row + 1, np.int32)
    if len(ignore_n):
        for i in range(n):
            if ignore_n[i]:
                place_n[i] = 2 * row
    for i in range(n):
        found_n[place_n[i]] += 1
    for c in range(2):
        pixels_cb[c] = found_n[c * row : c * row + BINS]
        pixels_cb[c, 0] += found_n[c * row + BINS : (c + 1) * row].sum()
    return True
