"""The published tables of ``configs/paper``, measured on releases that are small and in their layouts."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from clipseg_ray import cli
from clipseg_ray.cluster import shard_map
from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.paper.config import PaperConfig
from clipseg_ray.evaluation.paper.tables import Outcome, Places, measured
from tests.evaluation import paper_data

pytestmark = pytest.mark.usefixtures("ray_cluster")

TABLES = sorted((Path(__file__).parents[2] / "configs" / "paper").glob("*.yaml"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paper_data.write(tmp_path_factory.mktemp("data"))


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards worked on without waiting for workers to start."""

    def map_shards(
        prepare: Callable[[Any], Callable[[Any], Any]], spec: Any, items: Sequence[Any], **_: Any
    ) -> Iterator[Any]:
        work = prepare(spec)
        return ((item, work(item)) for item in items)

    monkeypatch.setattr(shard_map, "map_shards", map_shards)


def outcomes(names: Sequence[str], data: Path, checkpoint: object, output: Path) -> list[Outcome]:
    places = Places(data=str(data), checkpoint=str(checkpoint), output=str(output))
    return list(measured([str(table) for table in TABLES if table.stem in names], places))


def lines_of(output: Path, table: str) -> list[dict[str, Any]]:
    body: dict[str, Any] = json.loads((output / table / "comparison.json").read_text())
    lines: list[dict[str, Any]] = body["lines"]
    return lines


def evaluated(output: Path, table: str, part: str = "all") -> dict[str, Any]:
    body: dict[str, Any] = json.loads((output / table / part / "evaluation.json").read_text())
    return body


@pytest.mark.usefixtures("in_this_process")
def test_every_table_is_measured_and_laid_beside_what_was_published(
    data: Path, checkpoint_dir: Path, tmp_path: Path
) -> None:
    names = [table.stem for table in TABLES]
    assert names == [
        "ablation",
        "coco-20i",
        "generalised-lvis",
        "pascal-5i",
        "phrasecut",
        "prompts",
        "zero-shot-voc",
    ]
    found = outcomes(names, data, checkpoint_dir, tmp_path)
    assert [(each.measured, each.failed) for each in found] == [(True, False)] * 7, [each.text for each in found]
    for table, outcome in zip(TABLES, found, strict=True):
        config = PaperConfig.load(str(table))
        assert outcome.text == (tmp_path / table.stem / "comparison.md").read_text()
        assert "| published | here | difference |" in outcome.text
        cells = iter(lines_of(tmp_path, table.stem))
        rows = {
            (row["row"], at): row
            for key, fixed in (("rows", False), ("also_at", True))
            for row in evaluated(tmp_path, table.stem)[key]
            for at in ({*row["thresholds"].values()} if fixed else {None})
        }
        for line in config.published:
            for measure, published in line.values.items():
                cell = next(cells)
                assert (cell["name"], cell["measure"], cell["published"]) == (line.name, measure, published)
                if not line.rows or not {*line.rows.values()} <= {*config.stands_for}:
                    assert cell["here"] is None
                    assert cell["difference"] is None
                    continue
                each = [rows[row, line.threshold][measure] for row in line.rows]
                assert cell["here"] == pytest.approx(100 * sum(each) / len(each))
                if published is None:
                    assert cell["difference"] is None
                else:
                    assert cell["difference"] == pytest.approx(cell["here"] - published)
        assert next(cells, None) is None
    folds = evaluated(tmp_path, "pascal-5i")
    assert [row["images_present"] for row in folds["rows"]] == [3] * 8
    assert [row["images_present"] for row in evaluated(tmp_path, "coco-20i")["rows"]] == [1000] * 4
    assert {at for row in folds["also_at"] for at in row["thresholds"].values()} == {0.1, 0.2, 0.3, 0.5}
    drawn = (tmp_path / "coco-20i" / "all" / "evaluation-episodes.jsonl").read_text().splitlines()
    assert len(drawn) == 4000


