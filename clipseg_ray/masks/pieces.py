"""Machine code that takes masks apart: runs cut where columns end, and which of the pieces hang together.

A piece is a stretch of one column: int32 column-major indices of its first pixel and of the one behind its last.
``piece_offsets`` (int64 [P + 1]) says where each mask's pieces begin; they ascend. A part is what hangs together,
numbered through all masks by its first pixel; pieces and parts become masks again by `gather`.
"""

import numpy as np
from numba import njit

from clipseg_ray.masks.compiled import compiled


@compiled
def split(
    edges: np.ndarray, offsets: np.ndarray, height_p: np.ndarray, piece_offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first pixels and the ends of the pieces of P masks, and fill ``piece_offsets``."""
    total = 0
    piece_offsets[0] = 0
    for p in range(len(height_p)):
        height = height_p[p]
        for i in range(offsets[p], offsets[p + 1] - 1, 2):
            total += (edges[i + 1] - 1) // height - edges[i] // height + 1
        piece_offsets[p + 1] = total
    starts, ends = np.empty(total, np.int32), np.empty(total, np.int32)
    n = 0
    for p in range(len(height_p)):
        bottom = height_p[p]  # the end of the column of the piece at hand
        for i in range(offsets[p], offsets[p + 1] - 1, 2):
            start, end = edges[i], edges[i + 1]
            while start >= bottom:
                bottom += height_p[p]
            while end > bottom:
                starts[n], ends[n] = start, bottom
                n += 1
                start = bottom
                bottom += height_p[p]
            starts[n], ends[n] = start, end
            n += 1
    return starts, ends


@njit(error_model="numpy")
def _root(parent: np.ndarray, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(error_model="numpy")
def _join(starts: np.ndarray, ends: np.ndarray, height: int, reach: int, parent: np.ndarray) -> None:
    """Make one mask's pieces that touch lead to one of them, the first; ``parent`` is filled.

    ``reach``: 0 where pixels touch by their sides, 1 where by their corners too.
    """
    before, column, bottom = 0, 0, height  # pieces from `before` up to `column` are those of the column to the left
    j = 0
    for i in range(len(starts)):
        parent[i] = i
        if starts[i] >= bottom:
            next_to = starts[i] < bottom + height
            before, column = (column, i) if next_to else (i, i)
            j = before
            bottom = (starts[i] // height + 1) * height
        while j < column and ends[j] + height + reach <= starts[i]:
            j += 1
        k = j
        while k < column and starts[k] + height < ends[i] + reach:
            a, b = _root(parent, k), _root(parent, i)
            parent[max(a, b)] = min(a, b)
            k += 1


@compiled
def parts(
    starts: np.ndarray,
    ends: np.ndarray,
    piece_offsets: np.ndarray,
    height_p: np.ndarray,
    diagonal: bool,
    part_offsets: np.ndarray,
) -> np.ndarray:
    """Return the part (int32) of each piece, and fill where each mask's parts begin (int64 [P + 1])."""
    part = np.empty(len(starts), np.int32)
    reach = int(diagonal)
    total = 0
    part_offsets[0] = 0
    for p in range(len(height_p)):
        first, behind = piece_offsets[p], piece_offsets[p + 1]
        own = part[first:behind]
        _join(starts[first:behind], ends[first:behind], height_p[p], reach, own)
        # A piece leads to one before it, whose part is known by then: roots are first pieces.
        for i in range(len(own)):
            if own[i] == i:
                own[i] = total
                total += 1
            else:
                own[i] = own[own[i]]
        part_offsets[p + 1] = total
    return part


@compiled
def measure(
    starts: np.ndarray,
    ends: np.ndarray,
    piece_offsets: np.ndarray,
    height_p: np.ndarray,
    part: np.ndarray,
    area_k: np.ndarray,
    bbox_k4: np.ndarray,
) -> None:
    """Fill the pixels (int64) and boxes (int32 x, y, w, h) of the parts."""
    area_k[:] = 0
    for p in range(len(height_p)):
        height = height_p[p]
        for i in range(piece_offsets[p], piece_offsets[p + 1]):
            k = part[i]
            x = starts[i] // height
            top, bottom = starts[i] - x * height, ends[i] - x * height
            box = bbox_k4[k]
            if area_k[k] == 0:
                box[0], box[1], box[2], box[3] = x, top, 1, bottom - top
            else:
                lowest = max(box[1] + box[3], bottom)
                box[1] = min(box[1], top)
                box[2], box[3] = x - box[0] + 1, lowest - box[1]
            area_k[k] += ends[i] - starts[i]


@compiled
def gather(
    starts: np.ndarray, ends: np.ndarray, mask: np.ndarray, pixels_m: np.ndarray, out_offsets: np.ndarray
) -> np.ndarray:
    """Return the edges of M masks, ``mask`` (int64) of each piece or -1 for none, and fill their offsets.

    pixels_m: int64 [M], the pixels of each mask's grid. The pieces of a mask ascend.
    """
    masks = len(pixels_m)
    behind = np.full(masks, -1, np.int64)  # where the last run of each mask ended
    length = np.zeros(masks, np.int64)
    for i in range(len(starts)):
        m = mask[i]
        if m >= 0:
            length[m] += 2 * int(starts[i] != behind[m])
            behind[m] = ends[i]
    out_offsets[0] = 0
    for m in range(masks):
        # Behind the edges, the number of pixels: once, where the last run ends there.
        out_offsets[m + 1] = out_offsets[m] + length[m] + int(behind[m] != pixels_m[m])
    out = np.empty(out_offsets[masks], np.int32)
    place = out_offsets[:masks].copy()
    behind[:] = -1
    for i in range(len(starts)):
        m = mask[i]
        if m >= 0:
            if starts[i] == behind[m]:
                out[place[m] - 1] = ends[i]
            else:
                out[place[m]], out[place[m] + 1] = starts[i], ends[i]
                place[m] += 2
            behind[m] = ends[i]
    for m in range(masks):
        out[out_offsets[m + 1] - 1] = pixels_m[m]
    return out
