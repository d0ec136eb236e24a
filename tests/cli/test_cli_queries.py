import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A text, a support picture and a blend of both, of two kinds."""
    pixels_hwc = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(pixels_hwc).save(tmp_path / "cup.png")
    rows = [
        {"query_id": "dog", "kind": "animal", "text": "dog", "template": "fixed", "threshold": 0.25},
        {"query_id": "a/cup", "kind": "object", "image": "cup.png", "mask": [8, 6, 12, 10]},
        {"query_id": "mug", "kind": "object", "text": "mug", "image": "cup.png", "mode": "whole", "alpha": 0.75},
    ]
    path = tmp_path / "table.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(output: str) -> list[list[str]]:
    """Cells of the lines between the table's vertical rules."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if line.startswith("│")]


def test_every_query_is_shown_as_it_will_be_embedded(clipseg_ray, table):
    code, output, errors = clipseg_ray("queries", table)
    assert (code, errors) == (0, "")
    assert rows_of(output) == [
        ["dog", "animal", "a photo of a dog.", "0.25"],
        ["a/cup", "object", "[cup.png] crop_blur_highlight(background=0.1, context=0.1, sigma=3.0)", "0.5"],
        ["mug", "object", "mug", "0.5"],
        ["", "", "[cup.png] whole", ""],
        ["", "", "blend: 0.75 picture, 0.25 text", ""],
    ]
    assert "tokens" not in output
    last = output.splitlines()[-1]
    assert last.startswith("3 queries of 2 kinds; prompt set ps-")


def test_the_prompt_set_is_that_of_the_selected_queries_at_the_runs_threshold(clipseg_ray, table):
    from clipseg_ray.queries.naming import set_name
    from clipseg_ray.queries.table import load_queries

    where = "kind = 'object'"
    _, output, _ = clipseg_ray("queries", table, "--where", where, "--threshold", "0.4")
    assert [row[0] for row in rows_of(output) if row[0]] == ["a/cup", "mug"]
    assert {row[3] for row in rows_of(output) if row[0]} == {"0.4"}
    expected = set_name(load_queries(str(table), where, 0.4))
    assert output.splitlines()[-1] == f"2 queries of 1 kind; prompt set {expected}"


def test_a_shipped_table(clipseg_ray):
    code, output, _ = clipseg_ray("queries", "builtin:affordances", "--where", "query_id = 'sit-on'")
    assert (code, rows_of(output)) == (0, [["sit-on", "affordance", "something to sit on", "0.5"]])


def test_pictures_are_rendered_for_the_released_checkpoints_or_the_one_named(clipseg_ray, table, checkpoint_dir):
    seen = table.parent / "seen"
    _, output, _ = clipseg_ray("queries", table, "--render", seen)
    assert sorted(path.name for path in seen.iterdir()) == ["a-cup-1.png", "mug-1.png"]
    assert Image.open(seen / "mug-1.png").size == (352, 352)
    assert f"wrote 2 PNG to {seen}, 352×352 pixels (the released checkpoints' preprocessing" in output
    assert "prompt set" in output.splitlines()[-1]
    _, output, _ = clipseg_ray("queries", table, "--render", seen, "--model", checkpoint_dir)
    assert Image.open(seen / "mug-1.png").size == (96, 96)
    assert f"96×96 pixels ({checkpoint_dir})" in output


def test_nothing_to_render_is_said(clipseg_ray, table):
    _, output, _ = clipseg_ray("queries", table, "--where", "query_id = 'dog'", "--render", table.parent / "seen")
    assert "no query has a support picture to render" in output
    assert not (table.parent / "seen").exists()


