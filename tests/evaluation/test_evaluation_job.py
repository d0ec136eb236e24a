"""Whole evaluations on Ray: a model, the masks it gave, and how the job ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from clipseg_ray import cli
from clipseg_ray.errors import UserError
from clipseg_ray.evaluation import job as evaluation
from clipseg_ray.evaluation import truth_writing
from clipseg_ray.evaluation.config import EvaluateConfig
from clipseg_ray.evaluation.truth import TruthSet, survey
from clipseg_ray.evaluation.truth_job import write_truth
from clipseg_ray.queries.query import Query
from tests.evaluation import releases
from tests.evaluation.world import box, entry, noise, settings, write, write_masks, write_scenes

pytestmark = pytest.mark.usefixtures("ray_cluster")

ROWS = [
    {"name": "objects", "kinds": ["object"]},
    {"name": "parts of what is there", "kinds": ["part"], "pictures": "present"},
]


CHAIR = Query(query_id="chair", kind="object", texts=("chair",), templates=("{}",), threshold=0.5)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(str(folder / "test"), shards=2, images=3, seed=20_000_000)
    write_scenes(str(folder / "tune"), shards=1, images=6, seed=10_000_000)
    return folder


def end_of(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    """The exit code of the command line."""
    monkeypatch.setattr(sys, "argv", ["clipseg-ray", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


def test_the_job_scores_a_model_in_every_way_and_writes_its_tables(
    scenes: Path,
    checkpoint_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [
        *ROWS,
        {"name": "one-shot", "protocol": "picture", "kinds": ["object"], "pictures": "present"},
        {"name": "hybrid", "protocol": "hybrid", "kinds": ["object"], "pictures": "present"},
        {"name": "the paper's", "texts": "paper", "template": "fixed"},
    ]
    values = settings(scenes, checkpoint_dir, rows=rows, supports={"truth": "tune", "pool": 2, "smallest": 0.0})
    path = tmp_path / "evaluate.yaml"
    path.write_text(yaml.safe_dump(values))
    assert end_of("evaluate", str(path), "-s", f"output.url={tmp_path}/out", monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr()
    assert (tmp_path / "out" / "evaluation.md").read_text() == shown.out.removesuffix("\n")
    assert "scored 3/3: " in shown.err
    body = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert [row["row"] for row in body["rows"]] == [row["name"] for row in rows]
    assert all(row["queries"] and row["iou_fg"] is not None for row in body["rows"])
    assert body["facts"]["truth"]["test"]["images"] == 6
    assert [row["asked"] for row in body["rows"][2:]] == [
        "picture",
        "hybrid, α = 0.5",
        "text, paper wordings, 1 template(s)",
    ]


def test_the_job_scores_a_masks_dataset(scenes: Path, tmp_path: Path) -> None:
    rows = [(f"{image:03d}", "chair", 0.9, np.ones((48, 48), bool)) for image in range(3)]
    url = write_masks(tmp_path, [CHAIR], rows, ["000", "001", "002"], scenes / "test")
    write(
        str(tmp_path / "chairs"),
        [
            (f"{image:03d}", noise(image), {"truth": [entry("chair", box(0, 0, 96, 48))], "height": 96, "width": 96})
            for image in range(4)
        ],
    )
    values = {
        "truth": {"test": str(tmp_path / "chairs")},
        "masks": {"url": url},
        "rows": [{"name": "chairs"}],
        "output": {"url": str(tmp_path / "out")},
        "workers": {"max": 1},
    }
    with pytest.raises(UserError, match="masks for none of the truth's images: theirs are named like '/"):
        evaluation.evaluate(EvaluateConfig.parse(values))
    url = write_masks(tmp_path / "own", [CHAIR], rows, ["000", "001", "002"], tmp_path / "chairs")
    report = evaluation.evaluate(EvaluateConfig.parse({**values, "masks": {"url": url}}))
    assert report.rows[0].scores.iou_fg == 0.5
    assert report.rows[0].scores.images_present == 3
    assert (
        "test: not counted, for the dataset has no masks of them: 1 images, and 0 queries of single" in report.notes[1]
    )
    assert "masks as given" in report.markdown()


def test_zero_shot_is_measured_on_a_released_label_map(
    checkpoint_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["background", "dog", "cat", "horse"]
    for number in range(3):
        releases.photograph(tmp_path / "set" / "images" / f"{number}.jpg", number)
        releases.save_map(tmp_path / "set" / "labels" / f"{number}.png", releases.label_map(number, [0, 1, 2, 3]))
    releases.write_json(tmp_path / "set" / "classes.json", names)
    assert end_of("truth", "masks", f"{tmp_path}/set", f"{tmp_path}/truth", monkeypatch=monkeypatch) == 0
    rows = ["query_id,text,concept,group,weight", "background,background,,all,1.05"]
    (tmp_path / "classes.csv").write_text("\n".join([*rows, *(f"{name},{name},{name},all,1" for name in names[1:])]))
    row = {
        "name": "zero-shot",
        "protocol": "argmax",
        "table": str(tmp_path / "classes.csv"),
        "unseen": ["cat", "horse"],
    }
    values = settings(tmp_path, checkpoint_dir, truth={"test": str(tmp_path / "truth")}, rows=[row], tune=None)
    path = tmp_path / "evaluate.yaml"
    path.write_text(yaml.safe_dump(values))
    assert end_of("evaluate", str(path), monkeypatch=monkeypatch) == 0
    assert "| mIoU | seen | unseen | harmonic |" in capsys.readouterr().out
    body = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    (found,) = body["rows"]
    assert (found["queries"], found["images_present"], found["thresholds"]) == (4, 12, {})
    assert found["miou"] == pytest.approx((found["miou_seen"] + found["miou_unseen"]) / 2)


def test_truth_shards_are_written_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth_writing, "IN_A_SHARD", 1)
    content = releases.coco_release(tmp_path / "coco")
    said = write_truth("coco", str(tmp_path / "coco"), str(tmp_path / "truth"), {})
    assert said == f"{tmp_path}/truth: 3 of 3 shard(s) written, 3 images with 3 masks"
    assert survey(TruthSet.of([str(tmp_path / "truth")])).images == 3
    (tmp_path / "coco" / "val2017" / content["images"][1]["file_name"]).unlink()
    with pytest.raises(UserError, match=r"^\S+/val2017/000000000285\.jpg: not found"):
        write_truth("coco", str(tmp_path / "coco"), str(tmp_path / "other"), {})
    assert "Nothing to do" in write_truth("coco", str(tmp_path / "coco"), str(tmp_path / "truth"), {})


def test_what_a_person_must_know_is_one_line_and_exit_code_2(
    scenes: Path,
    checkpoint_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "evaluate.yaml"
    path.write_text(yaml.safe_dump(settings(scenes, checkpoint_dir, rows=[{"name": "r", "kinds": ["obect"]}])))
    assert end_of("evaluate", str(path), monkeypatch=monkeypatch) == 2
    assert "error: row 'r': nothing to ask on the truth set 'test'" in capsys.readouterr().err


def test_a_fault_in_a_worker_is_reported_as_it_is(tmp_path: Path) -> None:
    url = write_masks(tmp_path, [CHAIR], [], ["a"], tmp_path / "chairs")
    sample = ("a", noise(0), {"truth": [entry("chair", box(0, 0, 96, 48))], "height": 95, "width": 96})
    values = {
        "truth": {"test": write(str(tmp_path / "chairs"), [sample])},
        "masks": {"url": url},
        "rows": [{"name": "chairs"}],
        "output": {"url": str(tmp_path / "out")},
    }
    with pytest.raises(UserError, match=r"^s-000\.tar/a: truth: counts: row 0 is no run-length encoding of 95×96"):
        evaluation.evaluate(EvaluateConfig.parse(values))
    assert not (tmp_path / "out").exists()
