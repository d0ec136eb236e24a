"""Tables that are written: read again they ask the same, whatever the format, and none goes over another unasked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clipseg_ray.errors import UserError
from clipseg_ray.queries.table import load_queries
from clipseg_ray.queries.table_file import TableRows, read_rows
from clipseg_ray.queries.table_writing import write_table

FORMATS = ["csv", "tsv", "yaml", "jsonl", "parquet"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder ``tables`` whose tables have pictures beside them."""
    (tmp_path / "tables" / "pictures").mkdir(parents=True)
    for name in ("mug", "cup"):
        Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(tmp_path / "tables" / "pictures" / f"{name}.png")
    marked_hw = np.zeros((8, 8), np.uint8)
    marked_hw[2:5, 2:5] = 255
    Image.fromarray(marked_hw).save(tmp_path / "tables" / "pictures" / "mask.png")
    return tmp_path


def source(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "tables" / "source.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


ROWS: list[dict[str, Any]] = [
    {"text": ["a mug", "a cup"], "templates": ["plain", "a photo of {}"], "threshold": 0.35, "note": "mine, “yours”"},
    {"query_id": "pictured", "image": ["pictures/mug.png", "pictures/cup.png"], "mask": ["pictures/mask.png"] * 2},
    {"query_id": "boxed", "text": "mug", "image": "pictures/mug.png", "mask": [1, 1, 4, 4], "alpha": 0.25},
    {"query_id": "one", "text": "dog", "group": "animals", "weight": 3, "keep": False},
    {"query_id": "other", "text": "cat", "group": "animals", "concept": ["cat", "kitten"]},
    {"query_id": "both", "expression": "one AND NOT boxed"},
    {"query_id": "high", "text": "bird", "suppress": ["one", "other"]},
]


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("where", ["tables/next.", "elsewhere/deep/next."])
def test_the_same_is_asked_by_what_was_written_wherever_it_lies(folder: Path, ending: str, where: str) -> None:
    table = source(folder, ROWS)
    asked = load_queries(table, None, 0.5)
    written = write_table(read_rows(table), str(folder / f"{where}{ending}"))
    again = load_queries(written, None, 0.5)
    assert [query.digest() for query in again] == [query.digest() for query in asked]
    assert [replace(query, supports=()) for query in again] == [replace(query, supports=()) for query in asked]
    assert [query.columns.get("note") for query in again] == [query.columns.get("note") for query in asked]


def test_numbers_that_are_names_stay_as_they_were_written(folder: Path) -> None:
    table = folder / "tables" / "n.csv"
    table.write_text("query_id,text,threshold,shelf,size\n1.10,mug,0.50,007,1.10\n1e3,cup,,12,2\n")
    asked = load_queries(str(table), None, 0.5)
    for ending in FORMATS:
        again = load_queries(write_table(read_rows(str(table)), str(folder / f"n.{ending}")), None, 0.5)
        assert [(each.query_id, each.columns) for each in again] == [(each.query_id, each.columns) for each in asked]
    assert [each.query_id for each in asked] == ["1.10", "1e3"]


def test_nothing_is_written_over_unless_told(folder: Path) -> None:
    rows = read_rows(source(folder, ROWS))
    there = folder / "there.yaml"
    there.write_text("- text: mine\n")
    with pytest.raises(UserError, match=r"there\.yaml: is there already; give another name"):
        write_table(rows, str(there))
    assert there.read_text() == "- text: mine\n"
    write_table(rows, str(there), replace=True)
    assert len(load_queries(str(there), None, 0.5)) == len(ROWS)


@pytest.mark.parametrize(
    ("row", "ending", "says"),
    [
        ({"text": "this|that"}, "csv", "csv cannot hold row 1, text"),
        ({"text": "this\tthat"}, "tsv", "cannot be written as tsv"),
        (
            {"text": "mug", "alpha": [0.3], "image": "pictures/mug.png", "mode": "whole"},
            "csv",
            "row 1, alpha|row 1, sweep",
        ),
        ({"text": "mug", "tags": ["a", "b"]}, "csv", "row 1, columns"),
        ({"text": "mug"}, "txt", r"written as \.csv, \.tsv, \.yaml"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_and_nothing_written(
    folder: Path, row: dict[str, Any], ending: str, says: str
) -> None:
    with pytest.raises(UserError, match=says):
        write_table(read_rows(source(folder, [row])), str(folder / f"t.{ending}"))
    assert not (folder / f"t.{ending}").exists()


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1).filter(str.strip)


@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {"text": WORDS | st.lists(WORDS, min_size=1, max_size=3)},
            optional={
                "threshold": st.floats(0.01, 0.99),
                "concept": WORDS,
                "note": WORDS | st.integers(-(10**12), 10**12) | st.booleans(),
            },
        ),
        min_size=1,
        max_size=4,
    ),
    ending=st.sampled_from(FORMATS),
)
def test_a_file_is_what_was_meant_or_refused(
    rows: list[dict[str, Any]], ending: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    columns = tuple(dict.fromkeys(column for row in rows for column in row))
    path = tmp_path_factory.mktemp("written") / f"t.{ending}"
    meant = TableRows("rows", "", columns, tuple(rows))
    try:
        write_table(meant, str(path))
    except UserError:
        assert not path.exists()
        return
    found = read_rows(str(path)).rows
    assert len(found) == len(rows)
    for row, again in zip(rows, found, strict=True):
        for column in ("text", "concept"):
            as_list = [each if isinstance(each, list) else [each] for each in (row.get(column), again.get(column))]
            assert [str(each).strip() for each in as_list[0]] == [str(each).strip() for each in as_list[1]]
        assert again.get("threshold") == pytest.approx(row.get("threshold"), abs=0)
