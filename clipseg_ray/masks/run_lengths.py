"""Machine code behind COCO run lengths: edges from bits, bytes from edges.

An edge is the column-major index of a pixel that differs from the one before it; the pixel before the first counts
as outside. So the runs between edges are COCO's counts, beginning with background. The byte format is that of
pycocotools' ``common/maskApi.c`` (``rleToString``): five bits a character, from the fourth run on as the difference
to the run before last.
"""

import numpy as np
from numba import njit

from clipseg_ray.masks.compiled import compiled, trailing_zeros


@njit(error_model="numpy")
def _room(counts: np.ndarray, used: int, pixels: int) -> np.ndarray:
    """``counts``, grown if need be, with room for any mask of ``pixels`` behind ``used``.

    A run of one costs one character, and whatever makes a difference of more characters is longer than they are.
    """
    if used + pixels + 16 <= len(counts):
        return counts
    grown = np.empty(2 * len(counts) + pixels + 16, np.uint8)
    grown[:used] = counts[:used]
    return grown


@njit(error_model="numpy")
def _write(edges: np.ndarray, n: int, pixels: int, counts: np.ndarray, used: int) -> int:
    """Append one mask's counts; return how much of ``counts`` is used now."""
    edges[n] = pixels
    end_1, run_1, run_2 = 0, 0, 0
    for i in range(n + 1):
        end = int(edges[i])
        run = end - end_1
        code = run - run_2 if i > 2 else run
        end_1, run_1, run_2 = end, run, run_1
        # Nearly every code fits two characters: both are written, and whether the second stays is no branch.
        short = int(-17 < code < 16)
        counts[used] = np.uint8((code & 31) + 80 - 32 * short)
        counts[used + 1] = np.uint8(((code >> 5) & 31) + 48)
        used += 2 - short
        if code < -512 or code >= 512:
            counts[used - 1] += np.uint8(32)
            code >>= 10
            more = True
            while more:
                low = code & 31
                code >>= 5
                more = code != -1 if low & 16 else code != 0
                counts[used] = np.uint8(low + 48 + (32 if more else 0))
                used += 1
    return used


@njit(error_model="numpy")
def _measure(edges: np.ndarray, n: int, height: int, bbox: np.ndarray) -> int:
    """Fill one mask's box from its edges (and their end, as ``_write`` leaves it); return its area."""
    area = 0
    top, bottom = height, -1
    per_column = 1.0 / height
    for i in range(0, n, 2):
        start, end = int(edges[i]), int(edges[i + 1])
        area += end - start
        # Exact: half a pixel from any whole column, where an index below 2³¹ cannot be rounded to.
        column, last_column = int((start + 0.5) * per_column), int((end - 0.5) * per_column)
        across = column != last_column
        top = min(top, 0 if across else start - column * height)
        bottom = max(bottom, height - 1 if across else end - 1 - column * height)
    if n == 0:
        bbox[:] = 0
        return area
    left = int((edges[0] + 0.5) * per_column)
    right = int((edges[(n - 1) // 2 * 2 + 1] - 0.5) * per_column)
    bbox[0], bbox[1], bbox[2], bbox[3] = left, top, right - left + 1, bottom - top + 1
    return area


@njit(error_model="numpy")
def _edges_of_bits(
    words_n: np.ndarray, pixels: int, changes_n: np.ndarray, changed: np.ndarray, edges: np.ndarray
) -> int:
    """``changes_n`` (uint64) and ``changed`` (int32), both as long as ``words_n``, are room to work in."""
    changes_n[0] = words_n[0] ^ (words_n[0] << np.uint64(1))
    for k in range(1, len(words_n)):
        changes_n[k] = words_n[k] ^ ((words_n[k] << np.uint64(1)) | (words_n[k - 1] >> np.uint64(63)))
    if pixels % 64:
        changes_n[pixels // 64] &= (np.uint64(1) << np.uint64(pixels % 64)) - np.uint64(1)
    m = 0
    for k in range(len(words_n)):
        changed[m] = k
        m += int(changes_n[k] != np.uint64(0))
    n = 0
    for i in range(m):
        k = int(changed[i])
        changes = changes_n[k]
        while changes != np.uint64(0):
            edges[n] = 64 * k + trailing_zeros(changes)
            n += 1
            changes &= changes - np.uint64(1)
    return n


@compiled
def encode_bits(
    bits_pn: np.ndarray,
    height: int,
    width: int,
    nonempty_p: np.ndarray,
    offsets: np.ndarray,
    area_p: np.ndarray,
    bbox_p4: np.ndarray,
) -> np.ndarray:
    """Fill the last three and return the counts' characters; masks not ``nonempty_p`` are empty, unlooked at."""
    rows, row_bytes = bits_pn.shape
    pixels = height * width
    words_n = np.zeros((row_bytes + 7) // 8, np.uint64)
    word_bytes = words_n.view(np.uint8)[:row_bytes]
    changes_n, changed = np.empty_like(words_n), np.empty(len(words_n) + 1, np.int32)
    edges = np.empty(pixels + 1, np.int32)
    counts = np.empty(1024 * rows + pixels + 16, np.uint8)
    used = 0
    offsets[0] = 0
    for p in range(rows):
        n = 0
        if nonempty_p[p]:
            word_bytes[:] = bits_pn[p]
            n = _edges_of_bits(words_n, pixels, changes_n, changed, edges)
        counts = _room(counts, used, pixels)
        used = _write(edges, n, pixels, counts, used)
        area_p[p] = _measure(edges, n, height, bbox_p4[p])
        offsets[p + 1] = used
    return counts[:used]


@compiled
def counts_of_edges(edges: np.ndarray, edge_offsets: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Fill ``offsets`` and return the counts' characters: the inverse of `parsing.edges_of_counts`."""
    rows = len(offsets) - 1
    counts = np.empty(3 * len(edges) + 16, np.uint8)
    used = 0
    offsets[0] = 0
    for p in range(rows):
        own = edges[edge_offsets[p] : edge_offsets[p + 1]]
        counts = _room(counts, used, 7 * len(own))
        used = _write(own, len(own) - 1, own[-1], counts, used)
        offsets[p + 1] = used
    return counts[:used]


@compiled
def measure_edges(edges: np.ndarray, edge_offsets: np.ndarray, height_p: np.ndarray, bbox_p4: np.ndarray) -> None:
    """Fill each mask's box: x, y, w, h; zeros if it is empty."""
    for p in range(len(height_p)):
        own = edges[edge_offsets[p] : edge_offsets[p + 1]]
        _measure(own, len(own) - 1, height_p[p], bbox_p4[p])
