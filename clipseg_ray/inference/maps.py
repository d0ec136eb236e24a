"""Probabilities at the size of an image: logits interpolated, then decided, as masks at that size are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from clipseg_ray.inference.asked import Asked
from clipseg_ray.masks.verdict import Verdict
from clipseg_ray.model.engine import Engine


def maps_at_size(engine: Engine, asked: Asked, features: Any, height: int, width: int) -> np.ndarray:
    """Of one image, upright: float32 [queries, height, width], in the order of ``asked.queries``.

    Where a query lost a pixel to another it is 0. features: of that image alone. Of queries that meet in one contest
    the maps of all prompts are in memory at once.
    """
    questions = asked.questions
    maps_qhw = np.empty((len(asked.queries), height, width), np.float32)

    def at_size(logits_wh: np.ndarray) -> torch.Tensor:
        one_11hw = torch.from_numpy(logits_wh).T[None, None]
        return F.interpolate(one_11hw, (height, width), mode="bilinear", align_corners=False)[0, 0]

    for block in engine.segment(
        features,
        questions.prompts,
        np.full(len(questions.query_ids), -np.inf, np.float32),  # so that no map is left out as empty
        competition=questions.competition,
        want_logits=True,
    ):
        if not block.met:
            assert block.logits_kwh is not None
            for query, logits_wh in zip(block.query_index_p.tolist(), block.logits_kwh, strict=True):
                maps_qhw[asked.place_q[query]] = at_size(logits_wh).sigmoid().numpy()
        for met in block.met:
            assert met.logits_mwh is not None
            logits_mn = torch.stack([at_size(logits_wh).flatten() for logits_wh in met.logits_mwh])
            decided_kn = Verdict(met.contest, logits_mn.device).maps(logits_mn)
            for output, decided_n in zip(met.contest.outputs, decided_kn, strict=True):
                maps_qhw[asked.place_q[output.query]] = decided_n.sigmoid().view(height, width).numpy()
    return maps_qhw
