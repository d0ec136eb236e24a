"""A model against a truth shard: every image encoded once, asked every question, and compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.answers import Answers
from clipseg_ray.evaluation.argmax import count_winners
from clipseg_ray.evaluation.metrics import Metrics
from clipseg_ray.evaluation.questions import Questions
from clipseg_ray.evaluation.resizing import at_truth_size
from clipseg_ray.evaluation.table_answers import not_finite, table_answers
from clipseg_ray.evaluation.truth import Scene, Thing, TruthSet
from clipseg_ray.evaluation.worker_checkpoint import Named
from clipseg_ray.inference.finer import Finer
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.model.precision import default_batching
from clipseg_ray.model.protocol import Prompts
from clipseg_ray.model.viewing import ViewedFeatures
from clipseg_ray.pixels.decode import DecodedImage, ImageError, decode
from clipseg_ray.pixels.preprocessing import Preprocessing
from clipseg_ray.pixels.viewed_images import Gathering
from clipseg_ray.pixels.views import Views
from clipseg_ray.queries.prompt_set import PromptSet
from clipseg_ray.sources.base import Shard


@dataclass(frozen=True)
class Pair:
    """One question to one image: the scene's place among those in memory, what is asked, its true pixels."""

    scene: int
    thing: Thing
    label_wh: np.ndarray | None


Planes: TypeAlias = Mapping[str, Sequence[np.ndarray]]
"""Of one scene: the masks of each query that holds."""

Answered: TypeAlias = tuple[Pair, np.ndarray, float]
"""A pair with its probability, float32 [width, height], and its score."""


