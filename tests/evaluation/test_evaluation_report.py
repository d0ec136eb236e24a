"""The report: the same numbers for people and programs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from clipseg_ray.evaluation.config import EvaluateConfig
from clipseg_ray.evaluation.metrics import Metrics
from clipseg_ray.evaluation.protocols import Asking
from clipseg_ray.evaluation.report import SCHEMA, Report
from clipseg_ray.evaluation.report_rows import QUERIES, model_rows

TEXT = Asking(protocol="text", texts="first", templates=("{}",))
LABEL = np.array([[True, True, False, False]])


def config(**changes: object) -> EvaluateConfig:
    rows = [
        {"name": "things", "kinds": ["object", "part"]},
        {"name": "dogs | one", "queries": ["dog"], "pictures": "present"},
    ]
    values = {"truth": {"test": "a/", "tune": "b/"}, "model": {"checkpoint": "c/"}, "rows": rows, "tune": "tune"}
    return EvaluateConfig.parse({**values, "output": {"url": "d/"}, **changes})


def metrics(low: float) -> Metrics:
    """The best threshold of objects is just below 0.9, that of parts just below ``low``."""
    found = Metrics()
    found.update("dog", np.array([[0.9, 0.89, 0.1, 0.1]], np.float32), LABEL, kind="object")
    found.update("cat", np.array([[0.9, 0.9, 0.85, 0.1]], np.float32), LABEL, kind="object")
    found.update("dog", np.array([[0.3, 0.3, 0.3, 0.3]], np.float32), None, kind="object")
    found.update("leg", np.array([[low, low, 0.1, 0.1]], np.float32), LABEL, kind="part")
    return found


def test_thresholds_come_from_the_tuning_set_by_kind() -> None:
    measured = {("test", TEXT): metrics(0.5), ("tune", TEXT): metrics(0.3)}
    tables = model_rows(config(), measured)
    rows, queries, notes = tables.rows, tables.queries, tables.notes
    assert rows[0].thresholds == {"object": 0.86, "part": 0.12}
    assert rows[1].thresholds == {"object": 0.86}, "that of all objects, not of the dog alone"
    assert (rows[0].scores.images_absent, rows[1].scores.images_absent) == (1, 0)
    assert queries.schema == QUERIES
    assert queries["query_id"].to_pylist() == [None, "cat", "dog", None, "leg", None, "dog"]
    assert notes == ["the threshold of each kind is the one with the greatest IoU_FG on the truth set 'tune'"]
    tables = model_rows(config(tune=None), {("test", TEXT): metrics(0.5)})
    own, notes = tables.rows, tables.notes
    assert own[1].thresholds == {"object": 0.12}, "its own best: 0.1 is a little above 0.1 in float32"
    assert "which flatters" in notes[0]
    fixed = model_rows(config(tune=None, threshold=0.88), {("test", TEXT): metrics(0.5)}).rows
    assert fixed[0].thresholds == {"object": 0.88, "part": 0.88}
    assert fixed[0].scores.threshold == 0.88


def test_a_kind_the_tuning_set_lacks_is_said() -> None:
    tune = Metrics()
    tune.update("dog", np.array([[0.9, 0.8, 0.1, 0.1]], np.float32), LABEL, kind="object")
    tables = model_rows(config(), {("test", TEXT): metrics(0.5), ("tune", TEXT): tune})
    rows, notes = tables.rows, tables.notes
    assert rows[0].thresholds["part"] == 0.5
    assert "things: no true pixel to choose a threshold by for part: 0.5 is used" in notes


def test_the_best_threshold_of_each_query_is_said_when_asked() -> None:
    tables = model_rows(config(tune=None, threshold=0.5), {("test", TEXT): metrics(0.3)})
    report = Report(subject="c", facts={}, rows=tables.rows, queries=tables.queries)
    lines = report.thresholds().splitlines()
    assert lines[4:] == [
        "| things | cat | 1 | 0 | 0.50 | 0.667 | 0.86 |",
        "| things | dog | 1 | 1 | 0.50 | 1.000 | 0.32 |",
        "| things | leg | 1 | 0 | 0.50 | 0.000 | 0.12 |",
        "| dogs \\| one | dog | 1 | 0 | 0.50 | 1.000 | 0.12 |",
    ]
    none = Report(subject="c", facts={}, rows=tables.rows, queries=tables.queries.slice(0, 0))
    assert none.thresholds().startswith("No query has a best threshold")


def test_a_threshold_is_that_of_other_rows_together() -> None:
    """By brute force: every threshold, the pixels of the other rows pooled."""
    random = np.random.default_rng(0)
    found = Metrics()
    pixels = {
        name: ((0.4 * label_hw + 0.6 * random.random((4, 30))).astype(np.float32) ** power, label_hw)
        for name, power in (("dog", 1), ("cat", 3), ("cow", 6))
        for label_hw in [random.random((4, 30)) < 0.4]
    }
    for name, (probability_hw, label_hw) in pixels.items():
        found.update(name, probability_hw, label_hw, kind="object")
    others = {"dog": ["cow", "cat"], "cat": ["dog", "cow"], "cow": ["cat"]}
    rows = [
        {"name": f"fold {name}", "queries": [name], "tune_on": [f"fold {each}" for each in other]}
        for name, other in others.items()
    ]
    tables = model_rows(config(rows=rows, tune=None), {("test", TEXT): found})
    for row, other in zip(tables.rows, others.values(), strict=True):
        p_n, label_n = (np.concatenate([pixels[name][place].ravel() for name in other]) for place in (0, 1))
        ious = [(label_n & (p_n > t)).sum() / (label_n | (p_n > t)).sum() for t in np.arange(1, 50) / 50]
        assert row.thresholds == {"object": (int(np.argmax(ious)) + 1) / 50}
    assert len({row.thresholds["object"] for row in tables.rows}) > 1
    assert tables.notes[0] == "fold dog: the threshold of each kind is the one that is best for fold cow, fold cat"


def test_further_thresholds_stand_side_by_side(tmp_path: Path) -> None:
    measured = {("test", TEXT): metrics(0.5), ("tune", TEXT): metrics(0.3)}
    tables = model_rows(config(also_at=[0.1, 0.5]), measured)
    each = [model_rows(config(threshold=at, tune=None), measured) for at in (0.1, 0.5)]
    assert [(row.name, row.thresholds, row.scores) for row in tables.also_at] == [
        (row.name, row.thresholds, row.scores) for pair in zip(each[0].rows, each[1].rows, strict=True) for row in pair
    ]
    report = Report(subject="c", facts={}, rows=tables.rows, queries=tables.queries, also_at=tables.also_at)
    assert any(url.endswith("/evaluation-also-at.parquet") for url in report.write(str(tmp_path)))
    table = pq.read_table(tmp_path / "evaluation-also-at.parquet")
    assert table["row"].to_pylist() == ["things", "things", "dogs | one", "dogs | one"]
    assert [dict(each)["object"] for each in table["thresholds"].to_pylist()] == [0.1, 0.5, 0.1, 0.5]
    text = (tmp_path / "evaluation.md").read_text()
    assert text.count("\n| things | 0.50 |") == 1
    assert len(json.loads((tmp_path / "evaluation.json").read_text())["also_at"]) == 4


def test_every_form_says_the_same(tmp_path: Path) -> None:
    tables = model_rows(config(), {("test", TEXT): metrics(0.5), ("tune", TEXT): metrics(0.3)})
    rows, queries, notes = tables.rows, tables.queries, tables.notes
    report = Report(subject="c", facts={"model": {"checkpoint": "c"}}, rows=rows, queries=queries, notes=notes)
    names = [url.rpartition("/")[2] for url in report.write(str(tmp_path / "out"))]
    assert sorted(names) == sorted(path.name for path in (tmp_path / "out").iterdir())
    text = (tmp_path / "out" / "evaluation.md").read_text()
    assert text == report.markdown()
    lines = text.splitlines()
    assert lines[2].startswith("|  | truth | asked | queries | present | absent | threshold | IoU_FG |")
    assert f"| things | test | text | 3 | 3 | 1 | object 0.86, part 0.12 | {rows[0].scores.iou_fg:.3f} |" in lines[4]
    assert lines[5].startswith("| dogs \\| one |")
    body = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    table = pq.read_table(tmp_path / "out" / "evaluation.parquet")
    assert table.schema.equals(SCHEMA)
    for index, row in enumerate(table.to_pylist()):
        assert {**row, "thresholds": dict(row["thresholds"])} == body["rows"][index]
    assert pq.read_table(tmp_path / "out" / "evaluation-queries.parquet").schema.equals(QUERIES)
