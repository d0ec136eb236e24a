"""Which images are to be decoded with which prompts, in what order, and whose answers they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

Pairs = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """(image, query) rows as they are answered; all arrays are [p].

    image_index_p, query_index_p: int64, into the images and queries of the caller. limit_p: float32, the threshold as
    a logit.
    """

    image_index_p: np.ndarray
    query_index_p: np.ndarray
    limit_p: np.ndarray

    def __len__(self) -> int:
        return len(self.query_index_p)


@dataclass(frozen=True, kw_only=True)
class Rows(Answers):
    """Answers that are one row of the decoder each.

    feature_index_p: int64, the image's place among the features at hand. prompt_index_p: int64, into the prompts.
    """

    feature_index_p: np.ndarray
    prompt_index_p: np.ndarray

    @classmethod
    def as_given(cls, pairs: Pairs) -> Rows:
        """`pairs` of images and prompts in their own order, all features at hand; without thresholds."""
        image_index_p, prompt_index_p = (np.asarray(index, dtype=np.int64) for index in pairs)
        return cls(
            image_index_p=image_index_p,
            query_index_p=prompt_index_p,
            limit_p=np.zeros(len(image_index_p), np.float32),
            feature_index_p=image_index_p,
            prompt_index_p=prompt_index_p,
        )

    @classmethod
    def by_image(cls, pairs: Pairs, threshold_logits_q: np.ndarray) -> tuple[Rows, np.ndarray]:
        """`pairs` image by image, and the images they name, int64 and ascending, whose features come in that order.

        Each query is its own prompt.
        """
        image_index_p, query_index_p = (np.asarray(index, dtype=np.int64) for index in pairs)
        order = np.argsort(image_index_p, kind="stable")
        image_index_p, query_index_p = image_index_p[order], query_index_p[order]
        wanted, feature_index_p = np.unique(image_index_p, return_inverse=True)
        rows = cls(
            image_index_p=image_index_p,
            query_index_p=query_index_p,
            limit_p=np.asarray(threshold_logits_q, dtype=np.float32)[query_index_p],
            feature_index_p=feature_index_p.astype(np.int64),
            prompt_index_p=query_index_p,
        )
        return rows, wanted

    @classmethod
    def alone(cls, images: int, prompt_of_query: Sequence[int], threshold_logits_q: np.ndarray) -> Rows:
        """Every image, their features in order, with every query that is a prompt alone; the others have -1."""
        prompt_q = np.asarray(prompt_of_query, np.int64)
        own = np.flatnonzero(prompt_q >= 0)
        image_index_p, place_p = product(images, len(own))
        query_index_p = own[place_p]
        return cls(
            image_index_p=image_index_p,
            query_index_p=query_index_p,
            limit_p=np.asarray(threshold_logits_q, dtype=np.float32)[query_index_p],
            feature_index_p=image_index_p,
            prompt_index_p=prompt_q[query_index_p],
        )

    def of_features(self, first: int, count: int) -> Rows:
        """The rows, which are image by image, of `count` features from the `first` on, as if there were no others."""
        low, high = np.searchsorted(self.feature_index_p, (first, first + count))
        part = self[low:high]
        return replace(part, feature_index_p=part.feature_index_p - first)

    def __getitem__(self, part: slice) -> Rows:
        return Rows(
            image_index_p=self.image_index_p[part],
            query_index_p=self.query_index_p[part],
            limit_p=self.limit_p[part],
            feature_index_p=self.feature_index_p[part],
            prompt_index_p=self.prompt_index_p[part],
        )


def product(images: int, queries: int) -> Pairs:
    """Every image with every query."""
    return np.repeat(np.arange(images), queries), np.tile(np.arange(queries), images)
