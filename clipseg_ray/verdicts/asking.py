"""Which images are asked about: some of every height of score, more of the high ones, where what is right is decided.

The images are ranked by score and cut into strata: the lower half of all, the quarter above it, the eighth above that
and so on up to the highest. In turn each stratum gives an image that is drawn in it by chance. Whoever stops anywhere
has asked about nearly as many of each, so that counts can be weighted back; the best first alone would say nothing of
what a threshold leaves out. (Measured against strata of equal numbers, of equal steps of score and of equal
√p(1 − p): ``jobs/BENCHMARKS.md``.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

STRATA = 6
VERDICTS = 80
"""Of one query, as many as a person is asked for: more narrow the intervals slowly (``jobs/BENCHMARKS.md``)."""


def strata_of(scores_n: np.ndarray) -> np.ndarray:
    """The stratum of each image, int64 [n]; 0 holds the highest scores. Strata without an image have no number."""
    n = len(scores_n)
    rank_n = np.empty(n, np.int64)
    rank_n[np.argsort(-np.asarray(scores_n, np.float64), kind="stable")] = np.arange(n)
    ends = np.unique(np.round(n / 2.0 ** np.arange(STRATA - 1, 0, -1)).astype(np.int64))
    return np.searchsorted(ends[ends > 1], rank_n, side="right")


def order(scores_n: np.ndarray, names: Sequence[str], seed: str) -> list[int]:
    """The places of all images in the order in which they are asked about.

    names: of the images; they and ``seed`` alone decide by chance within a stratum, so that a restart asks on where
    it was. Raises ValueError for scores that are no numbers.
    """
    scores_n = np.asarray(scores_n, np.float64)
    if not np.isfinite(scores_n).all():
        raise ValueError("some scores are no numbers; leave out images without a score")
    drawn = [hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest() for name in names]
    strata: dict[int, list[int]] = {}
    for place, stratum in enumerate(strata_of(scores_n).tolist()):
        strata.setdefault(stratum, []).append(place)
    turns = [
        (turn, stratum, place)
        for stratum, places in strata.items()
        for turn, place in enumerate(sorted(places, key=lambda place: drawn[place]))
    ]
    return [place for _, _, place in sorted(turns)]
