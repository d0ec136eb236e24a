"""Measuring a model on images with true masks while it trains."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

from clipseg_ray.evaluation.metrics import Metrics
from clipseg_ray.pixels.preprocessing import Preprocessing
from clipseg_ray.queries.composition import compose
from clipseg_ray.queries.modes import Mode
from clipseg_ray.training.collection import Collection
from clipseg_ray.training.network import decode, encode, to_maps
from clipseg_ray.training.objective import Objective
from clipseg_ray.training.squashing import squash_image

PICTURE_PROMPT = "picture prompt"
"""The kind under which queries asked by support picture alone are measured."""

_ABSENT_SHARE = 0.25
_PICTURE_PROMPTS = 4  # of an image's queries


class Validation:
    """The same questions at every measurement: of each image everything that holds in it, as many absent queries as
    a quarter of these, and a few of the former again by a picture prompt from another image."""

    def __init__(self, collection: Collection, preprocessing: Preprocessing, mode: Mode, seed: int) -> None:
        self._collection = collection
        self._preprocessing = preprocessing
        self._mode = mode
        self._seed = seed

    def measure(self, objective: Objective, rank: int, world: int) -> dict[str, dict[str, float | None]]:
        """Scores by kind, over all workers' shares of the images: ``iou_fg``, ``ap``, ``threshold``, …"""
        metrics = Metrics()
        objective.eval()
        with torch.inference_mode():
            for image in range(rank, len(self._collection), world):
                self._ask(objective, image, metrics)
        objective.train()
        if world > 1:
            parts: list[Any] = [None] * world
            dist.all_gather_object(parts, metrics)
            metrics = Metrics()
            for part in parts:
                metrics.merge(part)
        names = ("iou_fg", "iou_bin", "miou", "ap", "best_threshold")
        rows = metrics.to_table().to_pylist()
        return {row["kind"]: {name: row[name] for name in names} for row in rows if row["level"] == "kind"}

    def _ask(self, objective: Objective, image: int, metrics: Metrics) -> None:
        truth = self._collection.truth
        truths = truth.of(image)
        if not truths:
            return
        rng = np.random.default_rng([self._seed, 3, image])
        labels_khw = self._collection.masks(truths)
        queries = [int(query) for query in truth.query_t[truths.start : truths.stop]]
        drawn = rng.integers(len(truth.queries), size=max(1, round(_ABSENT_SHARE * len(truths)))).tolist()
        absent = [query for query in dict.fromkeys(drawn) if truth.lacks(image, query)]
        shown = [(k, support) for k in range(len(queries)) if (support := self._support(image, queries[k], rng))]
        shown = [shown[k] for k in rng.permutation(len(shown))[:_PICTURE_PROMPTS]]
        model = objective.model
        device = model.device
        pixels = torch.from_numpy(squash_image(self._collection.image(image), self._preprocessing.size))[None]
        prompts = [torch.from_numpy(self._prompt(support)) for _, support in shown]
        stacked = torch.cat([objective.normalise(pixels), *(prompt[None] for prompt in prompts)]).to(device)
        taps, prompts_mc = encode(model, stacked, 1)
        texts = objective.tokens([truth.queries[query].texts[0] for query in [*queries, *absent]])
        conditionals = model.clip.get_text_features(texts.to(device)).pooler_output
        if prompts_mc is not None:
            conditionals = torch.cat([conditionals, prompts_mc])
        maps = to_maps(decode(model, taps, conditionals)).float().sigmoid()
        resized = F.interpolate(maps[:, None], labels_khw.shape[1:], mode="bilinear", align_corners=False)[:, 0]
        answers = resized.cpu().numpy()
        for k, query in enumerate([*queries, *absent]):
            asked = truth.queries[query]
            label_hw = labels_khw[k] if k < len(queries) else None
            metrics.update(asked.query_id, answers[k], label_hw, kind=asked.kind)
        for place, (k, _) in enumerate(shown, len(queries) + len(absent)):
            metrics.update(truth.queries[queries[k]].query_id, answers[place], labels_khw[k], kind=PICTURE_PROMPT)

    def _support(self, image: int, query: int, rng: np.random.Generator) -> int | None:
        holders = self._collection.truth.holders(query)
        others = holders[self._collection.truth.image_t[holders] != image]
        return int(rng.choice(others)) if len(others) else None

    def _prompt(self, support: int) -> np.ndarray:
        image = int(self._collection.truth.image_t[support])
        mask_hw = self._collection.masks([support])[0]
        return compose(self._collection.image(image), mask_hw, self._mode, self._preprocessing)
