"""Masks of one engine held against another's, row by row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from clipseg_ray.model.block import Block
from clipseg_ray.model.engine import Engine


@dataclass(frozen=True)
class Answers:
    """Masks of every image with every query, image by image: bits_pn, max_logit_p, probability_sum_p as in a Block."""

    bits_pn: np.ndarray
    max_logit_p: np.ndarray
    probability_sum_p: np.ndarray

    @classmethod
    def of(cls, engine: Engine, pixels_bhwc: np.ndarray, conditionals_qc: np.ndarray) -> Answers:
        """What the engine answers at the usual threshold."""
        prompts = engine.embed(conditionals_qc)
        return cls.gathered(engine.segment(pixels_bhwc, prompts, np.zeros(len(prompts), np.float32)))

    @classmethod
    def gathered(cls, blocks: Iterable[Block]) -> Answers:
        """Copies: blocks of a GPU lie in pinned memory."""
        copies = [(b.bits_pn.copy(), b.max_logit_p.copy(), b.probability_sum_p.copy()) for b in blocks]
        bits, highest, sums = (np.concatenate(column) for column in zip(*copies, strict=True))
        return cls(bits, highest, sums)

    def differing(self, other: Answers) -> float:
        """The share of pixels that differ."""
        return float(np.bitwise_count(self.bits_pn ^ other.bits_pn).sum() / (8 * self.bits_pn.size))

    def highest_difference(self, other: Answers) -> float | None:
        """Between the maxima of the logits, at most; None where one of them is not finite."""
        difference = float(np.abs(self.max_logit_p - other.max_logit_p).max())
        return difference if np.isfinite(difference) else None

    def identical(self, other: Answers) -> bool:
        """To the last bit of every number."""
        mine = (self.bits_pn, self.max_logit_p, self.probability_sum_p)
        theirs = (other.bits_pn, other.max_logit_p, other.probability_sum_p)
        return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(mine, theirs, strict=True))
