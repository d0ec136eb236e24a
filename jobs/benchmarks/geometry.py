"""Parts, holes, distances and outlines of run lengths: ours against scipy.ndimage between pycocotools' bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pycocotools import mask as coco
from scipy import ndimage

from benchmarks.harness import Contestant, environment, race, report, single_thread
from benchmarks.rle import SIDE, smooth_fields
from clipseg_ray.masks import morphology, outlines, regions
from clipseg_ray.masks.rle import encode_bits
from clipseg_ray.masks.threshold import pack

_RADIUS = 5.0
_TOLERANCE = 1.0


def benchmark(*, masks: int = 512, rounds: int = 5, json_file: str | None = None) -> dict[str, Any]:
    """Run it on ``masks`` smooth random fields that are not empty, print it, and return what the JSON line holds."""
    single_thread("cpu")
    counts = _drawn(masks)
    height, ones = pa.repeat(SIDE, masks), pa.repeat(1, masks)
    radius, tolerance = pa.repeat(_RADIUS, masks), pa.repeat(_TOLERANCE, masks)
    exact = pa.repeat(0.0, masks)
    first, second = counts.slice(0, masks // 2), counts.slice(masks - masks // 2)
    half = height.slice(0, len(first))
    ours: dict[str, Callable[[], pa.Array]] = {
        "components": lambda: regions.components(counts, height, ones),
        "fill_holes": lambda: regions.fill_holes(counts, height),
        f"dilate by {_RADIUS:g}": lambda: morphology.dilate(counts, height, radius),
        "distance": lambda: morphology.distance(first, second, half),
        "polygons": lambda: outlines.polygons(counts, height, exact),
        f"polygons within {_TOLERANCE:g}": lambda: outlines.polygons(counts, height, tolerance),
        "WKT": lambda: outlines.wkt(counts, height, exact),
    }
    theirs: dict[str, Callable[[], list[Any]]] = {
        "components": lambda: [_components(each) for each in counts.to_pylist()],
        "fill_holes": lambda: [_changed(each, ndimage.binary_fill_holes) for each in counts.to_pylist()],
        f"dilate by {_RADIUS:g}": lambda: [_changed(each, _dilated) for each in counts.to_pylist()],
        "distance": lambda: [_distance(*pair) for pair in zip(first.to_pylist(), second.to_pylist(), strict=True)],
    }
    races = [
        race(
            f"{name}, {SIDE}×{SIDE}",
            "pair" if name == "distance" else "mask",
            [
                Contestant("ours", run, len(run())),
                *(
                    [Contestant("scipy.ndimage, pycocotools", theirs[name], len(run()), warm=False)]
                    if name in theirs
                    else []
                ),
            ],
            rounds,
        )
        for name, run in ours.items()
    ]
    result = {
        "benchmark": "geometry",
        **environment("cpu"),
        "settings": {"masks": masks, "rounds": rounds},
        "agrees": all(_plain(ours[name]()) == run() for name, run in theirs.items()),
        "characters_per_mask": float(np.mean([len(each) for each in counts.to_pylist()])),
        "per_second": {name: 1 / found.timings[0].median for name, found in zip(ours, races, strict=True)},
    }
    rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in result["per_second"].items())
    notes = [
        f"Ours a second on one core: {rates}.",
        f"Smooth random fields of {result['characters_per_mask']:.0f} characters a mask. One thread.",
    ]
    report(result, races, notes, json_file)
    return result


def _drawn(masks: int) -> pa.Array:
    bits_pn, _, _ = (
        tensor.numpy() for tensor in pack(smooth_fields(2 * masks).transpose(1, 2).contiguous(), torch.zeros(2 * masks))
    )
    rles = encode_bits(bits_pn, SIDE, SIDE)
    return rles.counts.filter(pa.array(rles.area > 0)).slice(0, masks)


def _pixels(counts: str) -> np.ndarray:
    return coco.decode({"size": [SIDE, SIDE], "counts": counts}).astype(bool)


def _counts(mask_hw: np.ndarray) -> str:
    return str(coco.encode(np.asfortranarray(mask_hw, dtype=np.uint8))["counts"].decode())


def _components(counts: str) -> list[tuple[str, int]]:
    labels_hw, number = ndimage.label(_pixels(counts), np.ones((3, 3)))
    return sorted((_counts(labels_hw == label), int((labels_hw == label).sum())) for label in range(1, number + 1))


def _changed(counts: str, change: Callable[[np.ndarray], np.ndarray]) -> str:
    return _counts(change(_pixels(counts)))


def _dilated(mask_hw: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.distance_transform_edt(~mask_hw) <= _RADIUS)


def _distance(a: str, b: str) -> float:
    return float(ndimage.distance_transform_edt(~_pixels(b))[_pixels(a)].min())


def _plain(found: pa.Array) -> list[Any]:
    """As the baseline has it: parts of a mask sorted, without their boxes."""
    values = found.to_pylist()
    if pa.types.is_list(found.type):
        return [sorted((part["counts"], part["area"]) for part in parts) for parts in values]
    return list(values)
