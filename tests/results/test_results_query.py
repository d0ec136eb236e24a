import csv
import io
import json
import subprocess
import sys

import duckdb
import pyarrow.parquet as pq
import pytest

from clipseg_ray import cli
from clipseg_ray.dataset import Masks
from clipseg_ray.errors import UserError
from clipseg_ray.queries.phrase_set import phrase_id
from clipseg_ray.results.canned_questions import find


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
    assert "x" * 60 not in text
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


@pytest.mark.parametrize("form", ["csv", "json"])
def test_standard_output_is_written_on_where_it_stands(made, tmp_path, form):
    """A shell's ``>>`` appends; opened by its name it would be cut to nothing."""
    file = tmp_path / "answer"
    file.write_text("first line\n")
    program = [sys.executable, "-m", "clipseg_ray", "query", made, "SELECT 1 AS one", "--format", form]
    with file.open("ab") as appended:
        for _ in range(2):
            subprocess.run(program, stdout=appended, check=True)
    once = {"csv": "one\n1\n", "json": '[\n\t{"one":1}\n]\n'}[form]
    assert file.read_text() == f"first line\n{once}{once}"


def test_a_reader_of_standard_output_may_have_enough(made):
    program = [sys.executable, "-m", "clipseg_ray", "query", made, "SELECT * FROM range(10_000_000)", "--format", "csv"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"range\n"
        process.stdout.close()
        assert process.stderr.read() == b""


def asked_of(queries: list[tuple[str, list[str], float]], masks: list[str] = ()) -> duckdb.DuckDBPyConnection:
    """Views of queries (id, texts, threshold) and of masks by query id."""
    connection = duckdb.connect()
    connection.execute("CREATE TABLE queries(query_id VARCHAR, texts VARCHAR[], threshold DOUBLE)")
    connection.executemany("INSERT INTO queries VALUES (?, ?, ?)", queries)
    connection.execute("CREATE TABLE masks(query_id VARCHAR)")
    for query_id in masks:
        connection.execute("INSERT INTO masks VALUES (?)", [query_id])
    return connection


def test_an_id_is_never_taken_for_another_querys_wording():
    for order in (1, -1):
        known = [("a", ["cup"], 0.1), ("cup", ["a mug"], 0.2), ("z", ["cup"], 0.3)][::order]
        assert find(asked_of(known), "here", "cup").threshold == 0.2
        assert find(asked_of(known), "here", "a mug").query_id == "cup"


def test_a_wording_of_several_is_refused_with_their_ids():
    with pytest.raises(UserError, match="'cup' is the wording of 2 queries in here; say which by its id: a, z"):
        find(asked_of([("z", ["cup"], 0.1), ("a", ["cup"], 0.2)]), "here", "cup")
    phrases = asked_of([("a", ["cup"], 0.2), ("from:said", [], 0.3)], [phrase_id("cup")])
    with pytest.raises(UserError, match=f"say which by its id: a, {phrase_id('cup')}"):
        find(phrases, "here", "cup")
    assert find(phrases, "here", phrase_id("cup")).threshold == 0.3
