"""A model against a truth shard: every image encoded once, asked every question, and compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, starmap

import numpy as np
import torch
import torch.nn.functional as F

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.metrics import Metrics
from clipseg_ray.evaluation.questions import Questions
from clipseg_ray.evaluation.truth import Scene, Thing, TruthSet
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.protocol import Features
from clipseg_ray.pixels.decode import ImageError, decode
from clipseg_ray.pixels.preprocessing import Preprocessing
from clipseg_ray.sources.base import Shard


@dataclass(frozen=True)
class _Pair:
    """One question to one image: the scene's place among those in memory, what is asked, its true pixels."""

    scene: int
    thing: Thing
    label_wh: np.ndarray | None


class Scorer:
    """Scores one model. Needs memory for SCENES_AT_ONCE images, and for the counts of every query."""

    def __init__(self, engine: Engine, preprocessing: Preprocessing) -> None:
        self.engine = engine
        self.preprocessing = preprocessing

    def score(self, truth: TruthSet, shard: Shard, questions: Sequence[Questions]) -> list[Metrics]:
        """The metrics of each of ``questions`` over one shard.

        The prediction is the probability on the model's grid, resized bilinearly to the truth's size; the score is its
        maximum on the grid, as in a masks dataset. Raises UserError for images and truths that cannot be read, and
        for a model that gives no finite numbers.
        """
        metrics = [Metrics() for _ in questions]
        for scenes in truth.scenes(shard):
            features = self.engine.encode(np.stack([self._pixels(scene) for scene in scenes]))
            planes = [scene.planes() for scene in scenes]
            ignored = [scene.ignored() for scene in scenes]
            for asked, found in zip(questions, metrics, strict=True):
                self._ask(asked, scenes, planes=planes, ignored=ignored, features=features, metrics=found)
        return metrics

    def _ask(
        self,
        questions: Questions,
        scenes: Sequence[Scene],
        planes: Sequence[dict[str, np.ndarray]],
        ignored: Sequence[np.ndarray | None],
        features: Features,
        metrics: Metrics,
    ) -> None:
        pairs: list[_Pair] = []
        conditionals: list[np.ndarray] = []
        for index, scene in enumerate(scenes):
            image = scene.sha256
            for place, thing in enumerate(questions.things):
                label_wh = thing.label(scene, planes[index])
                if label_wh is None and not questions.job.everywhere:
                    continue
                rows_wc = questions.conditionals(place, image)
                conditionals.append(rows_wc)
                pairs += [_Pair(index, thing, label_wh)] * len(rows_wc)
        if not pairs:
            return
        for pair, probability_wh, score in self._answers(pairs, np.concatenate(conditionals), scenes, features):
            metrics.update(
                pair.thing.query_id,
                probability_wh,
                pair.label_wh,
                ignored[pair.scene],
                kind=pair.thing.kind,
                score=score,
            )

    def _answers(
        self, pairs: Sequence[_Pair], conditionals_pc: np.ndarray, scenes: Sequence[Scene], features: Features
    ) -> Iterator[tuple[_Pair, np.ndarray, float]]:
        """Each pair with its probability, float32 [width, height], and its score, in order."""
        images_p = np.array([pair.scene for pair in pairs])
        prompts = self.engine.embed(conditionals_pc)
        start = 0
        for logits_pwh in self.engine.decode_pairs(features, images_p, prompts, np.arange(len(pairs))):
            chunk = pairs[start : start + len(logits_pwh)]
            start += len(chunk)
            probability_pwh = torch.sigmoid(logits_pwh)
            score_p = probability_pwh.amax((1, 2)).cpu().numpy()
            if not np.isfinite(score_p).all():
                wrong = chunk[int(np.flatnonzero(~np.isfinite(score_p))[0])]
                raise UserError(
                    f"{scenes[wrong.scene].image_id}: the model's answer to {wrong.thing.query_id!r} is not finite; "
                    "check its weights, or set model.precision: fp32"
                )
            for rows in _runs(images_p[start - len(chunk) : start]):
                scene = scenes[chunk[rows.start].scene]
                resized_pwh = _resized(probability_pwh[rows], (scene.width, scene.height)).cpu().numpy()
                for offset, probability_wh in enumerate(resized_pwh):
                    row = rows.start + offset
                    yield chunk[row], probability_wh, float(score_p[row])

    def _pixels(self, scene: Scene) -> np.ndarray:
        try:
            decoded = decode(scene.image, self.preprocessing)
        except ImageError as error:
            raise UserError(f"{scene.image_id}: {error}; a truth shard's images must be readable") from error
        if (decoded.height, decoded.width) != (scene.height, scene.width):
            raise UserError(
                f"{scene.image_id}: the image is {decoded.width}×{decoded.height} pixels (width×height), its truth "
                f"{scene.width}×{scene.height}; they must be of one size"
            )
        return decoded.pixels_hwc


def _resized(probability_pwh: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """float32 [p, width, height] at the truth's size, contiguous."""
    if probability_pwh.shape[1:] == size:
        return probability_pwh.contiguous()
    resized = F.interpolate(probability_pwh[:, None], size, mode="bilinear", align_corners=False)
    return resized[:, 0].clamp_(0, 1)  # rounding may leave the last bit above 1


def _runs(values_p: np.ndarray) -> Iterator[slice]:
    """Slices of equal neighbours."""
    bounds = [0, *(np.flatnonzero(np.diff(values_p)) + 1).tolist(), len(values_p)]
    return starmap(slice, pairwise(bounds))
