"""Ours against transformers on the same card, both heads: exact in fp32, no worse than its own bf16 in bf16."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from benchmarks import inputs
from benchmarks.agreement import Agreement, precision_error
from benchmarks.baselines import Transformers
from benchmarks.gpu import models
from benchmarks.gpu.part import Finding, Setting
from clipseg_ray.masks import rle
from clipseg_ray.model.embedding import embed_texts
from clipseg_ray.model.engine import Engine
from clipseg_ray.pixels.decode import decode

_AT_ONCE = 8
_NO_WORSE = 1.5
"""How many times transformers' own bf16 error ours may have: both round every product, in different places."""


def fp32(setting: Setting) -> Finding:
    """Masks and logits equal to transformers' up to rounding, through every step that a run takes."""
    _without_tf32()
    found = {head: _agreement(setting, head) for head in models.HEADS}
    summary = "; ".join(
        f"{head}: {each.differing} of {each.pixels} pixels differ ({each.ties} ties), logits by "
        f"{each.max_logit_difference:.1e} (allowed {each.tolerance:.1e})"
        for head, each in found.items()
    )
    values: dict[str, Any] = {head: each.to_json() for head, each in found.items()}
    return Finding(summary, values, all(each.agrees for each in found.values()))


def bf16(setting: Setting) -> Finding:
    """How far bf16 is from fp32 in masks and logits: ours, and transformers' own as what to hold it against."""
    _without_tf32()
    values: dict[str, dict[str, Any]] = {}
    for head in models.HEADS:
        loaded = models.checkpoint(setting, head)
        baseline = Transformers(str(models.folder(setting, head)), setting.device)
        texts, jpeg = _questions(setting)
        exact_phw = _theirs(baseline, jpeg, texts)
        low = copy.copy(baseline)
        low.model = copy.deepcopy(baseline.model).to(torch.bfloat16)
        theirs_phw = _theirs(low, jpeg, texts)
        engine = models.engine(setting, "bf16", head=head)
        ours_phw = _ours(engine, loaded, jpeg, texts)
        values[head] = {"ours": _error(ours_phw, exact_phw), "transformers": _error(theirs_phw, exact_phw)}
        values[head]["logit_std"] = float(exact_phw.std())
    summary = "; ".join(
        f"{head}: {each['ours']['pixels_differ']:.2%} of pixels differ from fp32, IoU {each['ours']['iou_mean']:.4f}, "
        f"logits by {each['ours']['logit_rms']:.2e} rms (transformers in bf16: "
        f"{each['transformers']['pixels_differ']:.2%}, {each['transformers']['logit_rms']:.2e})"
        for head, each in values.items()
    )
    agrees = all(each["ours"]["logit_rms"] <= _NO_WORSE * each["transformers"]["logit_rms"] for each in values.values())
    return Finding(summary, values, agrees)


def _agreement(setting: Setting, head: models.Head) -> Agreement:
    loaded = models.checkpoint(setting, head)
    engine = models.engine(setting, "fp32", head=head)
    baseline = Transformers(str(models.folder(setting, head)), setting.device)
    texts, jpeg = _questions(setting)
    reference_phw = _theirs(baseline, jpeg, texts)
    logits_phw = _ours(engine, loaded, jpeg, texts)
    prompts = engine.embed(embed_texts(loaded, texts))
    pixels_bhwc = decode(jpeg, loaded.preprocessing, "exact").pixels_hwc[None]
    counts: list[str] = []
    for block in engine.segment(pixels_bhwc, prompts, np.zeros(len(texts), np.float32)):
        counts += rle.encode_bits(block.bits_pn, *engine.grid, block.max_logit_p > 0).counts.to_pylist()
    masks_phw = rle.decode(counts, *engine.grid)
    return Agreement.of(masks_phw, reference_phw > 0, logits_phw, reference_phw)


def _questions(setting: Setting) -> tuple[list[str], bytes]:
    return inputs.texts(5 if setting.small else 32), inputs.jpegs(1)[0]


def _ours(engine: Engine, loaded: Any, jpeg: bytes, texts: list[str]) -> np.ndarray:
    """float32 [p, h, w]."""
    pixels_bhwc = decode(jpeg, loaded.preprocessing, "exact").pixels_hwc[None]
    prompts = engine.embed(embed_texts(loaded, texts))
    return engine.decode(engine.encode(pixels_bhwc), prompts)[0].transpose(1, 2).float().cpu().numpy()


def _theirs(baseline: Transformers, jpeg: bytes, texts: list[str]) -> np.ndarray:
    """float32 [p, h, w]."""
    return torch.cat(list(baseline.documented_logits(jpeg, texts, _AT_ONCE))).float().cpu().numpy()


def _error(logits_phw: np.ndarray, exact_phw: np.ndarray) -> dict[str, float]:
    masks_pn, exact_pn = ((each_phw > 0).reshape(len(each_phw), -1) for each_phw in (logits_phw, exact_phw))
    difference_phw = logits_phw - exact_phw
    return {
        **precision_error(masks_pn, exact_pn),
        "logit_rms": float(np.sqrt((difference_phw.astype(np.float64) ** 2).mean())),
        "logit_max": float(np.abs(difference_phw).max()),
    }


def _without_tf32() -> None:
    """For the reference too: cuDNN's convolutions use TF32 unless that is switched off."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
