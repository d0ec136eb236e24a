"""Machine code of `clipseg_ray.masks.outlines`: the rings around the parts of masks, whose corners are those of pixels.

Pieces and parts are as `clipseg_ray.masks.pieces` has them, parts 4-connected. Every piece has an upper end, node 2i,
and a lower one, node 2i + 1: horizontal edges one pixel long, which rings go along with the inside on their right as a
picture shows it, so rightwards at the top of a piece and leftwards at its foot. Between two columns each edge leads to
one other: straight on, or along the line between the columns.
"""

import numpy as np
from numba import njit

from clipseg_ray.masks.compiled import compiled


@njit(error_model="numpy")
def _next_end(starts: np.ndarray, ends: np.ndarray, node: int, behind: int, above: int) -> int:
    """The row of a node's edge, if its piece is before ``behind``. ``above`` is the first pixel of its column."""
    if node >= 2 * behind:
        return 2**31
    return (ends[node // 2] if node % 2 else starts[node // 2]) - above


@njit(error_model="numpy")
def _link(
    starts: np.ndarray,
    ends: np.ndarray,
    part: np.ndarray,
    height: int,
    line: int,
    left: int,
    middle: int,
    behind: int,
    to_right: np.ndarray,
    to_left: np.ndarray,
) -> None:
    """Link the edges that end at a line between columns: pieces ``left`` … ``middle`` before it, … ``behind`` after."""
    a, b = 2 * left, 2 * middle
    open_node = -1  # where a stretch along the line began
    while True:
        row_a = _next_end(starts, ends, a, middle, (line - 1) * height)
        row_b = _next_end(starts, ends, b, behind, line * height)
        if row_a == 2**31 and row_b == 2**31:
            return
        if row_a == row_b:
            if a % 2 == b % 2:
                to_right[a], to_left[b] = b, a
                a, b = a + 1, b + 1
                continue
            # Two pixels of the mask meet in a corner. Of one part, they have the corner between them in two rings, or a
            # ring would come to it twice; of two parts, each keeps to its own. So which edge the stretch above ends in:
            same = part[a // 2] == part[b // 2]
            take_a = (a % 2 == 1) != same
        else:
            take_a = row_a < row_b
        node = a if take_a else b
        if take_a:
            a += 1
        else:
            b += 1
        if open_node < 0:
            open_node = node
        else:
            for own, other in ((open_node, node), (node, open_node)):
                if own < 2 * middle:
                    to_right[own] = other
                else:
                    to_left[own] = other
            open_node = -1


@compiled
def trace(
    starts: np.ndarray,
    ends: np.ndarray,
    piece_offsets: np.ndarray,
    height_p: np.ndarray,
    part: np.ndarray,
    corners_n2: np.ndarray,
    ring_offsets: np.ndarray,
    ring_part: np.ndarray,
) -> int:
    """Fill the rings around all parts, and return their number.

    corners_n2: int32 [4N, 2], x and y of where a ring turns. ring_offsets: int64 [N + 1]. ring_part: int32 [N]. The
    first ring of a part goes around it, the others around its holes. No ring comes to a corner twice.
    """
    nodes = 2 * len(starts)
    to_right, to_left = np.empty(nodes, np.int32), np.empty(nodes, np.int32)
    column = np.empty(len(starts), np.int32)
    for p in range(len(height_p)):
        height, behind = height_p[p], piece_offsets[p + 1]
        left = middle = piece_offsets[p]
        line = 0
        while left < behind:
            last = middle
            while last < behind and starts[last] < (line + 1) * height:
                column[last] = line
                last += 1
            _link(starts, ends, part, height, line, left, middle, last, to_right, to_left)
            left, middle = middle, last
            line += 1
    n, rings = 0, 0
    ring_offsets[0] = 0
    seen = np.zeros(nodes, np.bool_)
    for p in range(len(height_p)):
        height = height_p[p]
        for i in range(piece_offsets[p], piece_offsets[p + 1]):
            if seen[2 * i]:
                continue
            node = 2 * i
            while not seen[node]:
                seen[node] = True
                rightwards = node % 2 == 0
                here = column[node // 2]
                x = here + int(rightwards)
                other = to_right[node] if rightwards else to_left[node]
                y = (ends[node // 2] if node % 2 else starts[node // 2]) - here * height
                other_y = (ends[other // 2] if other % 2 else starts[other // 2]) - column[other // 2] * height
                if y != other_y:
                    corners_n2[n, 0], corners_n2[n, 1] = x, y
                    corners_n2[n + 1, 0], corners_n2[n + 1, 1] = x, other_y
                    n += 2
                node = other
            ring_part[rings] = part[i]
            rings += 1
            ring_offsets[rings] = n
    return rings
