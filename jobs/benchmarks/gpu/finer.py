"""Tiles, and masks that follow the picture's borders: the device's answers against plainer ones, and what they cost.

Merged logits are held against windows that the same engine decodes one by one, added up in float64; refined ones
against the machine code that a CPU filters with.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.gpu import models
from benchmarks.gpu.answers import Answers
from benchmarks.gpu.part import Finding, Setting
from benchmarks.gpu.stopwatch import seconds
from clipseg_ray.config import FOUND, REFINE_EPSILON, REFINE_RADIUS
from clipseg_ray.masks.guided import GuidedFilter
from clipseg_ray.model.engine import Engine
from clipseg_ray.pixels.viewed_images import ViewedImages
from clipseg_ray.pixels.views import Views

_VIEWS = Views(tiles=2, overlap=0.5, whole=True)
_FILTER = GuidedFilter(REFINE_RADIUS, REFINE_EPSILON)
_WAYS: dict[str, tuple[Views | None, GuidedFilter | None]] = {
    "whole": (None, None),
    "whole, refined": (None, _FILTER),
    "tiles 2": (_VIEWS, None),
    "tiles 2, found": (replace(_VIEWS, only="found", floor=FOUND), None),
    "tiles 2, refined": (_VIEWS, _FILTER),
}


def compare(setting: Setting) -> Finding:
    """Tiles 2 with the whole, the guided filter, and both."""
    merged, refined = _merged(setting), _refined(setting)
    costs = _costs(setting)
    summary = (
        f"merged logits differ by {merged['difference']:.1e} (allowed {merged['allowed']:.1e}); "
        f"refined probabilities differ from the CPU's by {refined['difference']:.1e} (allowed {refined['allowed']:.1e})"
    )
    for name, cost in costs.items():
        repeated = "identical" if cost["identical"] else "DIFFER"
        summary += f"; {name}: {cost['times_whole']:.2f}× the time of the whole, repeats {repeated}"
    agrees = all(each["difference"] <= each["allowed"] for each in (merged, refined))
    values = {"merged": merged, "refined": refined, "costs": costs}
    return Finding(summary, values, agrees and all(cost["identical"] for cost in costs.values()))


def _merged(setting: Setting) -> dict[str, float]:
    """One image, in fp32."""
    engine = models.engine(setting, "fp32", views=_VIEWS)
    images, prompts = _images(setting, 1), engine.embed(models.conditionals(setting, 3))
    found_qwh = np.empty((len(prompts), *images.finest(0).shape[:2]), np.float32)
    for block in engine.segment(images, prompts, np.full(len(prompts), -np.inf, np.float32), want_logits=True):
        assert block.logits_kwh is not None
        found_qwh[block.query_index_p[block.logits_row_k]] = block.logits_kwh
    expected_qwh = _merged_slowly(engine, images, prompts)
    allowed = 2e-5 * max(1.0, float(expected_qwh.std()))
    return {"difference": float(np.abs(found_qwh - expected_qwh).max()), "allowed": allowed}


def _merged_slowly(engine: Engine, images: ViewedImages, prompts: Any) -> np.ndarray:
    """float64 [q, T, T]."""
    pixels_hwc, size = images.finest(0), images.whole_bhwc.shape[1]
    starts = _VIEWS.starts(2, size)
    hann_s = np.sin((np.arange(size) + 0.5) * np.pi / size) ** 2
    sum_qwh, weights_wh = np.zeros((len(prompts), *pixels_hwc.shape[:2])), np.zeros(pixels_hwc.shape[:2])
    for top in starts:
        for left in starts:
            window_hwc = pixels_hwc[top : top + size, left : left + size]
            logits_qwh = engine.decode(engine.encode(np.ascontiguousarray(window_hwc)[None]), prompts)[0]
            place = np.s_[left : left + size, top : top + size]
            sum_qwh[:, *place] += logits_qwh.cpu().double().numpy() * np.outer(hann_s, hann_s)
            weights_wh[place] += np.outer(hann_s, hann_s)
    whole_qwh = engine.decode(engine.encode(images.whole_bhwc[:1]), prompts)[0].cpu().double()
    enlarged_q1wh = F.interpolate(whole_qwh[:, None], pixels_hwc.shape[:2], mode="bilinear", align_corners=False)
    return (sum_qwh / weights_wh + enlarged_q1wh[:, 0].numpy()) / 2


def _refined(setting: Setting) -> dict[str, float]:
    """The device's filter on logits that the CPU's gets too."""
    side = models.SMALL_SIDE if setting.small else 704
    rng = np.random.default_rng(3)
    coarse_p1wh = torch.from_numpy(rng.normal(0, 4, (6, 1, side // 16, side // 16)).astype(np.float32))
    logits_pwh = F.interpolate(coarse_p1wh, (side, side), mode="bicubic")[:, 0].contiguous()
    pixels_hwc = torch.from_numpy(rng.integers(0, 256, (side, side, 3), np.uint8))
    expected_pwh = _FILTER.of_image(pixels_hwc)(logits_pwh).sigmoid()
    device = torch.device(setting.device)
    guide = _FILTER.guide_with_torch(pixels_hwc[None].to(device).permute(0, 3, 2, 1).contiguous())
    rows_p = torch.zeros(len(logits_pwh), dtype=torch.int64, device=device)
    never_p = torch.full((len(logits_pwh),), -torch.inf, device=device)
    found_pwh = _FILTER.refined_with_torch(logits_pwh.to(device), guide, rows_p, never_p).sigmoid().cpu()
    return {"difference": float((found_pwh - expected_pwh).abs().max()), "allowed": 1e-6 / REFINE_EPSILON**0.5}


def _costs(setting: Setting) -> dict[str, dict[str, Any]]:
    """Of each way, in bf16, images that are on the host."""
    images, found = _images(setting, 2 if setting.small else 16), {}
    conditionals_qc = models.conditionals(setting, 4 if setting.small else 32)
    whole_s = 0.0
    for name, (views, refine) in _WAYS.items():
        engine = models.engine(setting, "bf16", views=views, refine=refine)
        prompts = engine.embed(conditionals_qc)
        given = images if views is not None else images.whole_bhwc

        def answers(engine: Engine = engine, given: Any = given, prompts: Any = prompts) -> Answers:
            return Answers.gathered(engine.segment(given, prompts, np.zeros(len(prompts), np.float32)))

        first = answers()
        identical = all(first.identical(answers()) for _ in range(2))
        taken = seconds(answers, setting.device, rounds=1 if setting.small else 3, warm=False)
        whole_s = whole_s or taken
        found[name] = {
            "images": len(images),
            "prompts": len(prompts),
            "seconds": taken,
            "times_whole": taken / whole_s,
            "identical": identical,
        }
    return found


def _images(setting: Setting, count: int) -> ViewedImages:
    """Seeded images of two tiles a side."""
    whole_bhwc = models.pixels(setting, count)
    large_bhwc = whole_bhwc.repeat(2, 1).repeat(2, 2)
    return ViewedImages(whole_bhwc, np.full(count, 2), large_bhwc.reshape(-1))
