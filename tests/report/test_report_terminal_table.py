"""Rows on a terminal: what a cell says, which columns come last, and when a record becomes a block."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from clipseg_ray.report import card, terminal_table
from clipseg_ray.results import canned_questions, summary
from clipseg_ray.results.mean_coverage import MEAN_COVERAGE

COLUMNS = ["image_id", "counts", "score", "heat"]
ROWS = [
    ("scenes-00000.tar/030000108", "k" * 500, 0.4000000059604645, b"\0" * 88 * 88),
    ("a\x1b[31m", None, 12345.678, None),
]


def printed(columns: list[str], rows: list[tuple], width: int, title: str | None = None) -> list[str]:
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(terminal_table.shown(columns, rows, width, title))
    return captured.get().splitlines()


def test_a_table_has_rounded_floats_the_size_of_heat_and_counts_last() -> None:
    head, first, second = (
        [cell.strip() for cell in line.replace("┃", "│").split("│")[1:-1]]
        for line in printed(COLUMNS, ROWS, 200)
        if line[0] in "┃│"
    )
    assert head == ["image_id", "score", "heat", "counts"]
    assert first == ["scenes-00000.tar/030000108", "0.4", "⟨88×88⟩", "k" * 23 + "…"]
    assert second == ["a\\x1b[31m", "12346", "", ""]


def test_where_columns_do_not_fit_each_record_is_a_block() -> None:
    least = next(width for width in range(1, 200) if isinstance(terminal_table.shown(COLUMNS, ROWS, width), Table))
    assert 24 + 24 + len("0.4000") < least < 90
    table = printed(COLUMNS, ROWS, least)
    assert all(len(line) <= least for line in table)
    assert any("0.4" in line and "⟨88×88⟩" in line for line in table)  # no number and no name was folded
    lines = printed(COLUMNS, ROWS, least - 1, "two rows")
    assert lines[0] == "two rows"
    assert [line.rstrip("─") for line in lines if line.startswith("─")] == ["─ 1 ", "─ 2 "]
    assert lines[2:6] == [
        "image_id  scenes-00000.tar/030000108",
        "score     0.4",
        "heat      ⟨88×88⟩",
        f"counts    {'k' * 23}…",
    ]


def test_blocks_keep_lines_under_their_column_and_other_bytes_are_counted() -> None:
    lines = printed(["name", "pixels"], [("one\ntwo", b"\1" * 1234)], 22)
    assert lines[1:] == ["name    one", "        two", "pixels  ⟨1,234 bytes⟩"]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_rounded_number_is_near_and_keeps_every_digit_before_the_point(value: float) -> None:
    text = terminal_table.rounded(value)
    if abs(value) >= 1e-4:
        assert "e" not in text
        assert float(text) == pytest.approx(value, abs=max(abs(value) * 5.1e-4, 1e-320) if abs(value) < 1 else 0.51)
        assert abs(value) < 1 or len(text.lstrip("-").partition(".")[0]) >= math.floor(math.log10(abs(value))) + 1
    else:
        assert float(text) == pytest.approx(value, rel=0.06)


def test_mean_coverage_has_one_definition(made: str) -> None:
    """The verbs, the gallery's numbers and the card's recipe say the same of one query."""
    from clipseg_ray.dataset import Masks
    from clipseg_ray.report import facts
    from clipseg_ray.storage import Store

    assert MEAN_COVERAGE in card._LOADING
    _, columns, rows = summary.tables(made, 1)[1]
    shown = {row[0]: row[columns.index("mean_coverage")] for row in rows}
    with Masks(made) as masks:
        asked = masks.sql(canned_questions.coverage(10))
        coverage = {row[0]: row[asked.columns.index("mean_coverage")] for row in asked.fetchall()}
        own = masks.to_arrow("area > 0", columns=["query_id", "coverage"]).to_pydict()
        rows = masks.sql("SELECT count(*) FILTER (area = 0) FROM masks").fetchall()[0][0]
    assert rows, "a mean over all rows would be another"
    with facts.gather(Store.of(made)) as (found, _):
        gallery = {query.query_id: found.of(query).coverage for query in found.queries}
    expected = {
        name: sum(c for q, c in zip(own["query_id"], own["coverage"], strict=True) if q == name)
        / own["query_id"].count(name)
        for name in set(own["query_id"])
    }
    assert shown == pytest.approx(expected)
    assert gallery == pytest.approx(expected)
    assert coverage == pytest.approx(expected, abs=6e-5)
