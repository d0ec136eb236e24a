"""A query table asked of some scenes as a run asks it, contests included: probabilities at the truth's size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.resizing import Size, at_truth_size
from clipseg_ray.evaluation.truth import Scene
from clipseg_ray.masks.contest_resize import maps_at_size
from clipseg_ray.model.block import Block, Met
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.rows import Pairs
from clipseg_ray.queries.prompt_set import PromptSet

_PIXELS_AT_ONCE = 2**25
"""Of all maps of a contest that are drawn together: 128 MiB of float32."""


class TableAnswer(NamedTuple):
    """What one query got on one image: their places, a probability float32 [width, height], the grid's greatest."""

    image: int
    query: int
    probability_wh: np.ndarray
    score: float


def table_answers(
    engine: Engine, features: Any, prompt_set: PromptSet, scenes: Sequence[Scene], pairs: Pairs | None = None
) -> Iterator[TableAnswer]:
    """Every written query of the set on every image, or the ``pairs`` of both, where none competes; in any order.

    scenes: of the features. A query that is its prompt alone has the probability on the model's grid, resized
    bilinearly. Where queries compete, pixels are decided at the truth's size from resized logits, as with
    ``masks.size: image``; a query has the probability 0 where it may not take the pixel.
    Raises UserError, by the query's name, for logits that are not finite.
    """
    any_logit_q = np.full(len(prompt_set.queries), -np.inf, np.float32)  # so that no map is left out as empty
    blocks = engine.segment(
        features,
        engine.embed(prompt_set.conditionals_qc),
        any_logit_q,
        pairs,
        competition=prompt_set.competition,
        want_logits=True,
    )
    sizes = [(scene.width, scene.height) for scene in scenes]
    for block in blocks:
        image_p, query_p = block.image_index_p.tolist(), block.query_index_p.tolist()
        if not np.isfinite(block.max_logit_p).all():
            row, prompt = int(np.argmin(np.isfinite(block.max_logit_p))), block.unsound_prompt
            asked = prompt_set.queries[query_p[row]] if prompt is None else prompt_set.prompts[prompt]
            raise not_finite(scenes[image_p[row]], asked.query_id)
        score_p = torch.from_numpy(block.max_logit_p).sigmoid().tolist()
        probabilities = _probabilities(block, sizes)
        yield from map(TableAnswer, image_p, query_p, probabilities, score_p)


def not_finite(scene: Scene, query_id: str) -> UserError:
    """What is wrong where an answer has logits that are not finite."""
    return UserError(
        f"{scene.image_id}: the model's answer to {query_id!r} is not finite; check its weights, or set "
        "model.precision: fp32"
    )


def _probabilities(block: Block, sizes: Sequence[Size]) -> Iterator[np.ndarray]:
    """Of each row of a block with all logits, in order."""
    if not block.met:
        assert block.logits_kwh is not None
        yield from at_truth_size(torch.from_numpy(block.logits_kwh).sigmoid(), block.image_index_p, sizes)
    for met in block.met:
        yield from _decided(met, sizes[int(block.image_index_p[met.start])])


def _decided(met: Met, size: Size) -> Iterator[np.ndarray]:
    """Of each query of a contest, some of them at a time."""
    assert met.logits_mwh is not None
    width, height = size
    outputs = met.contest.outputs
    at_once = max(1, _PIXELS_AT_ONCE // (width * height))
    for start in range(0, len(outputs), at_once):
        some = replace(met.contest, outputs=outputs[start : start + at_once])
        maps = list(maps_at_size(some, met.logits_mwh, height, width))
        yield from torch.from_numpy(np.concatenate(maps, axis=1)).sigmoid_().numpy()
