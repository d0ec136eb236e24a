"""Probabilities on the model's grid, brought to the size of the truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise, starmap
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F

Size: TypeAlias = tuple[int, int]
"""Width and height in pixels: planes here are transposed, as the engine has them."""


def at_truth_size(probability_pwh: torch.Tensor, image_p: np.ndarray, sizes: Sequence[Size]) -> Iterator[np.ndarray]:
    """Each of the probabilities, float32 [p, w, h] on any device, resized bilinearly to float32 [width, height].

    image_p: which image each is of, equal ones side by side. sizes: of the images' truth.
    """
    for rows in _runs(image_p):
        yield from _resized(probability_pwh[rows], sizes[int(image_p[rows.start])]).cpu().numpy()


def _resized(probability_pwh: torch.Tensor, size: Size) -> torch.Tensor:
    """float32 [p, width, height], contiguous."""
    if probability_pwh.shape[1:] == size:
        return probability_pwh.contiguous()
    resized = F.interpolate(probability_pwh[:, None], size, mode="bilinear", align_corners=False)
    return resized[:, 0].clamp_(0, 1)  # rounding may leave the last bit above 1


def _runs(values_p: np.ndarray) -> Iterator[slice]:
    """Slices of equal neighbours."""
    bounds = [0, *(np.flatnonzero(np.diff(values_p)) + 1).tolist(), len(values_p)]
    return starmap(slice, pairwise(bounds))
