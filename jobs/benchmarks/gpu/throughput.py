"""Milliseconds an image at several numbers of queries, and what of that is an image and what a query."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.gpu import models
from benchmarks.gpu.part import Finding, Setting
from benchmarks.gpu.stopwatch import seconds
from benchmarks.roofline import H200_BF16
from clipseg_ray.model import flops
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.precision import resolve_precision

_IMAGES = {1: 1024, 8: 1024, 32: 512, 128: 256, 512: 64}
_SMALL_IMAGES = {1: 4, 8: 4, 32: 2}


def measure(setting: Setting) -> Finding:
    """Pixels in, bits out, at the precision a run would have, against two rooflines: an H200's and this card's."""
    precision, _ = resolve_precision("auto", setting.device)
    engine = models.engine(setting, precision)
    loaded = models.checkpoint(setting)
    size = loaded.preprocessing.size
    image, query = (count(loaded.config, size) for count in (flops.encoder_flops, flops.decoder_flops))
    measured = setting.value("rates", f"{precision}_flops")
    rows = []
    for prompts, images in (_SMALL_IMAGES if setting.small else _IMAGES).items():
        pixels_bhwc = models.pixels(setting, images)
        conditionals_qc = models.conditionals(setting, prompts)
        run = partial(_segment, engine, pixels_bhwc, conditionals_qc)
        image_s = seconds(run, setting.device, rounds=2 if setting.small else 3) / images
        work = image + prompts * query
        rows.append(
            {
                "prompts": prompts,
                "image_ms": 1e3 * image_s,
                "images_per_s": 1 / image_s,
                "masks_per_s": prompts / image_s,
                "share_of_h200_roofline": work / H200_BF16 / image_s,
                # None where the rate is not known: NaN is no JSON.
                "share_of_measured_roofline": work / measured / image_s if measured == measured else None,
            }
        )
    values: dict[str, Any] = {"precision": precision, "batch": engine.batch, "decode_chunk": engine.decode_chunk}
    values |= {"rows": rows, **_fitted(rows)}
    values |= {"h200_image_us": 1e6 * image / H200_BF16, "h200_query_us": 1e6 * query / H200_BF16}
    summary = (
        f"{precision}: {values['image_us']:.3g} µs an image + {values['query_us']:.3g} µs a query (an H200's roofline "
        f"{values['h200_image_us']:.3g} + {values['h200_query_us']:.3g}); "
        + ", ".join(f"P={row['prompts']} {row['images_per_s']:.4g} images/s{_share(row)}" for row in rows)
    )
    return Finding(summary, values)


def _segment(engine: Engine, pixels_bhwc: np.ndarray, conditionals_qc: np.ndarray) -> None:
    """Blocks are let go at once, as a run does: those kept would pin ever more memory."""
    prompts = engine.embed(conditionals_qc)
    for _ in engine.segment(pixels_bhwc, prompts, np.zeros(len(prompts), np.float32)):
        pass


def _fitted(rows: list[dict[str, Any]]) -> dict[str, float]:
    """µs an image and µs a query, by least squares of relative errors: each number of queries counts alike."""
    prompts_n = np.array([row["prompts"] for row in rows], np.float64)
    us_n = np.array([1e3 * row["image_ms"] for row in rows])
    terms_n2 = np.stack([np.ones_like(prompts_n), prompts_n], axis=1) / us_n[:, None]
    image_us, query_us = np.linalg.lstsq(terms_n2, np.ones_like(us_n), rcond=None)[0]
    return {"image_us": float(image_us), "query_us": float(query_us)}


def _share(row: dict[str, Any]) -> str:
    share = row["share_of_measured_roofline"]
    return "" if share is None else f" ({share:.0%} of the measured roofline)"
