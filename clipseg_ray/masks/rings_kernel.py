"""Machine code that writes rings down: as one polygon a part, its holes cut open, and as well-known text."""

import numpy as np
from numba import njit

from clipseg_ray.masks.compiled import compiled


@njit(error_model="numpy")
def _highest_corner(xy_n2: np.ndarray, first: int, behind: int) -> int:
    """The corner of a ring with the least y, of several the leftmost."""
    best = first
    for i in range(first + 1, behind):
        if xy_n2[i, 1] < xy_n2[best, 1] or (xy_n2[i, 1] == xy_n2[best, 1] and xy_n2[i, 0] < xy_n2[best, 0]):
            best = i
    return best


@njit(error_model="numpy")
def _row_above(xy_n2: np.ndarray, u: int, w: int, x: float, y: float) -> float:
    """The lowest point of the edge u–w that is at ``x`` and not below ``y``; -1 where there is none."""
    ux, uy, wx, wy = xy_n2[u, 0], xy_n2[u, 1], xy_n2[w, 0], xy_n2[w, 1]
    if x < min(ux, wx) or x > max(ux, wx):
        return -1.0
    if ux == wx:
        return min(max(uy, wy), y) if min(uy, wy) <= y else -1.0
    at = wy if x == wx else uy + (x - ux) * (wy - uy) / (wx - ux)
    return at if at <= y else -1.0


@compiled
def cut_open(
    corners_n2: np.ndarray,
    ring_offsets: np.ndarray,
    part_rings: np.ndarray,
    order_r: np.ndarray,
    xy_n2: np.ndarray,
    out_offsets: np.ndarray,
) -> None:
    """Fill one closed line a part, which goes around it and, over a slit straight up from each, around its holes.

    corners_n2: int32 [N, 2] corners of rings, which begin at ``ring_offsets``; the first ring of part k, from
    ``part_rings[k]``, goes around it, the others up to ``part_rings[k + 1]`` around its holes. None cross.
    order_r: int64, the rings of each part with the holes from the highest down.
    xy_n2: float64 [N + 3 rings, 2]. A slit goes through the inside, there and back: areas and filled pixels stay.
    """
    n = 0
    out_offsets[0] = 0
    for k in range(len(part_rings) - 1):
        outer, behind_rings = part_rings[k], part_rings[k + 1]
        first, behind = ring_offsets[outer], ring_offsets[behind_rings]
        if behind_rings - outer == 1:
            for i in range(first, behind):
                xy_n2[n, 0], xy_n2[n, 1] = corners_n2[i, 0], corners_n2[i, 1]
                n += 1
            out_offsets[k + 1] = n
            continue
        nodes = behind - first
        own_n2 = np.empty((nodes + 3 * (behind_rings - outer), 2))
        after = np.empty(len(own_n2), np.int64)
        for i in range(nodes):
            own_n2[i, 0], own_n2[i, 1] = corners_n2[first + i, 0], corners_n2[first + i, 1]
            after[i] = i + 1
        left, right = int(own_n2[:nodes, 0].min()), int(own_n2[:nodes, 0].max())
        # The edges that reach each x, as lists: the newest entry of an x, of each entry its edge and the one before.
        newest = np.full(right - left + 1, -1, np.int64)
        edge, older = np.empty(4 * nodes + 64, np.int64), np.empty(4 * nodes + 64, np.int64)
        entries = 0
        for place_of_ring in range(outer, behind_rings):
            # Holes from the highest down: what is straight above a hole is on the line already.
            r = order_r[place_of_ring]
            begin, end = ring_offsets[r] - first, ring_offsets[r + 1] - first
            after[end - 1] = begin
            fresh = nodes
            if r != outer:
                v = _highest_corner(own_n2, begin, end)
                x, y = own_n2[v, 0], own_n2[v, 1]
                best, above = -1.0, -1
                entry = newest[int(x) - left]
                while entry >= 0:
                    at = _row_above(own_n2, edge[entry], after[edge[entry]], x, y)
                    if at > best:
                        best, above = at, edge[entry]
                    entry = older[entry]
                last = end - 1 if v == begin else v - 1
                for node in range(nodes, nodes + 3):
                    own_n2[node, 0], own_n2[node, 1] = x, best
                own_n2[nodes + 1, 1] = y
                after[nodes + 1], after[nodes + 2] = nodes + 2, after[above]
                after[above], after[nodes], after[last] = nodes, v, nodes + 1
                fresh = nodes + 2
                nodes += 3
            for place in range(end - begin + int(fresh < nodes)):
                u = begin + place if place < end - begin else fresh
                from_x, to_x = int(own_n2[u, 0]), int(own_n2[after[u], 0])
                for x_of_edge in range(min(from_x, to_x), max(from_x, to_x) + 1):
                    if entries == len(edge):
                        edge, older = np.append(edge, edge), np.append(older, older)
                    edge[entries], older[entries] = u, newest[x_of_edge - left]
                    newest[x_of_edge - left] = entries
                    entries += 1
        node, start_of_own = 0, n
        while True:
            if n == start_of_own or xy_n2[n - 1, 0] != own_n2[node, 0] or xy_n2[n - 1, 1] != own_n2[node, 1]:
                xy_n2[n] = own_n2[node]
                n += 1
            node = after[node]
            if node == 0:
                break
        out_offsets[k + 1] = n


