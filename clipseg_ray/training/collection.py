"""A collection: images, and for each the queries that hold in it with their true masks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class TrainingQuery:
    """What a true mask answers.

    texts: its wordings, at least one. labels: what it stands for, its wordings among them. An image lacks a query for
    certain only if none of the queries that hold in it shares a label with it.
    """

    query_id: str
    kind: str
    texts: tuple[str, ...]
    labels: frozenset[str]


@dataclass(frozen=True)
class TrainingTruth:
    """Which queries hold where. A truth is one (image, query) pair; they are numbered image by image.

    queries: every query that holds anywhere. start_n: int64 [N + 1], where each image's truths begin.
    query_t: int32 [T], index into ``queries``.
    """

    queries: tuple[TrainingQuery, ...]
    start_n: np.ndarray
    query_t: np.ndarray

    def of(self, image: int) -> range:
        """The truths of an image."""
        return range(int(self.start_n[image]), int(self.start_n[image + 1]))

    def holders(self, query: int) -> np.ndarray:
        """The truths of a query, in every image where it holds: int64."""
        order_t, start_q = self._by_query
        return order_t[start_q[query] : start_q[query + 1]]

    def lacks(self, image: int, query: int) -> bool:
        """Whether nothing that holds in the image may be meant by the query."""
        labels = self.queries[query].labels
        held = self.query_t[self.start_n[image] : self.start_n[image + 1]].tolist()
        return all(labels.isdisjoint(self.queries[each].labels) for each in held)

    @cached_property
    def image_t(self) -> np.ndarray:
        """int64 [T], the image of each truth."""
        return np.repeat(np.arange(len(self.start_n) - 1), np.diff(self.start_n))

    @cached_property
    def _by_query(self) -> tuple[np.ndarray, np.ndarray]:
        order_t = np.argsort(self.query_t, kind="stable")
        return order_t, np.searchsorted(self.query_t[order_t], np.arange(len(self.queries) + 1))


class Collection(ABC):
    """Images by number, and true masks by the number of their truth."""

    truth: TrainingTruth
    fingerprint: str
    """Changes when any image or truth does."""
    left_out: Sequence[str] = ()
    """The phrases that are held out, in order."""

    def __len__(self) -> int:
        """Number of images."""
        return len(self.truth.start_n) - 1

    @abstractmethod
    def image(self, image: int) -> np.ndarray:
        """uint8 [h, w, 3], upright."""

    @abstractmethod
    def masks(self, truths: Sequence[int]) -> np.ndarray:
        """The masks of some truths of one image: bool [k, h, w], at the size of the image."""


@dataclass
class TruthBuilder:
    """Collects truths image by image, numbering each query when it is first met."""

    _numbers: dict[str, int] = field(default_factory=dict)
    _queries: list[TrainingQuery] = field(default_factory=list)
    _starts: list[int] = field(default_factory=lambda: [0])
    _held: list[int] = field(default_factory=list)

    def add_image(self, held: Sequence[TrainingQuery]) -> None:
        """The queries that hold in the next image; one may hold of two different masks."""
        for query in held:
            number = self._numbers.setdefault(query.query_id, len(self._queries))
            if number == len(self._queries):
                self._queries.append(query)
            self._held.append(number)
        self._starts.append(len(self._held))

    def build(self) -> TrainingTruth:
        """All that was added."""
        return TrainingTruth(tuple(self._queries), np.array(self._starts, np.int64), np.array(self._held, np.int32))
