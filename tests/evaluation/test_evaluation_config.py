"""Evaluation settings: what they accept and how they say no; the shipped ones; published splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clipseg_ray.demo.vocabulary import HELD_OUT_PAIRS, VOCABULARY
from clipseg_ray.errors import UserError
from clipseg_ray.evaluation import splits
from clipseg_ray.evaluation.config import EvaluateConfig

MINIMAL = {
    "truth": {"test": "scenes/"},
    "model": {"checkpoint": "CIDAS/clipseg-rd64-refined"},
    "rows": [{"name": "all"}],
    "output": {"url": "out/"},
}


def test_defaults_and_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = EvaluateConfig.parse(MINIMAL)
    assert config.truth == {"test": [str(tmp_path / "scenes")]}
    assert config.output.url == str(tmp_path / "out")
    assert config.model is not None
    assert config.model.checkpoint == "CIDAS/clipseg-rd64-refined"
    assert config.rows[0].protocol == "text"
    assert EvaluateConfig.parse(config.resolved()) == config


@pytest.mark.parametrize("truth", ["scenes/", ["scenes/", "more/"], {"mine": "scenes/"}])
def test_a_single_truth_set_needs_no_name(truth: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"name": "all"}, {"name": "objects", "kinds": "object"}]
    config = EvaluateConfig.parse({**MINIMAL, "truth": truth, "rows": rows})
    (name,) = config.truth
    assert [each.truth for each in config.rows] == [name, name]
    assert config.truth[name] == [str(tmp_path / each) for each in ("scenes", "more")[: len(config.truth[name])]]
    assert len(config.truth[name]) == (2 if isinstance(truth, list) else 1)
    assert EvaluateConfig.parse(config.resolved()) == config
    # The same from the command line, in place of a set that has a name.
    given = EvaluateConfig.parse({**MINIMAL, "rows": rows}, ["truth=other/"])
    assert given.truth == {"test": [str(tmp_path / "other")]}


def test_of_several_truth_sets_a_row_is_about_the_one_called_test(tmp_path: Path) -> None:
    truth = {"a": "scenes/", "test": "more/"}
    assert EvaluateConfig.parse({**MINIMAL, "truth": truth}).rows[0].truth == "test"
    with pytest.raises(UserError, match=r"rows\.0\.truth: truth has no set 'test'; it has a, b"):
        EvaluateConfig.parse({**MINIMAL, "truth": {"a": "scenes/", "b": "more/"}})


def row(**values: Any) -> dict[str, Any]:
    return {"rows": [{"name": "r", **values}]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "model, masks: give one of them"),
        ({"masks": {"url": "masks/"}}, "model, masks: give one of them"),
        ({"model": None, "masks": {"url": "m/"}, **row(protocol="picture")}, "rows.0.protocol: a dataset of masks was"),
        ({"tune": "tune"}, "tune: truth has no set 'tune'; it has test"),
        (row(truth="tset"), "rows.0.truth: truth has no set 'tset'; it has test"),
        ({"tune": "test", "threshold": 0.5}, "tune, threshold: give one of them, not both"),
        ({"threshold": 0.33}, "threshold: threshold 0.33 is none of 0.02"),
        (row(protocol="picture"), "rows.0.protocol: picture needs support pictures, e.g. supports: {truth: tune}"),
        (row(protocol="table"), "rows.0.table: goes with protocol: table or argmax, and only with these"),
        (row(table="builtin:affordances"), "rows.0.table: goes with protocol: table"),
        (
            row(protocol="txt"),
            "rows.0.protocol: it must be 'text', 'picture', 'hybrid', 'table', 'argmax' or 'clip' (got 'txt');",
        ),
        (row(template="fixd"), "rows.0.template: 'fixd' is no template set"),
        (row(kind="object"), "rows.0.kind: unknown key; did you mean rows.0.kinds?"),
        (row(queries="pascal-5i/4"), "rows.0.queries: there is no pascal-5i/4; pascal-5i has pascal-5i/0"),
        ({"supports": {"truth": "test", "mode": "crp"}}, "supports.mode: 'crp' is no mode; did you mean 'crop'?"),
        ({"rows": [{"name": "a"}, {"name": "a"}]}, "rows: 'a' is the name of several; give each its own"),
        ({"also_at": [0.5, 0.33]}, "also_at.1: threshold 0.33 is none of 0.02"),
        ({"model": None, "masks": {"url": "m/"}, "label_size": 352}, "label_size: masks are as the run gave them"),
        (row(protocol="clip"), "rows.0.mode: goes with protocol: clip, and only with it"),
        (row(mode="crop"), "rows.0.mode: goes with protocol: clip"),
        (row(protocol="clip", mode="crp"), "rows.0.mode: 'crp' is no mode; did you mean 'crop'?"),
        (row(protocol="clip", mode="crop"), "rows.0: what is drawn needs a seed and a truth set to draw from"),
        (row(episodes="images", pictures="present"), "rows.0: what is drawn needs a seed"),
        (row(episodes="images"), "rows.0.pictures: an episode is of an image that has the thing"),
        (row(episodes="images", protocol="table", table="t.csv"), "rows.0.episodes: goes with protocol: text, picture"),
        (row(tune_on="r"), "rows.0.tune_on: a row that chooses its own threshold flatters"),
        (row(tune_on="rr"), "rows.0.tune_on: 'rr' is the name of no row; did you mean 'r'?"),
        ({**row(tune_on="rr"), "threshold": 0.5}, "rows.0.tune_on: thresholds are given; leave it out"),
        (
            {"rows": [{"name": "a", "tune_on": "b"}, {"name": "b", "protocol": "argmax", "table": "t.csv"}]},
            "rows.0.tune_on: 'b' has no threshold",
        ),
        (row(protocol="argmax", table="t.csv", tune_on="b"), "rows.0.tune_on: protocol argmax has no threshold"),
        ({"rows": []}, "rows: it must have at least 1 entry (got [])"),
        ({"truth": {"test": "s3://key:hunter2@bucket/a"}}, "truth.test: s3://… holds credentials"),
    ],
)
def test_faults_are_named_with_their_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        EvaluateConfig.parse({**MINIMAL, **change})
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(path.name for path in Path("configs").glob("evaluate-*.yaml")))
def test_shipped_configurations_are_valid(name: str) -> None:
    EvaluateConfig.load(f"configs/{name}")


def test_the_demos_held_out_queries_are_those_kept_from_training() -> None:
    kept = {
        entry.query_id
        for entry in VOCABULARY
        if entry.kind == "coloured object" and any((entry.colour, name) in HELD_OUT_PAIRS for name in entry.names)
    }
    rows = [row for row in EvaluateConfig.load("configs/evaluate-scenes.yaml").rows if row.truth == "held-out"]
    assert [set(row.queries or ()) for row in rows] == [kept, kept]


def test_published_splits() -> None:
    assert splits.pascal_5i(0) == ["aeroplane", "bicycle", "bird", "boat", "bottle"]
    assert splits.pascal_5i(3)[-1] == "tvmonitor"
    assert splits.coco_20i(0)[:3] == ["person", "airplane", "boat"]
    folds = [splits.coco_20i(fold) for fold in range(4)]
    assert [len(fold) for fold in folds] == [20] * 4
    assert len({name for fold in folds for name in fold}) == 80
    assert splits.pascal_unseen(4) == ["cow", "motorbike", "aeroplane", "sofa"]
    config = EvaluateConfig.parse({**MINIMAL, **row(queries=["lamp", "pascal-unseen/2", "cow"])})
    assert config.rows[0].queries == ["lamp", "cow", "motorbike"]
