"""Which images are to be decoded with which queries, and in what order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Pairs = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Rows:
    """(image, query) rows for the decoder; all arrays are [p].

    image_index_p, query_index_p: int64, into the images and queries of the caller. feature_index_p: int64, the
    image's place among the features at hand. limit_p: float32, the threshold as a logit.
    """

    image_index_p: np.ndarray
    query_index_p: np.ndarray
    feature_index_p: np.ndarray
    limit_p: np.ndarray

    @classmethod
    def as_given(cls, pairs: Pairs) -> Rows:
        """`pairs` in their own order, of images whose features are all at hand; without thresholds."""
        image_index_p, query_index_p = (np.asarray(index, dtype=np.int64) for index in pairs)
        return cls(image_index_p, query_index_p, image_index_p, np.zeros(len(image_index_p), np.float32))

    @classmethod
    def by_image(cls, pairs: Pairs, threshold_logits_q: np.ndarray) -> tuple[Rows, np.ndarray]:
        """`pairs` image by image, and the images they name, int64 and ascending, whose features come in that order."""
        image_index_p, query_index_p = (np.asarray(index, dtype=np.int64) for index in pairs)
        order = np.argsort(image_index_p, kind="stable")
        image_index_p, query_index_p = image_index_p[order], query_index_p[order]
        wanted, feature_index_p = np.unique(image_index_p, return_inverse=True)
        limit_p = np.asarray(threshold_logits_q, dtype=np.float32)[query_index_p]
        return cls(image_index_p, query_index_p, feature_index_p.astype(np.int64), limit_p), wanted

    def of_features(self, first: int, count: int) -> Rows:
        """The rows, which are image by image, of `count` features from the `first` on, as if there were no others."""
        low, high = np.searchsorted(self.feature_index_p, (first, first + count))
        part = self[low:high]
        return Rows(part.image_index_p, part.query_index_p, part.feature_index_p - first, part.limit_p)

    def __getitem__(self, part: slice) -> Rows:
        return Rows(self.image_index_p[part], self.query_index_p[part], self.feature_index_p[part], self.limit_p[part])

    def __len__(self) -> int:
        return len(self.query_index_p)


def product(images: int, queries: int) -> Pairs:
    """Every image with every query."""
    return np.repeat(np.arange(images), queries), np.tile(np.arange(queries), images)
