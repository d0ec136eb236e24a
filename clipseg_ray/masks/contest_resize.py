"""Masks of queries that compete, at the image's own size: decided on resized logits, some columns at a time."""

from collections.abc import Iterator

import numpy as np
import torch

from clipseg_ray.masks import interpolation
from clipseg_ray.masks.competition import Contest
from clipseg_ray.masks.rle import Rles, check_size, encode_edges
from clipseg_ray.masks.verdict import Verdict

_VALUES_AT_ONCE = 2**18
"""Of all prompts together: what a core's cache holds."""


def maps_at_size(contest: Contest, logits_mwh: np.ndarray, height: int, width: int) -> Iterator[np.ndarray]:
    """The maps of a contest's K queries at ``height`` × ``width`` pixels: float32 [K, columns, height] at a time.

    logits_mwh: float32 [m, W, H], those of its prompts on the grid, transposed, finite.

    Every prompt's logits resized as ``resize.encode_at_size`` does it, each pixel decided by ``Verdict``. Needs memory
    for some columns of pixels of every prompt.
    """
    check_size(height, width)
    verdict = Verdict(contest, torch.device("cpu"))
    prompts = len(logits_mwh)
    at_once = min(max(1, _VALUES_AT_ONCE // (prompts * height)), width)
    values = np.empty(prompts * at_once * height, np.float32)
    for first in range(0, width, at_once):
        columns = min(at_once, width - first)
        values_mnh = values[: prompts * columns * height].reshape(prompts, columns, height)
        interpolation.columns_of_resized(logits_mwh, height, width, first, values_mnh)
        yield verdict.maps(torch.from_numpy(values_mnh).flatten(1)).unflatten(1, (columns, height)).numpy()


def encode_contest_at_size(
    contest: Contest, logits_mwh: np.ndarray, height: int, width: int, threshold_logit_k: np.ndarray
) -> Rles:
    """Encode the masks of a contest's K queries at ``height`` × ``width`` pixels.

    logits_mwh: as ``maps_at_size`` has it. threshold_logit_k: float32 [K].

    Byte for byte what it is to resize every prompt's logits as ``resize.encode_at_size`` does, to decide each pixel and
    to compare with the thresholds. Needs memory for some columns of pixels of every prompt, and for the edges found.
    """
    inside_k = np.zeros(len(contest.outputs), np.bool_)
    edges, masks, used = np.empty(0, np.int32), np.empty(0, np.int32), 0
    base = 0
    for maps_knh in maps_at_size(contest, logits_mwh, height, width):
        if used + maps_knh.size > len(edges):
            room = np.empty(used + 2 * maps_knh.size, np.int32)
            edges, masks = np.concatenate([edges[:used], room]), np.concatenate([masks[:used], room])
        maps_kn = maps_knh.reshape(len(maps_knh), -1)
        used = interpolation.append_edges(maps_kn, threshold_logit_k, base, inside_k, edges, masks, used)
        base += maps_kn.shape[1]
    # Each mask's edges in their order, its number of pixels behind them.
    masks = np.concatenate([masks[:used], np.arange(len(inside_k), dtype=np.int32)])
    edges = np.concatenate([edges[:used], np.full(len(inside_k), height * width, np.int32)])
    offsets = np.concatenate([[0], np.cumsum(np.bincount(masks, minlength=len(inside_k)))]).astype(np.int64)
    return encode_edges(edges[np.argsort(masks, kind="stable")], offsets, height)
