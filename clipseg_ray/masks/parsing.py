"""Machine code that reads COCO run lengths: edges (as in `runs`) or pixels from bytes."""

import numpy as np
from numba import njit

from clipseg_ray.masks.compiled import compiled


@njit(error_model="numpy")
def _read_code(characters: np.ndarray, position: int) -> tuple[int, int]:
    """One number of counts, which must end in a character that says so, and where the next begins."""
    low = int(characters[position]) - 48
    if not low & 32:  # nearly every number has one character or two
        return ((low & 31) ^ 16) - 16, position + 1
    code, shift = low & 31, 5
    while low & 32:
        position += 1
        low = int(characters[position]) - 48
        code |= (low & 31) << shift
        shift += 5
    return code | (-1 << shift) if low & 16 else code, position + 1


@njit(error_model="numpy")
def _is_counts(characters: np.ndarray) -> bool:
    """Whether these are characters of counts, the last of them the last of a number, and no number is too long."""
    if len(characters) == 0:
        return False
    strange, longest, length = 0, 0, 0
    for k in range(len(characters)):
        low = int(characters[k]) - 48
        strange |= low
        length = (length + 1) * ((low >> 5) & 1)
        longest = max(longest, length)
    return 0 <= strange < 64 and length == 0 and longest < 8


@compiled
def decode(characters: np.ndarray, offsets: np.ndarray, pixels_pn: np.ndarray) -> int:
    """Fill ``pixels_pn`` (all False before) from counts; return the first row whose runs do not fill it, or -1."""
    rows, pixels = pixels_pn.shape
    for p in range(rows):
        position, end = offsets[p], offsets[p + 1]
        if not _is_counts(characters[position:end]):
            return p
        filled, run_1, run_2 = 0, 0, 0
        i = 0
        while position < end:
            code, position = _read_code(characters, position)
            run = code + run_2 if i > 2 else code
            if run < 0 or filled + run > pixels:
                return p
            if i & 1:
                pixels_pn[p, filled : filled + run] = True
            filled += run
            run_1, run_2 = run, run_1
            i += 1
        if filled != pixels:
            return p
    return -1


@compiled
def edges_of_counts(characters: np.ndarray, offsets: np.ndarray, edges: np.ndarray, edge_offsets: np.ndarray) -> int:
    """Fill the last two: every mask's edges, followed by its number of pixels, and P + 1 offsets to where masks begin.

    ``edges`` is int32 and P longer than ``characters``; runs of length 0 leave no edges. A mask without characters is
    one of 0 pixels. Returns the first row that is no counts, or -1.
    """
    n = 0
    edge_offsets[0] = 0
    for p in range(len(offsets) - 1):
        position, end = offsets[p], offsets[p + 1]
        if position < end and not _is_counts(characters[position:end]):
            return p
        start = n
        filled, run_1, run_2 = 0, 0, 0
        i = 0
        while position < end:
            code, position = _read_code(characters, position)
            run = code + run_2 if i > 2 else code
            filled += run
            if run < 0 or filled >= 2**31:
                return p
            if n > start and edges[n - 1] == filled:
                n -= 1  # two changes at one pixel are none
            else:
                edges[n] = filled
                n += 1
            run_1, run_2 = run, run_1
            i += 1
        if n == start or edges[n - 1] != filled:
            edges[n] = filled
            n += 1
        edge_offsets[p + 1] = n
    return -1
