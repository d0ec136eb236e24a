"""Masks at the image's own size, encoded from the model's grid without ever being drawn."""

import numpy as np

from clipseg_ray.masks import interpolation
from clipseg_ray.masks.rle import Rles, check_size, encode_edges


def encode_at_size(logits_pwh: np.ndarray, height: int, width: int, threshold_logit_p: np.ndarray) -> Rles:
    """Encode the masks of P logit maps at ``height`` × ``width`` pixels.

    logits_pwh: float32 [P, W, H], the grid transposed (as :func:`clipseg_ray.masks.threshold.pack` takes it), finite.
    threshold_logit_p: float32 [P].

    Byte for byte what torch gives on a CPU with AVX2 or AVX-512 (torch 2.13, ATen ``UpSampleKernel.cpp``) for one
    channel: ``interpolate(logits, (height, width), mode="bilinear", align_corners=False) > threshold_logit``,
    encoded by pycocotools. Elsewhere torch may round differently (it does with ATEN_CPU_CAPABILITY=default, where
    it does not fuse multiply and add), which can move pixels whose logit ties with the threshold; this function
    gives the same bytes everywhere.
    """
    check_size(height, width)
    rows = len(logits_pwh)
    if logits_pwh.dtype != np.float32 or logits_pwh.ndim != 3 or threshold_logit_p.shape != (rows,):
        raise ValueError(
            f"logits of shape {logits_pwh.shape} ({logits_pwh.dtype}) with thresholds of shape "
            f"{threshold_logit_p.shape}: must be float32 [P, W, H] and [P]"
        )
    edge_offsets = np.empty(rows + 1, np.int64)
    edges = interpolation.edges_of_resized(
        np.ascontiguousarray(logits_pwh),
        height,
        width,
        np.ascontiguousarray(threshold_logit_p, np.float32),
        edge_offsets,
    )
    return encode_edges(edges, edge_offsets, height)
