import csv
import io
import json

import pyarrow.parquet as pq
import pytest

from clipseg_ray import cli
from clipseg_ray.dataset import Masks


@pytest.fixture
def ask(made, capfd, monkeypatch):
    """Runs the verb; gives what it printed, or the error it ended with."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["clipseg-ray", "query", made, *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capfd.readouterr()
        return printed.out if ended.value.code == 0 else printed.err

    return run


def test_sql_as_a_table_and_for_programs(ask, tmp_path):
    statement = "SELECT query_id, sum(area)::BIGINT AS area FROM masks GROUP BY 1 ORDER BY 1"
    assert [word in ask(statement) for word in ("circle", "sit", "wheels", "area")] == [True] * 4
    rows = list(csv.DictReader(io.StringIO(ask(statement, "--format", "csv"))))
    assert [row["query_id"] for row in rows] == ["circle", "sit", "wheels"]
    assert json.loads(ask(f"{statement};", "--format", "json")) == [{**row, "area": int(row["area"])} for row in rows]
    ask(statement, "--format", "parquet", "-o", str(tmp_path / "it's.parquet"))
    assert pq.read_table(tmp_path / "it's.parquet").to_pylist() == json.loads(ask(statement, "--format", "json"))


def test_long_answers_and_cells_are_cut(ask):
    text = ask("SELECT i, repeat('x', 500) AS long FROM range(101) t(i)")
    assert "the first 100 rows" in text
    assert "x" * 61 not in text
    assert "the first" not in ask("SELECT i FROM range(100) t(i)")


def test_canned_questions_print_their_sql_and_it_gives_the_same(ask, made):
    for arguments in (["--top", "circle"], ["--borderline", "a red circle"], ["--coverage"], ["--absent"]):
        text = ask(*arguments)
        statement, _, _ = text.partition(";")
        assert statement.lstrip().startswith("SELECT")
        with Masks(made) as masks:
            rows = masks.sql(statement).fetchall()
        assert all(str(row[0]) in text for row in rows)
        assert rows
    assert "broken" in ask("--absent")


def test_co_occurrence_is_by_overlap(ask, made):
    found = json.loads(ask("--co-occur", "circle", "sit", "--format", "json", "--limit", "100"))
    with Masks(made) as masks:
        pixels = {
            (row["image_id"], row["query_id"]): masks.decode(row) for row in masks.to_arrow("area > 0").to_pylist()
        }
    expected = {}
    for (image, query), mask in pixels.items():
        if query == "circle" and (image, "sit") in pixels and (both := mask & pixels[image, "sit"]).any():
            expected[image] = both.sum() / (mask | pixels[image, "sit"]).sum()
    assert {row["image_id"]: row["iou"] for row in found} == pytest.approx(expected, abs=6e-4)
    assert expected
    assert [row["iou"] for row in found] == sorted((row["iou"] for row in found), reverse=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["SELECT scoe FROM masks"], '"scoe" not found'),
        (["SELECT scoe FROM masks"], "masks has image_id, query_id, query_text, score"),
        (["SELECT 1 FROM mask"], 'Did you mean "masks"?'),
        (["SELECT mask_iou(counts) FROM masks"], "mask_iou(a VARCHAR, b VARCHAR) → DOUBLE"),
        (["SELECT mask_area(image_id) FROM masks"], "no COCO run-length encoding"),
        (["SELEC 1"], 'syntax error at or near "SELEC"'),
        (["SELEC 1", "--format", "csv"], "syntax error"),
        (["--top", "circel"], "no query 'circel' in"),
        (["--top", "circel"], "it has circle and 2 more"),
        (["--top", "circle", "--coverage"], "ask one thing"),
        ([], "ask one thing"),
    ],
)
def test_errors_are_one_line(ask, arguments, said):
    text = ask(*arguments)
    assert said in text
    assert text.startswith("error: ")
    assert text.count("\n") == 1