def test_a_model_adds_tokens_truncation_and_repeats(clipseg_ray, tmp_path, checkpoint_dir):
    rows = [
        {"query_id": "dog", "text": "dog", "template": "fixed"},
        {"query_id": "hound", "text": "dog", "template": "a photo of a {}."},
        {"query_id": "faint", "text": "Dog", "template": "fixed", "threshold": 0.1},
        {"query_id": "both", "text": ["wheels", "wheels on the bus"]},
        {"query_id": "long", "text": "dog " * 80},
    ]
    table = tmp_path / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, output, _ = clipseg_ray("queries", table, "--model", checkpoint_dir)
    assert code == 0
    assert {row[0]: row[4] for row in rows_of(output) if row[0]} == {
        "dog": "8",
        "hound": "8",
        "faint": "8",
        "both": "3–6",
        "long": "82",
    }
    *_, truncated, equal, near, also_near, summary = output.splitlines()
    assert truncated.startswith("query 'long': the prompt 'dog dog")
    assert "has 82 tokens; CLIP reads 77" in truncated
    assert equal == "query 'dog': gives the same masks as 'hound'; keep one"
    assert near == "query 'dog': nearly the same as 'faint' (cosine 1.0000)"
    assert also_near == "query 'hound': nearly the same as 'faint' (cosine 1.0000)"
    assert summary.startswith("5 queries of 1 kind; prompt set ps-")


def test_equal_queries_are_found_without_a_model(clipseg_ray, tmp_path):
    (tmp_path / "table.csv").write_text("query_id,text\na,dog\nb,cat\nc,dog\n")
    _, output, _ = clipseg_ray("queries", tmp_path / "table.csv")
    assert "query 'a': gives the same masks as 'c'; keep one" in output.splitlines()


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_is_cut_off(clipseg_ray, tmp_path, monkeypatch, capsys, terminal):
    identifier, prompt = "a-name-" + "x" * 60, "[bold]something :smiley: " + "very " * 20 + "long"
    (tmp_path / "table.jsonl").write_text(json.dumps({"query_id": identifier, "text": prompt}))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    _, output, _ = clipseg_ray("queries", tmp_path / "table.jsonl")
    rows = rows_of(output)
    assert "".join(row[0] for row in rows) == identifier
    assert " ".join(row[2] for row in rows).split() == prompt.split()
    if terminal:
        assert max(len(line) for line in output.splitlines() if line[0] in "┏│└") <= 80
    else:
        assert len(rows) == 1


def test_control_characters_do_not_reach_the_terminal(clipseg_ray, tmp_path):
    row = {"query_id": "a\u001b[31m", "kind": "animal\u001b[31m", "text": "dog\u001b[31m"}
    (tmp_path / "table.jsonl").write_text(json.dumps(row))
    _, output, _ = clipseg_ray("queries", tmp_path / "table.jsonl")
    assert rows_of(output)[0][:3] == [r"a\x1b[31m", r"animal\x1b[31m", "dog"]
    assert r"'dog\x1b[31m' is read as 'dog'" in output
    assert "\u001b" not in output


def test_every_fault_of_a_table_in_one_error(clipseg_ray, tmp_path):
    (tmp_path / "table.csv").write_text("query_id,text,threshold,mask\na,dog,1.5,\nb,,,\nc,cat,,cat.png\na,cow,0.2,\n")
    code, output, errors = clipseg_ray("queries", tmp_path / "table.csv")
    assert (code, output) == (2, "")
    assert errors.splitlines() == [
        f"error: {tmp_path}/table.csv: 4 faults (rows are counted from 1, without the header):",
        "  row 1, threshold: 1.5 is not between 0 and 1, both excluded",
        "  row 2, text: neither text nor image is given; a query needs one of them",
        "  row 3, mask: a mask is given without an image",
        "  row 4, query_id: 'a' is also that of row 1; give each query its own",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["builtin:afordances"], "error: builtin:afordances: no shipped query table of that name; did you mean"),
        (["builtin:affordances", "--threshold", "1"], "error: --threshold 1: give a probability between 0 and 1"),
        (["builtin:affordances", "--where", "knd = 'x'"], "no column 'knd'; did you mean kind?"),
        (["builtin:affordances", "--model", "./nowhere"], "error: model.checkpoint: ./nowhere: no such directory"),
    ],
)
def test_wrong_arguments_are_one_line(clipseg_ray, arguments, message):
    code, output, errors = clipseg_ray("queries", *arguments)
    assert (code, output, len(errors.splitlines())) == (2, "", 1)
    assert message in errors
