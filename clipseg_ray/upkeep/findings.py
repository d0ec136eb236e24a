"""What reading a whole dataset back found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from clipseg_ray.results.completeness import Missing, named

NAMED = 20


@dataclass(frozen=True)
class Orphan:
    """A file that is no part of the dataset and that readers may take for one, or that is only in the way."""

    path: str
    why: str

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"


@dataclass(kw_only=True)
class Findings:
    """What was found. ``faults`` are lines that name a file and what is wrong with it; ``unrecognised`` are files under
    names that no run writes, which no reader looks at; ``remedy`` says what mends what is missing."""

    url: str
    parts: int = 0
    masks: int = 0
    images: int = 0
    faults: list[str] = field(default_factory=list)
    orphans: list[Orphan] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    unrecognised: list[str] = field(default_factory=list)
    remedy: str = "which a run into the same output computes"

    @property
    def sound(self) -> bool:
        """Whether the dataset is whole and all of it agrees."""
        return not (self.faults or self.orphans or self.missing)

    def text(self) -> str:
        """All of it for a person."""
        lines = [f"{self.url}: read {self.parts} parts, {self.images} images, {self.masks} masks"]
        sections: tuple[tuple[str, Sequence[object]], ...] = (
            ("faults", self.faults),
            ("orphans, which --fix removes", self.orphans),
            (f"missing, {self.remedy}", self.missing),
            ("unrecognised files, left alone", self.unrecognised),
        )
        for title, found in sections:
            if found:
                lines += [f"{len(found)} {title}:", named(found, NAMED)]
        return "\n".join([*lines, "sound: nothing is missing and everything agrees"] if self.sound else lines)
