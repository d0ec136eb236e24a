"""Published numbers beside those that were measured here: the table for people, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clipseg_ray.evaluation.paper.config import PaperConfig, PublishedLine
from clipseg_ray.evaluation.report import Report, ReportRow
from clipseg_ray.storage import Store, plain_errors

NAME = "comparison"
"""Files are ``comparison.md`` and ``comparison.json``."""

_TITLES = {
    "miou": "mIoU",
    "iou_fg": "IoU_FG",
    "iou_bin": "IoU_BIN",
    "iou_per_image": "mIoU (per image)",
    "ap_clipseg": "AP (CLIPSeg's)",
    "miou_seen": "mIoU, seen",
    "miou_unseen": "mIoU, unseen",
    "object_gain": "ΔP(object)",
}

_OF_MASKS = ("miou", "iou_fg", "iou_bin", "iou_per_image")
"""Those that change with the threshold."""

_DECIMALS = {"object_gain": 2}
"""As the paper prints them; of the others one."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One number of the printed table.

    published: in percent, None where it is not known. rows: what was measured for each of the line's rows, in percent;
    here: their mean, None where one lacks. thresholds: at which that was. at: by further thresholds the same mean,
    nothing where it does not depend on them.
    """

    name: str
    table: int | None
    measure: str
    published: float | None
    rows: Mapping[str, float | None]
    thresholds: Sequence[float]
    at: Mapping[float, float | None]

    @property
    def here(self) -> float | None:
        """The mean over the rows."""
        return _mean(self.rows.values())

    @property
    def difference(self) -> float | None:
        """What is here above what was published."""
        return None if self.here is None or self.published is None else self.here - self.published

    def values(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "name": self.name,
            "table": self.table,
            "measure": self.measure,
            "thresholds": list(self.thresholds),
            "published": self.published,
            "here": self.here,
            "difference": self.difference,
            "rows": dict(self.rows),
            "at": [{"threshold": threshold, "here": value} for threshold, value in self.at.items()],
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A whole table. notes: what must be known to compare. evaluations: by part, where the whole reports are."""

    title: str
    lines: Sequence[Compared]
    notes: Sequence[str] = field(default=())
    evaluations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, config: PaperConfig, reports: Mapping[str, Report], notes: Sequence[str], evaluations: Mapping[str, str]
    ) -> Comparison:
        """Of one table; reports: by part, those that could be made."""
        lines = [each for line in config.published for each in _compared(line, config.also_at, reports)]
        return cls(title=config.title, lines=lines, notes=notes, evaluations=evaluations)

    def markdown(self) -> str:
        """published | here | difference, and here at further thresholds."""
        further = sorted({threshold for line in self.lines for threshold in line.at})
        head = ["", "table", "measure", "threshold", "published", "here", "difference"]
        head += [f"at {threshold:.2f}" for threshold in further]
        rules = ["---" if title in ("", "measure") else "---:" for title in head]
        rows = [head, rules, *(_cells(line, further) for line in self.lines)]
        table = "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
        notes = "".join(f"- {note}\n" for note in self.notes)
        whole = "".join(f"- all measures for {parts}: {url}\n" for parts, url in self._evaluations())
        return f"# {self.title}\n\n{table}\n{notes}{whole}"

    def write(self, url: str) -> None:
        """Put both files into a folder at any URL."""
        body = {
            "title": self.title,
            "lines": [line.values() for line in self.lines],
            "notes": list(self.notes),
            "evaluations": dict(self.evaluations),
        }
        with plain_errors(url):
            store = Store.of(url)
            store.put(f"{NAME}.md", self.markdown().encode())
            store.put(f"{NAME}.json", json.dumps(body, indent=2, ensure_ascii=False).encode())

    def _evaluations(self) -> list[tuple[str, str]]:
        """Each report once, with the parts that share it."""
        parts: dict[str, list[str]] = {}
        for part, url in self.evaluations.items():
            parts.setdefault(url, []).append(part)
        return [(", ".join(names), url) for url, names in parts.items()]


def _compared(line: PublishedLine, also_at: Sequence[float], reports: Mapping[str, Report]) -> Iterator[Compared]:
    fixed = {
        threshold: [_measured(reports.get(part), row, threshold) for row, part in line.rows.items()]
        for threshold in also_at
    }
    found = {row: _measured(reports.get(part), row, line.threshold) for row, part in line.rows.items()}
    thresholds = sorted({value for row in found.values() if row is not None for value in row.thresholds.values()})
    for measure, published in line.values.items():
        yield Compared(
            name=line.name,
            table=line.table,
            measure=measure,
            published=published,
            rows={name: _percent(row, measure) for name, row in found.items()},
            thresholds=thresholds if measure in _OF_MASKS else (),
            at={
                threshold: _mean(_percent(row, measure) for row in rows)
                for threshold, rows in fixed.items()
                if measure in _OF_MASKS and any(rows)
            },
        )


def _measured(report: Report | None, name: str, threshold: float | None) -> ReportRow | None:
    """A row of a report, at a threshold that is fixed or at its own."""
    if report is None:
        return None
    rows = report.rows if threshold is None else report.also_at
    return next(
        (row for row in rows if row.name == name and (threshold is None or {threshold} == {*row.thresholds.values()})),
        None,
    )


def _percent(row: ReportRow | None, measure: str) -> float | None:
    value = None if row is None else getattr(row.scores, measure)
    return None if value is None else 100 * value


def _mean(values: Iterable[float | None]) -> float | None:
    """None where one is, or there is none."""
    found = list(values)
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known and len(known) == len(found) else None


def _cells(line: Compared, further: Sequence[float]) -> list[str]:
    decimals = _DECIMALS.get(line.measure, 1)
    at = "–" if not line.thresholds else " … ".join(f"{value:.2f}" for value in _ends(line.thresholds))
    return [
        line.name.replace("|", "\\|"),
        "–" if line.table is None else str(line.table),
        _TITLES[line.measure],
        at,
        *(
            "–" if value is None else f"{value:{form}}"
            for value, form in (
                (line.published, f".{decimals}f"),
                (line.here, f".{decimals}f"),
                (line.difference, f"+.{decimals}f"),
                *((line.at.get(threshold), f".{decimals}f") for threshold in further),
            )
        ),
    ]


def _ends(thresholds: Sequence[float]) -> list[float]:
    return [thresholds[0]] if len(thresholds) == 1 else [thresholds[0], thresholds[-1]]
