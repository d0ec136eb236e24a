"""CSV and TSV: no quote swallows rows, and every other separator is named."""

from __future__ import annotations

import contextlib
import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipseg_ray.delimited_text import csv_lines, tsv_lines, wrong_separator

CELL = st.text(alphabet=st.characters(exclude_characters="\r", exclude_categories=("Cs",)), max_size=8)
ROWS = st.lists(st.lists(CELL, min_size=2, max_size=4), max_size=6)


@given(ROWS)
def test_what_csv_writers_write_is_read_with_the_line_on_which_it_begins(rows: list[list[str]]) -> None:
    file, begins = io.StringIO(), []
    writer = csv.writer(file, lineterminator="\n")
    for row in rows:
        begins.append(file.getvalue().count("\n") + 1)
        writer.writerow(row)
    assert list(csv_lines(file.getvalue())) == list(zip(begins, rows, strict=True))


@given(st.text(alphabet='a",\n', max_size=30))
def test_any_text_is_rows_or_a_named_line(text: str) -> None:
    with contextlib.suppress(ValueError):
        read = list(csv_lines(text))
        assert read == [(number, cells) for number, cells in read if cells]
        return
    with pytest.raises(ValueError, match=r"^line \d+: "):
        list(csv_lines(text))
    assert '"' in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('a,b\n1,"open\n2,x\n3,y\n', "line 2: a quote that opens there is never closed"),
        ('a,b\n\n1,x\n2,"x" y\n', "line 4: a cell in quotes goes on after its closing quote"),
        ('a,b\n1,"x\n2," y\n', "line 2: a cell in quotes goes on, in line 3, after its closing quote"),
    ],
)
def test_quotes_that_do_not_pair_up(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        list(csv_lines(text))


def test_long_cells_are_cells() -> None:
    assert list(csv_lines("a,b\n1," + "x" * 200_000))[1][1][1] == "x" * 200_000


def test_lines_of_tsv_are_rows_whatever_quotes_they_have() -> None:
    assert list(tsv_lines('a\tb\r\n\r\n"x\ty"\n\t\n')) == [(1, ["a", "b"]), (3, ['"x', 'y"']), (4, ["", ""])]


@pytest.mark.parametrize(
    ("text", "separator", "said"),
    [
        ("a,b\n", ",", None),
        ("a;b,c\n", ",", None),
        ("a\n1;2\n", ",", None),
        ("", ",", None),
        ("\na;b\n", ",", "its first line is 'a;b', cells separated by ';'; save it with commas between them"),
        ("a|b\n", ",", "cells separated by '|'; save it with commas between them"),
        ("a\tb\n", ",", "cells separated by tabs; save it with commas between them, or name it .tsv"),
        ("a,b\n", "\t", "cells separated by commas; save it with tabs between them, or name it .csv"),
        ("sep=;\na;b\n", ",", "its first line is 'sep=;', cells separated by ';'; save it with commas between them"),
        ("sep=,\na,b\n", ",", "its first line is 'sep=,', which only Excel reads; remove it"),
    ],
)
def test_other_separators_are_named(text: str, separator: str, said: str | None) -> None:
    found = wrong_separator(text, separator)
    assert found is None if said is None else str(found).endswith(said)