class Scorer:
    """Scores one model. Needs memory for SCENES_AT_ONCE images, and for the counts of every query."""

    def __init__(
        self,
        engine: Engine,
        preprocessing: Preprocessing,
        label_size: int | None = None,
        views: Views | None = None,
    ) -> None:
        self.engine = engine
        self.preprocessing = preprocessing
        self.label_size = label_size
        self.views = views

    def score(self, truth: TruthSet, shard: Shard, questions: Sequence[Questions]) -> list[Metrics | Answers]:
        """The counts of each of ``questions`` over one shard.

        The prediction is the probability on the model's grid, resized bilinearly to the truth's size; the score is its
        maximum on the grid, as in a masks dataset. Scenes to which nothing is put are not encoded. Of queries that
        compete: see ``table_answers``. Raises UserError for images and truths that cannot be read, and for a model that
        gives no finite numbers.
        """
        counts = [Answers() if asked.job.asking.decides else Metrics() for asked in questions]
        for read in truth.scenes(shard):
            scenes = [scene for scene in read if any(asked.concern(scene) for asked in questions)]
            if not scenes:
                continue
            features = self.encode(scenes)
            if self.label_size is not None:
                scenes = [scene.squashed(self.label_size) for scene in scenes]
            planes = [scene.planes() for scene in scenes]
            ignored = [scene.ignored() for scene in scenes]
            for asked, found in zip(questions, counts, strict=True):
                if isinstance(found, Answers):
                    count_winners(self.engine, features, asked, scenes, planes=planes, ignored=ignored, answers=found)
                else:
                    self._ask(asked, scenes, planes=planes, ignored=ignored, features=features, metrics=found)
        return counts

    def encode(self, scenes: Sequence[Scene]) -> Any:
        """The scenes' images, encoded. Raises UserError for one that cannot be read or is not of its truth's size."""
        gathering = Gathering(len(scenes), self.preprocessing.size, self.views)
        for scene in scenes:
            decoded = self._decoded(scene)
            gathering.add(decoded.pixels_hwc, decoded.large_hwc)
        return self.engine.encode(gathering.done())

    def _ask(
        self,
        questions: Questions,
        scenes: Sequence[Scene],
        planes: Sequence[Planes],
        ignored: Sequence[np.ndarray | None],
        features: Any,
        metrics: Metrics,
    ) -> None:
        if questions.prompt_set is None:
            answers = self._of_pairs(questions, scenes, planes, features)
        else:
            answers = self.of_table(questions, questions.prompt_set, scenes, planes=planes, features=features)
        for pair, probability_wh, score in answers:
            metrics.update(
                pair.thing.query_id,
                probability_wh,
                pair.label_wh,
                ignored[pair.scene],
                kind=pair.thing.kind,
                score=score,
            )

    def _of_pairs(
        self,
        questions: Questions,
        scenes: Sequence[Scene],
        planes: Sequence[Planes],
        features: Any,
    ) -> Iterator[Answered]:
        """Every thing asked by conditionals of its own."""
        pairs: list[Pair] = []
        conditionals: list[np.ndarray] = []
        for index, scene in enumerate(scenes):
            image = scene.sha256
            for place, thing in enumerate(questions.things):
                for label_wh in thing.labels(scene, planes[index]):
                    if label_wh is None and not questions.job.everywhere:
                        continue
                    rows_wc = questions.conditionals(place, image)
                    conditionals.append(rows_wc)
                    pairs += [Pair(index, thing, label_wh)] * len(rows_wc)
        return self._answers(pairs, np.concatenate(conditionals), scenes, features) if pairs else iter(())

    def of_table(
        self,
        questions: Questions,
        prompt_set: PromptSet,
        scenes: Sequence[Scene],
        *,
        planes: Sequence[Planes],
        features: Any,
    ) -> Iterator[Answered]:
        """The written queries of a table, which are the things; where some compete, all are put to every scene.

        Only of scenes of which it is known whether they have the thing; ``planes``: of each scene.
        """
        things = {thing.query_id: thing for thing in questions.things}
        asked = [things[query.query_id] for query in prompt_set.queries]
        wanted = {
            (image, query): label_wh
            for image, scene in enumerate(scenes)
            for query, thing in enumerate(asked)
            for label_wh in thing.labels(scene, planes[image])  # one at most: of a table's queries it is a union
            if label_wh is not None or questions.job.everywhere
        }
        if not wanted:
            return
        pairs = None
        if prompt_set.competition is None:
            image_p, query_p = np.array(list(wanted)).T
            pairs = (image_p, query_p)
        for answer in table_answers(self.engine, features, prompt_set, scenes, pairs):
            place = (answer.image, answer.query)
            if place in wanted:
                pair = Pair(answer.image, asked[answer.query], wanted[place])
                yield pair, answer.probability_wh, answer.score

    def _answers(
        self, pairs: Sequence[Pair], conditionals_pc: np.ndarray, scenes: Sequence[Scene], features: Any
    ) -> Iterator[Answered]:
        """Of each pair, in order."""
        images_p = np.array([pair.scene for pair in pairs])
        prompts = self.engine.embed(conditionals_pc)
        sizes = [(scene.width, scene.height) for scene in scenes]
        for place_k, logits_kwh in self._logits(features, images_p, prompts):
            probability_kwh = torch.sigmoid(logits_kwh)
            score_k = probability_kwh.amax((1, 2)).cpu().numpy()
            if not np.isfinite(score_k).all():
                wrong = pairs[place_k[np.flatnonzero(~np.isfinite(score_k))[0]]]
                raise not_finite(scenes[wrong.scene], wrong.thing.query_id)
            resized = at_truth_size(probability_kwh, images_p[place_k], sizes)
            yield from zip((pairs[place] for place in place_k), resized, score_k.tolist(), strict=True)

    def _logits(
        self, features: Any, images_p: np.ndarray, prompts: Prompts
    ) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Places among the pairs, each of an image and the prompt of its place, and their logits, some at a time."""
        place_p = np.arange(len(images_p))
        if isinstance(features, ViewedFeatures):
            any_logit_p = np.full(len(place_p), -np.inf, np.float32)  # so that no map is left out as empty
            pairs = (images_p, place_p)
            for block in self.engine.segment(features, prompts, any_logit_p, pairs, want_logits=True):
                assert block.logits_kwh is not None
                every_pwh = np.full((len(block.query_index_p), *block.logits_kwh.shape[1:]), np.nan, np.float32)
                every_pwh[block.logits_row_k] = block.logits_kwh
                yield block.query_index_p, torch.from_numpy(every_pwh)
            return
        start = 0
        for logits_pwh in self.engine.decode_pairs(features, images_p, prompts, place_p):
            yield place_p[start : start + len(logits_pwh)], logits_pwh
            start += len(logits_pwh)

    def _decoded(self, scene: Scene) -> DecodedImage:
        try:
            decoded = decode(scene.image, self.preprocessing, views=self.views)
        except ImageError as error:
            raise UserError(f"{scene.image_id}: {error}; a truth shard's images must be readable") from error
        if (decoded.height, decoded.width) != (scene.height, scene.width):
            raise UserError(
                f"{scene.image_id}: the image is {decoded.width}×{decoded.height} pixels (width×height), its truth "
                f"{scene.width}×{scene.height}; they must be of one size"
            )
        return decoded


def scorer_of(
    named: Named, device: str, precision: str, label_size: int | None = None, finer: Finer | None = None
) -> Scorer:
    """The scorer that a worker holds; on a CPU it computes on one thread. Raises UserError as ``Named.load``."""
    if device == "cpu":
        torch.set_num_threads(1)
    checkpoint = named.load()
    batch, decode_chunk = default_batching(device, precision)
    finer = finer or Finer()
    finer.refuse(checkpoint)
    model = make_model(
        checkpoint,
        device=device,
        precision=precision,
        batch=batch,
        decode_chunk=decode_chunk,
        columns=finer.columns,
    )
    return Scorer(Engine(model, None, finer.refine, finer.views), checkpoint.preprocessing, label_size, finer.views)
