"""What is asked of which image at every step: PhraseCut+ sampling, a pure function of seed and position.

An epoch goes once through all (image, query) pairs in seeded order where one query is asked per image, as
published, and once through all images where more are. Every position has random numbers of its own, so neither the
number of workers nor a resume changes what is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from clipseg_ray.queries.templates import resolve_templates
from clipseg_ray.training.collection import TrainingTruth
from clipseg_ray.training.config import SamplingConfig

_ATTEMPTS = 50
"""How often a query that the image lacks is drawn before one that holds is asked instead."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One query of one image.

    query: index into ``TrainingTruth.queries``. truth: its true mask; None where the image lacks it. text: as the
    text tower reads it. support: the truth, in another image, of the picture prompt; None for the text alone.
    share: the picture prompt's share in the blend, 0…1.
    """

    query: int
    truth: int | None
    text: str
    support: int | None
    share: float


@dataclass(frozen=True)
class Draw:
    """One image and what is asked of it.

    anchor: a truth of the image that a crop should keep. seed: for everything random that follows.
    """

    image: int
    anchor: int
    rows: tuple[Row, ...]
    seed: tuple[int, ...]


class Sampler:
    """Draws by position; positions are counted over all steps and workers."""

    def __init__(self, truth: TrainingTruth, config: SamplingConfig, seed: int) -> None:
        self._truth = truth
        self._config = config
        self._seed = seed
        self._templates = resolve_templates(config.template)
        self._held_n = np.diff(truth.start_n)
        self._pairs = config.phrases_per_image == 1
        self._anchors = truth.image_t if self._pairs else np.flatnonzero(self._held_n)
        self._order = lru_cache(2)(self._epoch)

    def __len__(self) -> int:
        """Positions in an epoch."""
        return len(self._anchors)

    def draw(self, position: int) -> Draw:
        """What is asked at a position."""
        epoch, index = divmod(position, len(self._anchors))
        anchor = int(self._order(epoch)[index])
        rng = np.random.default_rng([self._seed, 1, position])
        image = int(self._anchors[anchor])
        held = self._held(image, anchor if self._pairs else None, rng)
        rows = tuple(self._row(image, held, number, rng) for number in range(self._config.phrases_per_image))
        return Draw(image, anchor=held[0], rows=rows, seed=(self._seed, 2, position))

    def wordings(self, step: int) -> tuple[str, ...]:
        """One wording of every query, drawn anew each step."""
        rng = np.random.default_rng([self._seed, 4, step])
        return tuple(query.texts[rng.integers(len(query.texts))] for query in self._truth.queries)

    def _epoch(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self._seed, 0, epoch]).permutation(len(self._anchors))

    def _held(self, image: int, first: int | None, rng: np.random.Generator) -> list[int]:
        """Truths of the image in random order, over and over where there are fewer than wanted."""
        if first is not None:
            return [first]
        truths = self._truth.of(image)
        wanted = self._config.phrases_per_image
        order = [int(each) for each in rng.permutation(len(truths))[:wanted]]
        return [truths[order[number % len(order)]] for number in range(wanted)]

    def _row(self, image: int, held: list[int], number: int, rng: np.random.Generator) -> Row:
        config, truth = self._config, self._truth
        chosen: int | None = held[number]
        query = int(truth.query_t[chosen])
        if rng.random() < config.negatives:
            absent = self._absent(image, rng)
            if absent is not None:
                chosen, query = None, absent
        texts = truth.queries[query].texts
        text = texts[rng.integers(len(texts))]
        template = self._templates[rng.integers(len(self._templates))]
        support, share = None, 0.0
        kinds = config.support_kinds
        if (kinds is None or truth.queries[query].kind in kinds) and rng.random() < config.support_share:
            support = self._support(image, query, rng)
            low, high = config.support_weight
            share = 1.0 if rng.random() < config.support_alone else float(rng.uniform(low, high))
        return Row(
            query=query,
            truth=chosen,
            text=template.format(text),
            support=support,
            share=0.0 if support is None else share,
        )

    def _absent(self, image: int, rng: np.random.Generator) -> int | None:
        truth = self._truth
        for _ in range(_ATTEMPTS):
            if self._config.negatives_from == "phrases":
                query = int(rng.integers(len(truth.queries)))
            else:
                query = int(truth.query_t[rng.integers(len(truth.query_t))])
            if truth.lacks(image, query):
                return query
        return None

    def _support(self, image: int, query: int, rng: np.random.Generator) -> int | None:
        """A truth of the same query in another image."""
        holders = self._truth.holders(query)
        for _ in range(_ATTEMPTS):
            support = int(holders[rng.integers(len(holders))])
            if self._truth.image_t[support] != image:
                return support
            if len(holders) == 1:
                return None
        return None
