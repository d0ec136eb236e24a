"""A comparison as a whole: what is said of it, and whether it is good enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clipseg_ray.comparison import numbers
from clipseg_ray.comparison.numbers import Agreement
from clipseg_ray.comparison.pairing import Pair
from clipseg_ray.comparison.side import Side

COLUMNS = (
    "query", "masks", "in either", "mean IoU", "IoU 5 %", "IoU 50 %", "IoU 95 %", "same", "found", "lost",
    "score drift", "largest drift",
)  # fmt: skip
"""Of the table of pairs; what they mean is in `numbers.Agreement`."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A and B, their pairs of queries and how much each agrees.

    changes: lines on what they were made with. lacks: lines on what was not compared. page: where the images that
    differ most were written, else None.
    """

    a: Side
    b: Side
    pairs: tuple[Pair, ...]
    agreements: tuple[Agreement, ...]
    changes: tuple[str, ...]
    lacks: tuple[str, ...]
    page: str | None

    def rows(self) -> list[tuple[Any, ...]]:
        """Values of ``COLUMNS`` for each pair, the least alike first."""
        both = zip(self.pairs, self.agreements, strict=True)
        return [
            (
                pair.name, each.masks, each.either, each.iou, *(each.quantiles.get(share) for share in numbers.SHARES),
                each.same, each.found, each.lost, each.drift, each.drift_most,
            )
            for pair, each in sorted(both, key=lambda both: (both[1].iou is None, both[1].iou))
        ]  # fmt: skip

    def faults(self, limit: float) -> list[str]:
        """Why A and B do not agree well enough: pairs whose mean IoU is below ``limit``, and whatever one lacks. Empty
        where they do."""
        below = [
            f"{pair.name} {each.iou:.4f}"
            for pair, each in zip(self.pairs, self.agreements, strict=True)
            if each.iou is not None and each.iou < limit
        ]
        found = [f"mean IoU below {limit:g} in {len(below)} of {len(self.pairs)}: {', '.join(below)}"] if below else []
        return [*found, *(["not everything could be compared: see above"] if self.lacks else [])]
