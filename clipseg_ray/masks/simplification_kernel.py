"""Machine code that leaves corners of rings out: no crossing is made, and no outline moves farther than it may.

Corner b between a and c goes if every corner of the ring as it was between a and c is no farther than the tolerance
from the segment a–c, and if the closed triangle a, b, c holds no other corner of any ring of the mask. Then nothing
crosses a–c: an edge could come in over it alone, and would have to end inside. Where other rings come to both a and c,
b stays: one of them may go straight from a to c. The corner that moves the outline least goes first.
"""

from heapq import heappop, heappush

import numpy as np
from numba import njit

from clipseg_ray.masks.compiled import compiled

_LEAST_CORNERS = 4


@njit(error_model="numpy")
def _moved(corners_n2: np.ndarray, first: int, behind: int, a: int, c: int) -> float:
    """How far, squared, corners between a and c of a ring (``first`` … ``behind``) are from the segment a–c at most."""
    ax, ay = float(corners_n2[a, 0]), float(corners_n2[a, 1])
    dx, dy = corners_n2[c, 0] - ax, corners_n2[c, 1] - ay
    length = dx * dx + dy * dy
    farthest = 0.0
    i = a
    while True:
        i = first if i + 1 == behind else i + 1
        if i == c:
            return farthest
        px, py = corners_n2[i, 0] - ax, corners_n2[i, 1] - ay
        along = min(max((px * dx + py * dy) / length, 0.0), 1.0) if length > 0 else 0.0
        farthest = max(farthest, (px - along * dx) ** 2 + (py - along * dy) ** 2)


@njit(error_model="numpy")
def _is_free(taken_wh: np.ndarray, triangle_32: np.ndarray) -> bool:
    """Whether nothing is in the way from a to c: see above."""
    ax, ay, bx, by, cx, cy = triangle_32.reshape(-1)
    if taken_wh[ax, ay] > 1 and taken_wh[cx, cy] > 1:
        return False
    for x in range(min(ax, bx, cx), max(ax, bx, cx) + 1):
        low, high = 2**31, -1
        for side in range(3):
            px, py = triangle_32[side]
            qx, qy = triangle_32[(side + 1) % 3]
            if x < min(px, qx) or x > max(px, qx):
                continue
            if px == qx:
                low, high = min(low, py, qy), max(high, py, qy)
            else:
                if px > qx:
                    px, py, qx, qy = qx, qy, px, py
                rise, run = (x - px) * (qy - py), qx - px
                low, high = min(low, py - (-rise) // run), max(high, py + rise // run)
        for y in range(low, high + 1):
            if taken_wh[x, y] == 0 or (x == ax and y == ay) or (x == cx and y == cy):
                continue
            if taken_wh[x, y] > int(x == bx and y == by):
                return False
    return True


@compiled
def simplify(
    corners_n2: np.ndarray,
    ring_offsets: np.ndarray,
    mask_rings: np.ndarray,
    height_p: np.ndarray,
    pixels_p: np.ndarray,
    tolerance_p: np.ndarray,
    kept_n: np.ndarray,
) -> None:
    """Clear ``kept_n`` (bool, all True before) for corners that are left out; four of a ring stay at least.

    corners_n2: int64 x and y of the corners of rings, which begin at ``ring_offsets``; those of mask p are the rings
    from ``mask_rings[p]`` up to ``mask_rings[p + 1]``. tolerance_p: float64, pixels.
    """
    corners = len(corners_n2)
    before, after = np.empty(corners, np.int64), np.empty(corners, np.int64)
    version, ring_of = np.zeros(corners, np.int64), np.empty(corners, np.int64)
    triangle_32 = np.empty((3, 2), np.int64)
    for p in range(len(height_p)):
        rings = range(mask_rings[p], mask_rings[p + 1])
        if tolerance_p[p] <= 0 or len(rings) == 0:
            continue
        limit = tolerance_p[p] * tolerance_p[p]
        taken_wh = np.zeros((pixels_p[p] // height_p[p] + 1, height_p[p] + 1), np.uint8)
        left = np.empty(len(rings), np.int64)
        waiting = [(0.0, 0, 0)]
        waiting.pop()
        for r in rings:
            first, behind = ring_offsets[r], ring_offsets[r + 1]
            left[r - mask_rings[p]] = behind - first
            for i in range(first, behind):
                before[i] = behind - 1 if i == first else i - 1
                after[i] = first if i + 1 == behind else i + 1
                ring_of[i] = r
                taken_wh[corners_n2[i, 0], corners_n2[i, 1]] += 1
            if behind - first > _LEAST_CORNERS:
                for i in range(first, behind):
                    moved = _moved(corners_n2, first, behind, before[i], after[i])
                    if moved <= limit:
                        heappush(waiting, (moved, i, version[i]))
        while len(waiting) > 0:
            _, b, seen = heappop(waiting)
            r = ring_of[b]
            if not kept_n[b] or seen != version[b] or left[r - mask_rings[p]] == _LEAST_CORNERS:
                continue
            a, c = before[b], after[b]
            triangle_32[0], triangle_32[1], triangle_32[2] = corners_n2[a], corners_n2[b], corners_n2[c]
            if not _is_free(taken_wh, triangle_32):
                continue
            kept_n[b] = False
            left[r - mask_rings[p]] -= 1
            taken_wh[corners_n2[b, 0], corners_n2[b, 1]] -= 1
            after[a], before[c] = c, a
            for i in (a, c):
                version[i] += 1
                moved = _moved(corners_n2, ring_offsets[r], ring_offsets[r + 1], before[i], after[i])
                if moved <= limit:
                    heappush(waiting, (moved, i, version[i]))
