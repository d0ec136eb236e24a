"""Probabilities at the size of an image: logits interpolated, then decided, as masks at that size are."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from clipseg_ray.inference.asked import Asked
from clipseg_ray.masks.competition import NOBODY
from clipseg_ray.masks.verdict import Verdict
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.protocol import Features


def maps_at_size(engine: Engine, asked: Asked, features: Features, height: int, width: int) -> np.ndarray:
    """Of one image, upright: float32 [queries, height, width], in the order of ``asked.queries``.

    Where a query lost a pixel to another it is 0. features: of that image alone. Of queries that meet in one contest
    the maps of all prompts are in memory at once.
    """
    questions = asked.questions
    prompts = np.arange(len(questions.prompt_ids))
    chunks = engine.decode_pairs(features, np.zeros_like(prompts), questions.prompts, prompts)
    logits_mhw = torch.cat([logits_pwh.cpu().clone() for logits_pwh in chunks]).transpose(1, 2)

    def at_size(prompt: int) -> torch.Tensor:
        one_11hw = logits_mhw[prompt][None, None]
        return F.interpolate(one_11hw, (height, width), mode="bilinear", align_corners=False)[0, 0]

    maps_qhw = np.empty((len(asked.queries), height, width), np.float32)
    competition = questions.competition or NOBODY
    for query, prompt in enumerate(competition.alone if questions.competition else prompts.tolist()):
        if prompt >= 0:
            maps_qhw[asked.place_q[query]] = at_size(prompt).sigmoid().numpy()
    for contest in competition.contests:
        logits_mn = torch.stack([at_size(prompt).flatten() for prompt in contest.prompts])
        decided_kn = Verdict(contest, logits_mn.device).maps(logits_mn)
        for output, decided_n in zip(contest.outputs, decided_kn, strict=True):
            maps_qhw[asked.place_q[output.query]] = decided_n.sigmoid().view(height, width).numpy()
    return maps_qhw
