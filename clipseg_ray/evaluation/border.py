"""The pixels near the border of a mask, in a millisecond for 352×352."""

import numpy as np

from clipseg_ray.masks.compiled import compiled


@compiled
def near_border(label_hw: np.ndarray, distance: float, near_hw: np.ndarray) -> None:
    """Fill bool ``near_hw`` [h, w]: whether a pixel of the other sort lies within ``distance`` (≥ 1), Euclidean.

    label_hw: bool [h, w]. Distances are between centres; the image's own border is none.
    """
    rows, columns = label_hw.shape
    reach = int(distance)
    far = reach + 1
    # Along each row, how far the nearest pixel outside (0) and inside (1) is, or farther than ever matters.
    along_lhw = np.empty((2, rows, columns), np.int32)
    for row in range(rows):
        for inside in range(2):
            line, away = along_lhw[inside, row], far
            for j in range(columns):
                away = 0 if label_hw[row, j] == (inside == 1) else min(away + 1, far)
                line[j] = away
            away = far
            for j in range(columns - 1, -1, -1):
                away = 0 if label_hw[row, j] == (inside == 1) else min(away + 1, far)
                line[j] = min(line[j], away)
    for row in range(rows):
        near, own = near_hw[row], label_hw[row]
        near[:] = False
        for other in range(max(0, row - reach), min(rows, row + reach + 1)):
            widest = np.int32(np.sqrt(distance * distance - (other - row) ** 2))
            outside, inside_ = along_lhw[0, other], along_lhw[1, other]
            for j in range(columns):
                near[j] |= (outside[j] if own[j] else inside_[j]) <= widest
