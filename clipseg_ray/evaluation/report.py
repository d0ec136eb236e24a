"""The table an evaluation gives: Markdown for people, JSON and Parquet for programs, and a row per query beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from clipseg_ray.evaluation import episode_file
from clipseg_ray.evaluation.scores import COLUMNS, Scores
from clipseg_ray.storage import Store, plain_errors
from clipseg_ray.tables import parquet_bytes

NAME = "evaluation"
"""Files are ``evaluation.md``, ``evaluation.json``, ``evaluation.parquet`` and ``evaluation-queries.parquet``, where
thresholds are fixed besides ``evaluation-also-at.parquet``, and where episodes are drawn ``evaluation-episodes.jsonl``.
"""

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
    """subject: what was evaluated. facts: what it was and on what, JSON values. queries: of ``rows.QUERIES``.

    also_at: the rows at further thresholds. episodes: those that were drawn, as ``episode_file`` writes them.
    """

    subject: str
    facts: dict[str, Any]
    rows: Sequence[ReportRow]
    queries: pa.Table
    notes: Sequence[str] = field(default=())
    also_at: Sequence[ReportRow] = field(default=())
    episodes: bytes | None = None

    def markdown(self) -> str:
        """The table and what must be known to read it."""
        notes = "".join(f"- {note}\n" for note in self.notes)
        also = f"\n## At fixed thresholds\n\n{_table(self.also_at, _AT_THRESHOLDS)}\n" if self.also_at else ""
        return f"# Evaluation of {self.subject}\n\n{_table(self.rows, _SHOWN)}\n\n{notes}{also}"

    def thresholds(self) -> str:
        """For each query of each row the threshold that would be best for it alone, in Markdown.

        Only of queries that have probabilities and a true pixel; ``clipseg-ray tune`` says how sure each is.
        """
        titles = ["row", "query", "present", "absent", "threshold", "IoU_FG", "best threshold"]
        names = ["row", "query_id", "images_present", "images_absent", "threshold", "iou_fg", "best_threshold"]
        found = [
            [_text(_hundredths(row[name]) if name.endswith("threshold") else row[name]) for name in names]
            for row in self.queries.to_pylist()
            if row["query_id"] is not None and row["best_threshold"] is not None
        ]
        if not found:
            return "No query has a best threshold: masks are given, pixels decided, or nothing of it is in the truth.\n"
        lines = [titles, ["---" if title in titles[:2] else "---:" for title in titles]]
        return "## Thresholds of queries\n\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in [*lines, *found])

    def table(self) -> pa.Table:
        """The rows as a table of SCHEMA."""
        return _arrow(self.rows)

    def write(self, url: str) -> list[str]:
        """Put the files into a folder at any URL, replacing older ones; their URLs."""
        store = Store.of(url)
        body = {
            "subject": self.subject,
            "facts": self.facts,
            "rows": [row.values() for row in self.rows],
            "also_at": [row.values() for row in self.also_at],
            "notes": list(self.notes),
        }
        files = {
            f"{NAME}.md": self.markdown().encode(),
            f"{NAME}.json": json.dumps(body, indent=2, ensure_ascii=False).encode(),
            f"{NAME}.parquet": parquet_bytes(self.table()),
            f"{NAME}-queries.parquet": parquet_bytes(self.queries),
        }
        if self.also_at:
            files[f"{NAME}-also-at.parquet"] = parquet_bytes(_arrow(self.also_at))
        if self.episodes is not None:
            files[episode_file.NAME] = self.episodes
        with plain_errors(url):
            for name, data in files.items():
                store.put(name, data)
        return [store.url_of(name) for name in files]


def _hundredths(threshold: float | None) -> str | None:
    return None if threshold is None else f"{threshold:.2f}"


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


Column = tuple[str, Callable[[ReportRow], Any]]

_ACCURACIES = "IoU > 0.5, 0.7, 0.9"
_SHOWN: list[Column] = [
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
    (_ACCURACIES, lambda row: _accuracies(row.scores)),
    ("AP", lambda row: row.scores.ap),
    ("mAP", lambda row: row.scores.map),
    ("AP (CLIPSeg's)", lambda row: row.scores.ap_clipseg),
    ("precision", lambda row: row.scores.precision),
    ("recall", lambda row: row.scores.recall),
    ("absent, silent", lambda row: row.scores.absent_silent),
    ("present, found", lambda row: row.scores.present_found),
    ("presence right", lambda row: row.scores.presence_accuracy),
    ("AP of images", lambda row: row.scores.ap_images),
    ("P(object)", lambda row: row.scores.object_probability),
    ("ΔP(object)", lambda row: row.scores.object_gain),
]
"""The columns of the Markdown table; one that is undefined in every row is left out."""


_AT_THRESHOLDS = [
    column
    for column in _SHOWN
    if column[0] in ("", "threshold", "IoU_FG", "IoU_BIN", "mIoU", "IoU per image", _ACCURACIES, "precision", "recall")
]
"""Those of them that change with the threshold."""


def _table(rows: Sequence[ReportRow], columns: Sequence[Column]) -> str:
    """Markdown, without the columns that are undefined in every row."""
    shown = [column for column in columns if any(column[1](row) is not None for row in rows)]
    texts = ("", "truth", "asked")
    lines = [[title for title, _ in shown], ["---" if title in texts else "---:" for title, _ in shown]]
    lines += [[_text(value(row)) for _, value in shown] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _arrow(rows: Sequence[ReportRow]) -> pa.Table:
    return pa.Table.from_pylist([{**row.values(), "thresholds": list(row.thresholds.items())} for row in rows], SCHEMA)


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value).replace("|", "\\|")