@njit(error_model="numpy")
def _number(text: np.ndarray, n: int, value: int) -> int:
    digits = 1
    power = 10
    while value >= power:
        digits += 1
        power *= 10
    for place in range(n + digits - 1, n - 1, -1):
        text[place] = np.uint8(48 + value % 10)
        value //= 10
    return n + digits


@njit(error_model="numpy")
def _words(text: np.ndarray, n: int, words: np.ndarray) -> int:
    text[n : n + len(words)] = words
    return n + len(words)


_HEAD = np.frombuffer(b"MULTIPOLYGON ", np.uint8)
_EMPTY = np.frombuffer(b"EMPTY", np.uint8)


@compiled
def spell(
    corners_n2: np.ndarray,
    ring_offsets: np.ndarray,
    part_rings: np.ndarray,
    mask_parts: np.ndarray,
    text: np.ndarray,
    offsets: np.ndarray,
) -> None:
    """Fill the characters of one MULTIPOLYGON a mask, whose parts begin at ``mask_parts``; ``text`` is long enough."""
    n = 0
    offsets[0] = 0
    for p in range(len(mask_parts) - 1):
        n = _words(text, n, _HEAD)
        if mask_parts[p] == mask_parts[p + 1]:
            n = _words(text, n, _EMPTY)
        for k in range(mask_parts[p], mask_parts[p + 1]):
            text[n] = 40 if k == mask_parts[p] else 44  # ( or ,
            text[n + 1] = 40 if k == mask_parts[p] else 32
            n += 2
            if k > mask_parts[p]:
                text[n] = 40
                n += 1
            for r in range(part_rings[k], part_rings[k + 1]):
                if r > part_rings[k]:
                    text[n], text[n + 1] = 44, 32
                    n += 2
                text[n] = 40
                n += 1
                first, behind = ring_offsets[r], ring_offsets[r + 1]
                for i in range(first, behind + 1):
                    corner = first if i == behind else i
                    if i > first:
                        text[n], text[n + 1] = 44, 32
                        n += 2
                    n = _number(text, n, corners_n2[corner, 0])
                    text[n] = 32
                    n = _number(text, n + 1, corners_n2[corner, 1])
                text[n] = 41
                n += 1
            text[n] = 41
            n += 1
            if k + 1 == mask_parts[p + 1]:
                text[n] = 41
                n += 1
        offsets[p + 1] = n
