"""What became of pixels and images at one threshold, and the measures that follow.

Over a set the pixels are pooled:

- ``IoU_FG = TP / (TP + FP + FN)`` and ``IoU_BIN = (IoU_FG + TN / (TN + FP + FN)) / 2``.
- Where a class has no true pixel in the set, its IoU is undefined and None, however much was predicted; such a query
  is left out of means over queries, but its false positives count wherever pixels are pooled. (CLIPSeg's authors add
  1 to each denominator instead, which makes it 0; for classes that occur the two differ by less than 1 / their
  pixels.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

SHARE = 1 << 32
"""An image's own IoU is kept in units of 1 / SHARE: sums of integers know no order."""

TENTHS = (5, 7, 9)
"""IoUs, in tenths, above which a present pair is right: PhraseCut's accuracy at 0.5, 0.7 and 0.9."""


@dataclass(frozen=True)
class Overlap:
    """Pixels of a part of the images that have the thing: in mask and truth, in the mask alone, in the truth alone."""

    both: int = 0
    mask: int = 0
    truth: int = 0

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(self.both + other.both, self.mask + other.mask, self.truth + other.truth)

    @property
    def iou(self) -> float | None:
        """None if no pixel there is true."""
        true = self.both + self.truth
        return self.both / (true + self.mask) if true else None


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Counts at one threshold; they add up.

    Pixels: true_positive, false_positive, false_negative, true_negative. (Image, query) pairs, by whether the thing
    is there and whether a mask was given: present_found, present_silent, absent_found, absent_silent.
    share_sum: over the present pairs, each one's own IoU in units of 1 / SHARE. above_5, above_7, above_9: present
    pairs whose own IoU is above so many of TENTHS. border, border_diagonal, small, medium, large: see ``regions``.
    """

    true_positive: int = 0
    false_positive: int = 0
    false_negative: int = 0
    true_negative: int = 0
    present_found: int = 0
    present_silent: int = 0
    absent_found: int = 0
    absent_silent: int = 0
    share_sum: int = 0
    above_5: int = 0
    above_7: int = 0
    above_9: int = 0
    border: Overlap = Overlap()
    border_diagonal: Overlap = Overlap()
    small: Overlap = Overlap()
    medium: Overlap = Overlap()
    large: Overlap = Overlap()

    def __add__(self, other: Tally) -> Tally:
        return Tally(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(Tally)})

    def with_regions(self, overlaps_r: Iterable[Overlap]) -> Tally:
        """The same with those of each of ``regions.REGIONS``."""
        border, border_diagonal, small, medium, large = overlaps_r
        return replace(self, border=border, border_diagonal=border_diagonal, small=small, medium=medium, large=large)

    @property
    def present(self) -> int:
        """Pairs where the thing is there."""
        return self.present_found + self.present_silent

    @property
    def absent(self) -> int:
        """Pairs where it is not."""
        return self.absent_found + self.absent_silent

    @property
    def iou_fg(self) -> float | None:
        """None if the truth has no foreground."""
        foreground = self.true_positive + self.false_negative
        return self.true_positive / (foreground + self.false_positive) if foreground else None

    @property
    def iou_bin(self) -> float | None:
        """None if the truth lacks foreground or background."""
        if self.iou_fg is None or not self.true_negative + self.false_positive:
            return None
        background = self.true_negative / (self.true_negative + self.false_positive + self.false_negative)
        return (self.iou_fg + background) / 2

    @property
    def iou_per_image(self) -> float | None:
        """Mean over the present pairs of each one's own IoU; None if there is none."""
        return self.share_sum / SHARE / self.present if self.present else None

    def accuracy(self, tenths: int) -> float | None:
        """Share of the present pairs whose own IoU is above one of TENTHS; None if there is none."""
        above = {5: self.above_5, 7: self.above_7, 9: self.above_9}[tenths]
        return _share(above, self.present - above)

    @property
    def precision(self) -> float | None:
        """Share of the predicted pixels that are true; None if none was predicted."""
        return _share(self.true_positive, self.false_positive)

    @property
    def recall(self) -> float | None:
        """Share of the true pixels that are predicted; None if there is none."""
        return _share(self.true_positive, self.false_negative)

    @property
    def found_share(self) -> float | None:
        """Share of the present pairs with a mask."""
        return _share(self.present_found, self.present_silent)

    @property
    def silent_share(self) -> float | None:
        """Share of the absent pairs without one."""
        return _share(self.absent_silent, self.absent_found)

    @property
    def presence_accuracy(self) -> float | None:
        """Share of the pairs with a mask where the thing is, and without one where it is not."""
        return _share(self.present_found + self.absent_silent, self.present_silent + self.absent_found)


def _share(part: int, rest: int) -> float | None:
    return part / (part + rest) if part + rest else None
