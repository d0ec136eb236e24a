"""What CLIP makes of marked pictures, counted: mergeable sums per query. See ``prompt_study`` for what is measured."""

from __future__ import annotations

from dataclasses import dataclass, replace

from clipseg_ray.evaluation.metrics import AskedQuery, Chosen
from clipseg_ray.evaluation.scores import Scores
from clipseg_ray.evaluation.tally import SHARE


@dataclass
class Likelihood:
    """Of one query: its pictures, and the sums of the probabilities of marked and of plain ones, in 1 / SHARE."""

    pictures: int = 0
    marked_sum: int = 0
    plain_sum: int = 0

    def __iadd__(self, other: Likelihood) -> Likelihood:
        self.pictures += other.pictures
        self.marked_sum += other.marked_sum
        self.plain_sum += other.plain_sum
        return self


class Likelihoods:
    """Mergeable, and as sums of integers in any order."""

    def __init__(self) -> None:
        self.answers: dict[AskedQuery, Likelihood] = {}

    def update(self, asked: AskedQuery, marked: float, plain: float) -> None:
        """Count one picture: the probability of its thing once it is marked, and as the picture is, 0…1."""
        found = Likelihood(1, round(marked * SHARE), round(plain * SHARE))
        self.answers.setdefault(asked, Likelihood()).__iadd__(found)

    def merge(self, other: Likelihoods) -> None:
        """Add what another has counted."""
        for asked, theirs in other.answers.items():
            mine = self.answers.setdefault(asked, Likelihood())
            mine += theirs

    def scores(self, chosen: Chosen, *, present_only: bool = False) -> Scores:
        """The chosen queries' measures: all but these are undefined. Every pair has its thing."""
        each = [answer for asked, answer in self.answers.items() if chosen(asked)]
        total = Likelihood()
        for answer in each:
            total += answer
        shares = (
            (None, None)
            if not total.pictures
            else (
                total.marked_sum / SHARE / total.pictures,
                (total.marked_sum - total.plain_sum) / SHARE / total.pictures,
            )
        )
        empty = Scores.of([], threshold=None, best_threshold=None, ap=None, each_ap=(), ap_clipseg=None, ap_images=None)
        return replace(
            empty,
            queries=len(each),
            images_present=total.pictures,
            object_probability=shares[0],
            object_gain=shares[1],
        )
