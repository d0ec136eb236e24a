"""What is asked of which image at every step: PhraseCut+ sampling, a pure function of seed and position.

An epoch goes once through all (image, query) pairs in seeded order where one query is asked per image, as
published, and once through all images where more are. Every position has random numbers of its own, so neither the
number of workers nor a resume changes what is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from clipseg_ray.errors import UserError
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
        asked_q = self._asked()
        self._asked_t = asked_q[truth.query_t]
        alike = config.negatives_from == "phrases"
        self._absent_from = np.flatnonzero(asked_q) if alike else truth.query_t[self._asked_t]
        self._pairs = config.phrases_per_image == 1
        self._anchors = np.flatnonzero(self._asked_t) if self._pairs else np.unique(truth.image_t[self._asked_t])
        if not len(self._anchors):
            raise UserError("sampling.only_visual: no query holds in two images, so none can have a picture prompt")
        self._order = lru_cache(2)(self._epoch)

    def __len__(self) -> int:
        """Positions in an epoch."""
        return len(self._anchors)

    def draw(self, position: int) -> Draw:
        """What is asked at a position."""
        epoch, index = divmod(position, len(self._anchors))
        anchor = int(self._order(epoch)[index])
        rng = np.random.default_rng([self._seed, 1, position])
        first = int(self._anchors[anchor])
        image = int(self._truth.image_t[first]) if self._pairs else first
        held = [first] if self._pairs else self._held(image, rng)
        rows = tuple(self._row(image, held, number, rng) for number in range(self._config.phrases_per_image))
        return Draw(image, anchor=held[0], rows=rows, seed=(self._seed, 2, position))

    def wordings(self, step: int) -> tuple[str, ...]:
        """One wording of every query, drawn anew each step."""
        rng = np.random.default_rng([self._seed, 4, step])
        return tuple(query.texts[rng.integers(len(query.texts))] for query in self._truth.queries)

    def _epoch(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self._seed, 0, epoch]).permutation(len(self._anchors))

    def _asked(self) -> np.ndarray:
        """Which queries may be asked: bool [Q]."""
        truth, config = self._truth, self._config
        asked_q = np.ones(len(truth.queries), bool)
        if config.only_visual:
            for number, query in enumerate(truth.queries):
                images = truth.image_t[truth.holders(number)]
                shown = config.support_kinds is None or query.kind in config.support_kinds
                asked_q[number] = shown and bool((images != images[0]).any())
        return asked_q

    def _held(self, image: int, rng: np.random.Generator) -> list[int]:
        """Truths of the image in random order, over and over where there are fewer than wanted."""
        truths = [each for each in self._truth.of(image) if self._asked_t[each]]
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
        for _ in range(_ATTEMPTS):
            query = int(self._absent_from[rng.integers(len(self._absent_from))])
            if self._truth.lacks(image, query):
                return query
        return None

    def _support(self, image: int, query: int, rng: np.random.Generator) -> int | None:
        """A truth of the same query in another image."""
        holders = self._truth.holders(query)
        others = holders[self._truth.image_t[holders] != image]
        return int(others[rng.integers(len(others))]) if len(others) else None
