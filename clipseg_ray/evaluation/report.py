"""The table an evaluation gives: Markdown for people, JSON and Parquet for programs, and a row per query beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from clipseg_ray.evaluation.scores import COLUMNS, Scores
from clipseg_ray.storage import Store, plain_errors
from clipseg_ray.tables import parquet_bytes

NAME = "evaluation"
"""Files are ``evaluation.md``, ``evaluation.json``, ``evaluation.parquet`` and ``evaluation-queries.parquet``."""

SCHEMA = pa.schema(
    [
        pa.field("row", pa.string(), nullable=False),
        pa.field("truth", pa.string(), nullable=False),
        pa.field("asked", pa.string(), nullable=False),
        pa.field("pictures", pa.string(), nullable=False),
        pa.field("thresholds", pa.map_(pa.string(), pa.float64()), nullable=False),
        *COLUMNS,
    ]
)
"""The columns of ``evaluation.parquet``; ``thresholds`` by kind."""


@dataclass(frozen=True, kw_only=True)
class ReportRow:
    """One row of the table.

    asked: the way of asking, in words. thresholds: by kind; empty where the masks were given or decided without.
    """

    name: str
    truth: str
    asked: str
    pictures: str
    thresholds: dict[str, float]
    scores: Scores

    def values(self) -> dict[str, Any]:
        """The row as plain values by the columns of SCHEMA."""
        return {
            "row": self.name,
            "truth": self.truth,
            "asked": self.asked,
            "pictures": self.pictures,
            "thresholds": self.thresholds,
            **asdict(self.scores),
        }


@dataclass(frozen=True, kw_only=True)
class Report:
    """subject: what was evaluated. facts: what it was and on what, JSON values. queries: of ``rows.QUERIES``."""

    subject: str
    facts: dict[str, Any]
    rows: Sequence[ReportRow]
    queries: pa.Table
    notes: Sequence[str] = field(default=())

    def markdown(self) -> str:
        """The table and what must be known to read it."""
        shown = [column for column in _SHOWN if any(column[1](row) is not None for row in self.rows)]
        texts = ("", "truth", "asked")
        lines = [[title for title, _ in shown], ["---" if title in texts else "---:" for title, _ in shown]]
        lines += [[_text(value(row)) for _, value in shown] for row in self.rows]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        notes = "".join(f"- {note}\n" for note in self.notes)
        return f"# Evaluation of {self.subject}\n\n{table}\n\n{notes}"

    def table(self) -> pa.Table:
        """The rows as a table of SCHEMA."""
        return pa.Table.from_pylist(
            [{**row.values(), "thresholds": list(row.thresholds.items())} for row in self.rows], SCHEMA
        )

    def write(self, url: str) -> list[str]:
        """Put the four files into a folder at any URL, replacing older ones; their URLs."""
        store = Store.of(url)
        body = {
            "subject": self.subject,
            "facts": self.facts,
            "rows": [row.values() for row in self.rows],
            "notes": list(self.notes),
        }
        files = {
            f"{NAME}.md": self.markdown().encode(),
            f"{NAME}.json": json.dumps(body, indent=2, ensure_ascii=False).encode(),
            f"{NAME}.parquet": parquet_bytes(self.table()),
            f"{NAME}-queries.parquet": parquet_bytes(self.queries),
        }
        with plain_errors(url):
            for name, data in files.items():
                store.put(name, data)
        return [store.url_of(name) for name in files]


def _threshold(row: ReportRow) -> str | None:
    if len(set(row.thresholds.values())) <= 1:
        return next((f"{value:.2f}" for value in row.thresholds.values()), None)
    return ", ".join(f"{kind} {value:.2f}" for kind, value in row.thresholds.items())


_SIZES = ("small", "medium", "large")


def _several(*found: float | None) -> str | None:
    return None if found.count(None) == len(found) else ", ".join(map(_text, found))


def _accuracies(scores: Scores) -> str | None:
    found = (scores.accuracy_5, scores.accuracy_7, scores.accuracy_9)
    return None if None in found else ", ".join(f"{each:.2f}" for each in found)


_SHOWN: list[tuple[str, Callable[[ReportRow], Any]]] = [
    ("", lambda row: row.name),
    ("truth", lambda row: row.truth),
    ("asked", lambda row: row.asked),
    ("queries", lambda row: row.scores.queries),
    ("present", lambda row: row.scores.images_present),
    ("absent", lambda row: row.scores.images_absent),
    ("threshold", _threshold),
    ("IoU_FG", lambda row: row.scores.iou_fg),
    ("IoU_BIN", lambda row: row.scores.iou_bin),
    ("mIoU", lambda row: row.scores.miou),
    ("seen", lambda row: row.scores.miou_seen),
    ("unseen", lambda row: row.scores.miou_unseen),
    ("harmonic", lambda row: row.scores.miou_harmonic),
    ("IoU per image", lambda row: row.scores.iou_per_image),
    ("IoU within 6 px, 1 % of the border", lambda row: _several(row.scores.iou_border, row.scores.iou_border_diagonal)),
    ("IoU small, medium, large", lambda row: _several(*(getattr(row.scores, f"iou_{size}") for size in _SIZES))),
    ("IoU > 0.5, 0.7, 0.9", lambda row: _accuracies(row.scores)),
    ("AP", lambda row: row.scores.ap),
    ("mAP", lambda row: row.scores.map),
    ("AP (CLIPSeg's)", lambda row: row.scores.ap_clipseg),
    ("precision", lambda row: row.scores.precision),
    ("recall", lambda row: row.scores.recall),
    ("absent, silent", lambda row: row.scores.absent_silent),
    ("present, found", lambda row: row.scores.present_found),
    ("presence right", lambda row: row.scores.presence_accuracy),
    ("AP of images", lambda row: row.scores.ap_images),
]
"""The columns of the Markdown table; one that is undefined in every row is left out."""


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value).replace("|", "\\|")
