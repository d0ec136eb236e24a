"""Logits to run lengths and scores: ours against torch, numpy and pycocotools as in `baselines`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pycocotools import mask as coco

from benchmarks.agreement import columns_differ
from benchmarks.baselines import masks_of
from benchmarks.harness import Contestant, environment, race, report, single_thread
from clipseg_ray.masks.columns import columns
from clipseg_ray.masks.resize import encode_at_size
from clipseg_ray.masks.rle import encode_bits
from clipseg_ray.masks.threshold import pack

SIDE = 352
_IMAGE = (550, 825)


def benchmark(*, masks: int = 128, rounds: int = 7, json_file: str | None = None) -> dict[str, Any]:
    """Run it on ``masks`` smooth random fields, print it, and return what the JSON line holds."""
    single_thread("cpu")
    logits_phw = smooth_fields(masks)
    logits_pwh = logits_phw.transpose(1, 2).contiguous()
    limit_p = torch.zeros(masks)
    bits_pn, max_logit_p, _ = (tensor.numpy() for tensor in pack(logits_pwh, limit_p))
    drawn_hwp = np.asfortranarray((logits_phw > 0).permute(1, 2, 0).numpy(), dtype=np.uint8)

    races = [
        race(
            f"{SIDE}×{SIDE} logits → all columns",
            "mask",
            [
                Contestant("ours", lambda: _columns(logits_pwh, limit_p), masks),
                Contestant("torch, numpy, pycocotools", lambda: _reference_columns(logits_phw), masks),
            ],
            rounds,
        ),
        race(
            f"{SIDE}×{SIDE} bits → RLE, area, box",
            "mask",
            [
                Contestant("ours", lambda: encode_bits(bits_pn, SIDE, SIDE, max_logit_p > 0), masks),
                Contestant("pycocotools, from bytes in its own order", lambda: _encoded(drawn_hwp), masks),
            ],
            rounds,
        ),
        race(
            f"{SIDE}×{SIDE} logits → RLE at {_IMAGE[0]}×{_IMAGE[1]}",
            "mask",
            [
                Contestant("ours", lambda: encode_at_size(logits_pwh.numpy(), *_IMAGE, limit_p.numpy()), masks),
                Contestant("torch interpolate + pycocotools", lambda: _reference_resized(logits_phw), masks),
            ],
            rounds,
        ),
    ]
    agreement = _agreement(logits_phw, logits_pwh, limit_p)
    result = {
        "benchmark": "rle",
        **environment("cpu"),
        "settings": {"masks": masks, "rounds": rounds, "empty": int((max_logit_p <= 0).sum())},
        "agrees": agreement["counts_differ"] == agreement["resized_counts_differ"] == 0
        and agreement["score_difference"] < 1e-6
        and agreement["score_mean_difference"] < 1e-5,
        "agreement": agreement,
        **{
            f"ratio_{name}": found.timings[1].median / found.timings[0].median
            for name, found in zip(("columns", "bits", "resized"), races, strict=True)
        },
    }
    notes = [
        "Masks whose run lengths differ from pycocotools': {counts_differ} on the grid, {resized_counts_differ} at "
        "image size; scores differ by at most {score_difference:.1e}, means inside by {score_mean_difference:.1e}, "
        "areas and boxes by {area_and_box_difference}.".format(**agreement),
        f"{masks} smooth random fields, {result['settings']['empty']} of them empty. Ours takes logits transposed, as "
        "its decoder writes them; pycocotools' users get them row by row. One thread.",
    ]
    report(result, races, notes, json_file)
    return result


def smooth_fields(count: int) -> torch.Tensor:
    """float32 [p, h, w]: blobs of every scale, a fifth or so of the fields empty, as for queries that are absent."""
    generator = torch.Generator().manual_seed(0)
    field = torch.zeros(count, 1, SIDE, SIDE)
    for cells, weight in ((4, 3.0), (11, 1.5), (22, 0.7)):
        coarse = torch.randn(count, 1, cells, cells, generator=generator) * weight
        field += torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic", align_corners=False)
    return field[:, 0] - torch.linspace(0, 12, count)[:, None, None]


def _columns(logits_pwh: torch.Tensor, limit_p: torch.Tensor) -> dict[str, pa.Array]:
    bits_pn, max_logit_p, sum_p = (tensor.numpy() for tensor in pack(logits_pwh, limit_p))
    rles = encode_bits(bits_pn, SIDE, SIDE, max_logit_p > 0)
    return columns(rles, SIDE, SIDE, max_logit_p, sum_p)


def _reference_columns(logits_phw: torch.Tensor) -> dict[str, Any]:
    masks = masks_of(logits_phw)
    areas = [int(coco.area(rle)) for rle in masks.rles]  # one by one: for more than 255 it overflows under numpy 2
    return {
        "score": masks.score_p,
        "score_mean": masks.score_mean_p,
        "area": areas,
        "coverage": np.array(areas) / logits_phw[0].numel(),
        "bbox": coco.toBbox(masks.rles),
        "counts": [rle["counts"].decode() for rle in masks.rles],
    }


def _encoded(drawn_hwp: np.ndarray) -> tuple[list[str], np.ndarray]:
    rles = coco.encode(drawn_hwp)
    for rle in rles:
        coco.area(rle)
    return [rle["counts"].decode() for rle in rles], coco.toBbox(rles)


def _reference_resized(logits_phw: torch.Tensor) -> list[str]:
    found = []
    for logits_hw in logits_phw:
        resized = torch.nn.functional.interpolate(logits_hw[None, None], _IMAGE, mode="bilinear", align_corners=False)
        found.append(coco.encode(np.asfortranarray((resized[0, 0] > 0).numpy(), dtype=np.uint8))["counts"].decode())
    return found


def _agreement(logits_phw: torch.Tensor, logits_pwh: torch.Tensor, limit_p: torch.Tensor) -> dict[str, Any]:
    ours = {name: column.to_pylist() for name, column in _columns(logits_pwh, limit_p).items()}
    theirs = _reference_columns(logits_phw)
    resized = encode_at_size(logits_pwh.numpy(), *_IMAGE, limit_p.numpy()).counts.to_pylist()
    boxes = [[box[side] for side in "xywh"] for box in ours["bbox"]]
    score_mean = columns_differ(ours["score_mean"], theirs["score_mean"])
    return {
        "counts_differ": sum(a != b for a, b in zip(ours["counts"], theirs["counts"], strict=True)),
        "resized_counts_differ": sum(a != b for a, b in zip(resized, _reference_resized(logits_phw), strict=True)),
        "score_difference": columns_differ(ours["score"], theirs["score"]),
        "score_mean_difference": score_mean,
        "area_and_box_difference": int(
            max(
                np.abs(np.subtract(ours["area"], theirs["area"])).max(),
                np.abs(np.subtract(boxes, theirs["bbox"])).max(),
            )
        ),
    }