def test_a_checkpoint_for_each_part_and_real_workers(
    data: Path,
    checkpoint_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for part in ("pc+", "d16"):
        (tmp_path / "trained").mkdir(exist_ok=True)
        (tmp_path / "trained" / part).symlink_to(checkpoint_dir)
    monkeypatch.chdir(tmp_path)
    (table,) = [table for table in TABLES if table.stem == "ablation"]
    command = ["paper", str(table), "--data", str(data), "--checkpoint", "trained/{part}", "--output", "out"]
    monkeypatch.setattr(sys, "argv", ["clipseg-ray", *command])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert not caught.value.code
    shown = capsys.readouterr().out
    here = {(line["name"], line["measure"]): line["here"] for line in lines_of(tmp_path / "out", "ablation")}
    assert {name for (name, _), value in here.items() if value is not None} == {"CLIPSeg (PC+)", "D = 16"}
    assert "no checkpoint for no-clip (the same with CLIP's towers as they are before they are trained): give" in shown
    assert evaluated(tmp_path / "out", "ablation", "d16")["subject"] == str(tmp_path / "trained" / "d16")


def test_what_is_missing_is_named_with_where_it_comes_from(
    data: Path,
    checkpoint_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data" / "VGPhraseCut_v0" / "refer_test.json").unlink()
    shutil.rmtree(tmp_path / "data" / "coco" / "val2014")
    (tmp_path / "data" / "coco" / "val2014").mkdir()
    first, second = outcomes(["phrasecut", "coco-20i"], tmp_path / "data", checkpoint_dir, tmp_path / "out")
    assert (first.measured, first.failed, second.measured, second.failed) == (False,) * 4
    assert f"- {tmp_path}/data/coco/val2014, from https://cocodataset.org/#download" in first.text
    missing = f"- {tmp_path}/data/VGPhraseCut_v0/refer_test.json, from https://github.com/ChenyunWu/PhraseCutDataset\n"
    assert second.text == f"# Referring expressions on PhraseCut\n\nNot measured; missing:\n\n{missing}"
    assert not (tmp_path / "out").exists()
    (table,) = [table for table in TABLES if table.stem == "phrasecut"]
    command = ["paper", str(table), "--data", str(tmp_path / "data"), "--checkpoint", str(checkpoint_dir)]
    monkeypatch.setattr(sys, "argv", ["clipseg-ray", *command])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    assert missing in capsys.readouterr().out


@pytest.mark.usefixtures("in_this_process")
def test_a_table_that_fails_is_said_and_the_next_goes_on(data: Path, checkpoint_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data" / "lvis" / "lvis_v1_val.json").write_text("{")
    found = outcomes(["generalised-lvis", "phrasecut"], tmp_path / "data", checkpoint_dir, tmp_path / "out")
    assert [(each.measured, each.failed) for each in found] == [(False, True), (True, False)]
    assert f"failed: {tmp_path}/data/lvis/lvis_v1_val.json: not valid JSON" in found[0].text
    (failed,) = outcomes(["phrasecut"], data, tmp_path / "nowhere", tmp_path / "out")
    assert failed.failed
    assert "nowhere" in failed.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"truth": {"t": {"format": "vco", "source": "x"}}}, "truth.t.format: there is no format 'vco'; did you mean"),
        ({"stands_for": ["pc"]}, "stands_for: there is no part 'pc'; did you mean pc+?"),
        ({"published": [{"name": "n", "rows": {"phrase": "pc+"}, "values": {"miou": 1}}]}, "did you mean phrases?"),
        ({"published": [{"name": "n", "rows": {"phrases": "pc"}, "values": {"miou": 1}}]}, "there is no part 'pc'"),
        ({"published": [{"name": "n", "values": {"iou": 1}}]}, "published.0.values.iou"),
        ({"published": [{"name": "n", "threshold": 0.4, "values": {"miou": 1}}]}, "0.4 is none of also_at"),
        ({"also_at": [0.33]}, "also_at.0: threshold 0.33 is none of 0.02"),
        ({"rows": [{"name": "phrases", "truth": "voc"}]}, "rows.0.truth: truth has no set 'voc'; it has t"),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_every_fault(change: dict[str, Any], message: str) -> None:
    values = {
        "title": "t",
        "data": [{"path": "x", "source": "y"}],
        "truth": {"t": {"format": "phrasecut", "source": "x"}},
        "parts": {"pc+": "z"},
        "stands_for": ["pc+"],
        "rows": [{"name": "phrases", "truth": "t"}],
        "published": [{"name": "n", "rows": {"phrases": "pc+"}, "values": {"miou": None}}],
    }
    PaperConfig.parse(values)
    with pytest.raises(UserError) as caught:
        PaperConfig.parse({**values, **change})
    assert message in str(caught.value)
