"""Masks of queries that compete, at the image's own size: decided on resized logits, some columns at a time."""

import numpy as np
import torch

from clipseg_ray.masks import interpolation
from clipseg_ray.masks.competition import Contest
from clipseg_ray.masks.rle import Rles, check_size, encode_edges
from clipseg_ray.masks.verdict import Verdict

_VALUES_AT_ONCE = 2**18
"""Of all prompts together: what a core's cache holds."""


def encode_contest_at_size(
    contest: Contest, logits_mwh: np.ndarray, height: int, width: int, threshold_logit_k: np.ndarray
) -> Rles:
    """Encode the masks of a contest's K queries at ``height`` × ``width`` pixels.

    logits_mwh: float32 [m, W, H], those of its prompts on the grid, transposed, finite. threshold_logit_k: float32 [K].

    Byte for byte what it is to resize every prompt's logits as ``resize.encode_at_size`` does, to decide each pixel and
    to compare with the thresholds. Needs memory for some columns of pixels of every prompt, and for the edges found.
    """
    check_size(height, width)
    verdict = Verdict(contest, torch.device("cpu"))
    prompts, pixels = len(logits_mwh), height * width
    at_once = min(max(1, _VALUES_AT_ONCE // (prompts * height)), width)
    values = np.empty(prompts * at_once * height, np.float32)
    inside_k = np.zeros(len(contest.outputs), np.bool_)
    edges, masks, used = np.empty(0, np.int32), np.empty(0, np.int32), 0
    for first in range(0, width, at_once):
        columns = min(at_once, width - first)
        values_mnh = values[: prompts * columns * height].reshape(prompts, columns, height)
        interpolation.columns_of_resized(logits_mwh, height, width, first, values_mnh)
        maps_kn = verdict.maps(torch.from_numpy(values_mnh).flatten(1)).numpy()
        if used + maps_kn.size > len(edges):
            room = np.empty(used + 2 * maps_kn.size, np.int32)
            edges, masks = np.concatenate([edges[:used], room]), np.concatenate([masks[:used], room])
        used = interpolation.append_edges(maps_kn, threshold_logit_k, first * height, inside_k, edges, masks, used)
    # Each mask's edges in their order, its number of pixels behind them.
    masks = np.concatenate([masks[:used], np.arange(len(inside_k), dtype=np.int32)])
    edges = np.concatenate([edges[:used], np.full(len(inside_k), pixels, np.int32)])
    offsets = np.concatenate([[0], np.cumsum(np.bincount(masks, minlength=len(inside_k)))]).astype(np.int64)
    return encode_edges(edges[np.argsort(masks, kind="stable")], offsets, height)
