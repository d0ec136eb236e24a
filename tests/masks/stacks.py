"""Masks of any size for the tests of geometry, and their run lengths by pycocotools."""

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st
from pycocotools import mask as coco


def counts_of(masks) -> pa.Array:
    """COCO's counts of bool [h, w] masks."""
    encoded = [coco.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in masks]
    return pa.array([each["counts"].decode() for each in encoded], pa.string())


def column(value, rows: int) -> pa.Array:
    return pa.array([value] * rows)


@st.composite
def stacks(draw, masks: int, most: int = 400):
    """bool [masks, h, w] with sides up to ``most``: nothing, everything, noise, blocks, frames, a chequerboard."""
    side = st.one_of(st.integers(1, 12), st.integers(1, most))
    height, width = draw(side), draw(side)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    stack = np.zeros((masks, height, width), np.bool_)
    for mask in stack:
        kind = draw(st.sampled_from(["nothing", "everything", "noise", "blocks", "frames", "chequerboard"]))
        if kind == "everything":
            mask[:] = True
        elif kind == "noise":
            # Of cells, so that large masks are not all crumbs.
            cell = 1 + max(height, width) // 40
            cells = rng.random((-(-height // cell), -(-width // cell))) < rng.uniform(0.05, 0.95)
            mask[:] = np.kron(cells, np.ones((cell, cell), np.bool_))[:height, :width]
        elif kind == "chequerboard":
            y, x = np.mgrid[:height, :width]
            cell = 1 + max(height, width) // 10
            mask[:] = (y // cell + x // cell) % 2 == 0
        elif kind != "nothing":
            for number in range(12):
                top, left = rng.integers(0, height), rng.integers(0, width)
                box = np.s_[top : top + rng.integers(1, height + 1), left : left + rng.integers(1, width + 1)]
                mask[box] = number % 2 == 0 if kind == "frames" else rng.random() < 0.6
    return stack
