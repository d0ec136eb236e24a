"""Machine code of `clipseg_ray.masks.morphology`: pixels near a mask, and how near two masks are, column by column.

Pieces are as `clipseg_ray.masks.pieces` has them; distances are Euclidean, between centres of pixels.
"""

import numpy as np
from numba import njit

from clipseg_ray.masks.compiled import compiled
from clipseg_ray.masks.edges import grown


@njit(error_model="numpy")
def _reach(radius: float, across: int) -> int:
    """How many rows up and down a pixel so many columns away is no farther than ``radius``; -1 for none."""
    squared = radius * radius - across * across
    if squared < 0:
        return -1
    rows = int(np.sqrt(squared))
    while (rows + 1) * (rows + 1) <= squared:
        rows += 1
    while rows * rows > squared:
        rows -= 1
    return rows


@njit(error_model="numpy")
def _first_pieces(starts: np.ndarray, height: int, width: int) -> np.ndarray:
    """int64 [width + 1], the first piece of each column or of one behind it."""
    first = np.empty(width + 1, np.int64)
    i = 0
    for x in range(width + 1):
        while i < len(starts) and starts[i] < x * height:
            i += 1
        first[x] = i
    return first


@compiled
def dilate(
    starts: np.ndarray,
    ends: np.ndarray,
    piece_offsets: np.ndarray,
    height_p: np.ndarray,
    pixels_p: np.ndarray,
    radius_p: np.ndarray,
    out_offsets: np.ndarray,
) -> np.ndarray:
    """Return the edges of the pixels no farther than ``radius_p`` (float64 [P], ≥ 0) from each mask; fill offsets."""
    out = np.empty(2 * len(starts) + len(height_p) + 64, np.int32)
    n = 0
    out_offsets[0] = 0
    for p in range(len(height_p)):
        height, pixels = height_p[p], pixels_p[p]
        width = pixels // height
        own_starts = starts[piece_offsets[p] : piece_offsets[p + 1]]
        own_ends = ends[piece_offsets[p] : piece_offsets[p + 1]]
        first = _first_pieces(own_starts, height, width)
        radius = min(radius_p[p], float(height + width))
        columns = min(int(radius), width)
        reach = np.empty(columns + 1, np.int64)
        for across in range(columns + 1):
            reach[across] = _reach(radius, across)
        begun = np.zeros(height + 1, np.int32)  # at each row, how many more columns' stretches cover it than the last
        start_of_own = n
        for x in range(width):
            top, bottom = height, 0
            for other in range(max(0, x - columns), min(width, x + columns + 1)):
                rows = reach[abs(other - x)]
                for i in range(first[other], first[other + 1]):
                    upper = max(own_starts[i] - other * height - rows, 0)
                    lower = min(own_ends[i] - other * height + rows, height)
                    begun[upper] += 1
                    begun[lower] -= 1
                    top, bottom = min(top, upper), max(bottom, lower)
            out = grown(out, n, height + 2)
            depth = 0
            for y in range(top, bottom + 1):
                if begun[y]:
                    now = depth + begun[y]
                    if (depth > 0) != (now > 0):
                        at = x * height + y
                        if n > start_of_own and out[n - 1] == at:
                            n -= 1
                        else:
                            out[n] = at
                            n += 1
                    depth = now
                    begun[y] = 0
        if n == start_of_own or out[n - 1] != pixels:
            out = grown(out, n, 1)
            out[n] = pixels
            n += 1
        out_offsets[p + 1] = n
    return out[:n]


@njit(error_model="numpy")
def _rows(starts: np.ndarray, ends: np.ndarray, height: int) -> np.ndarray:
    """int64 [N, 2], the first row of each of one mask's pieces and the one behind its last."""
    rows_n2 = np.empty((len(starts), 2), np.int64)
    for i in range(len(starts)):
        column = starts[i] // height * height
        rows_n2[i, 0], rows_n2[i, 1] = starts[i] - column, ends[i] - column
    return rows_n2


@njit(error_model="numpy")
def _gap(a_n2: np.ndarray, b_n2: np.ndarray) -> int:
    """The fewest rows from a piece of one column to one of another, each with some: 0 where they share a row."""
    i, j = 0, 0
    best = 2**31
    while i < len(a_n2) and j < len(b_n2) and best > 0:
        best = min(best, max(a_n2[i, 0] - b_n2[j, 1] + 1, b_n2[j, 0] - a_n2[i, 1] + 1, 0))
        if a_n2[i, 1] < b_n2[j, 1]:
            i += 1
        else:
            j += 1
    return best


@compiled
def distance(
    a_starts: np.ndarray,
    a_ends: np.ndarray,
    a_offsets: np.ndarray,
    b_starts: np.ndarray,
    b_ends: np.ndarray,
    b_offsets: np.ndarray,
    height_p: np.ndarray,
    pixels_p: np.ndarray,
    distance_p: np.ndarray,
) -> None:
    """Fill the distance (float64 [P]) from each mask a to its b; NaN where either has no pixel."""
    for p in range(len(height_p)):
        height = height_p[p]
        width = pixels_p[p] // height
        a_own, b_own = slice(a_offsets[p], a_offsets[p + 1]), slice(b_offsets[p], b_offsets[p + 1])
        a_first = _first_pieces(a_starts[a_own], height, width)
        b_first = _first_pieces(b_starts[b_own], height, width)
        a_n2 = _rows(a_starts[a_own], a_ends[a_own], height)
        b_n2 = _rows(b_starts[b_own], b_ends[b_own], height)
        if len(a_n2) == 0 or len(b_n2) == 0:
            distance_p[p] = np.nan
            continue
        best = height * height + width * width  # farther than any
        for across in range(width):
            if across * across >= best:
                break
            for x in range(width):
                if a_first[x] == a_first[x + 1]:
                    continue
                for other in (x - across, x + across):
                    if 0 <= other < width and b_first[other] < b_first[other + 1]:
                        gap = _gap(a_n2[a_first[x] : a_first[x + 1]], b_n2[b_first[other] : b_first[other + 1]])
                        best = min(best, across * across + gap * gap)
        distance_p[p] = np.sqrt(best)
