"""PhraseCut's augmentation: a random square of the picture that still shows what is asked for."""

import numpy as np

ATTEMPTS = 50
FOREGROUND = 0.05
"""Share of the picture's pixels that the mask must have inside the square; of the whole picture, as the authors do."""


def square_crop(mask_hw: np.ndarray, rng: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns of a square of side min(h, w): the first drawn with enough of the mask, else the best drawn.

    mask_hw: bool [h, w].
    """
    height, width = mask_hw.shape
    side = min(height, width)
    if height == width:
        return slice(0, side), slice(0, side)
    inside = np.concatenate([[0], np.cumsum(mask_hw.sum(0 if width > height else 1))])
    wanted = FOREGROUND * height * width
    best, best_start = -1, 0
    for start in rng.integers(0, max(height, width) - side + 1, ATTEMPTS).tolist():
        found = int(inside[start + side] - inside[start])
        if found > best:
            best, best_start = found, start
        if found > wanted:
            break
    along = slice(best_start, best_start + side)
    return (slice(0, side), along) if width > height else (along, slice(0, side))
