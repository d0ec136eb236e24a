"""A published table as a file: the data it needs, how it is asked, and the numbers that were printed.

config = PaperConfig.load("configs/paper/phrasecut.yaml")
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from clipseg_ray.errors import UserError, meant
from clipseg_ray.evaluation.config import EvaluateConfig, RowConfig, SupportsConfig
from clipseg_ray.evaluation.releases.formats import FORMATS
from clipseg_ray.settings import Section, Settings

Measure = Literal[
    "miou",
    "iou_fg",
    "iou_bin",
    "iou_per_image",
    "ap_clipseg",
    "miou_seen",
    "miou_unseen",
    "object_gain",
]
"""What the paper prints, by its name in ``evaluation.json``."""

PART = "{part}"
"""In the address of a checkpoint: the part of the table it is for."""


class NeededData(Section):
    """A file or folder of a release that must be there."""

    path: str
    """Below the folder of all data."""
    source: str
    """Where it comes from."""


class TruthOfRelease(Section):
    """A truth set, by what ``clipseg-ray truth`` is given; of the same name in two tables it is the same."""

    format: str
    """One of its formats."""
    source: str
    """The release, below the folder of all data."""
    options: dict[str, str | int | bool] = Field(default={})
    """Its options, without dashes (``names``, ``split``, …); those that say where something lies, below that folder."""


class PublishedLine(Section):
    """A line of the printed table."""

    name: str
    """As it stands there."""
    table: int | None = None
    """The table's number in the paper; empty where it is not known."""
    rows: dict[str, str] = Field(default={})
    """The rows whose mean is comparable, each with the part its checkpoint is for; none for somebody else's model."""
    threshold: float | None = None
    """The paper's, one of ``also_at``. Default: it is not known, and each row's own is taken."""
    values: Annotated[dict[Measure, float | None], Field(min_length=1)]
    """What was printed, in percent; empty where it is not known."""


class PaperConfig(Settings):
    """Everything one table needs but data and checkpoint."""

    examples: ClassVar[Mapping[str, str]] = {"title": "title: Referring expressions"}

    title: str
    """What the table is about."""
    data: Annotated[list[NeededData], Field(min_length=1)]
    truth: Annotated[dict[str, TruthOfRelease], Field(min_length=1)]
    rows: Annotated[list[RowConfig], Field(min_length=1)]
    published: Annotated[list[PublishedLine], Field(min_length=1)]
    parts: Annotated[dict[str, str], Field(min_length=1)]
    """Parts of the table, each with a checkpoint of its own: how that is trained."""
    stands_for: Annotated[list[str], Field(min_length=1)]
    """The parts for which a checkpoint is measured that is the same for all."""
    tune: str | None = None
    """As of an evaluation."""
    also_at: list[float] = Field(default=[])
    """As of an evaluation."""
    label_size: int | None = None
    """As of an evaluation."""
    supports: SupportsConfig | None = None
    remarks: list[str] = Field(default=[])
    """What must be known to compare."""

    def faults(self) -> Iterator[str]:
        """What no single key shows."""
        for name, each in self.truth.items():
            if each.format not in FORMATS:
                yield f"truth.{name}.format: there is no format {each.format!r}; {meant(each.format, FORMATS)}"
        for part in self.stands_for:
            if part not in self.parts:
                yield f"stands_for: there is no part {part!r}; {meant(part, self.parts)}"
        names = [row.name for row in self.rows]
        for place, line in enumerate(self.published):
            key = f"published.{place}"
            for row, part in line.rows.items():
                if row not in names:
                    yield f"{key}.rows: {row!r} is the name of no row; {meant(row, names)}"
                if part not in self.parts:
                    yield f"{key}.rows: there is no part {part!r}; {meant(part, self.parts)}"
            if line.threshold is not None and line.threshold not in self.also_at:
                yield f"{key}.threshold: {line.threshold:g} is none of also_at"
        try:
            self.evaluation("there", dict.fromkeys(self.truth, "there"), "there", names)
        except UserError as error:
            yield from (line.strip() for line in str(error).splitlines()[1:])

    def evaluation(self, checkpoint: str, truth: Mapping[str, str], output: str, rows: Sequence[str]) -> EvaluateConfig:
        """The evaluation of some rows by their names. truth: the shards of each set.

        Raises UserError naming every fault.
        """
        values: dict[str, Any] = self.model_dump(
            mode="json", include={"tune", "also_at", "label_size", "supports"}, exclude_none=True
        )
        return EvaluateConfig.parse(
            {
                **values,
                "truth": dict(truth),
                "model": {"checkpoint": checkpoint, "precision": "fp32"},
                "rows": [row.model_dump(mode="json") for row in self.rows if row.name in rows],
                "output": {"url": output},
            }
        )

    def rows_for(self, parts: Sequence[str]) -> list[str]:
        """The names of the rows that are compared for some parts, and of those they take thresholds from."""
        wanted = {row for line in self.published for row, part in line.rows.items() if part in parts}
        by_name = {row.name: row for row in self.rows}
        while further := {name for row in wanted for name in by_name[row].tune_on or ()} - wanted:
            wanted |= further
        return [row.name for row in self.rows if row.name in wanted]
