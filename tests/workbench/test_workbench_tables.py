"""A list comes from a table and becomes one: the same queries, its pictures beside it, and nothing over anything."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from clipseg_ray.errors import UserError
from clipseg_ray.queries.table import from_rows, load_queries
from clipseg_ray.storage import Store
from clipseg_ray.workbench import tables
from clipseg_ray.workbench.pictures import Pictures

TABLE = """
- {query_id: 1.10, text: [a mug, a cup], template: fixed, threshold: 0.35, note: 007x, size: 1.50}
- {text: mug, image: pictures/mug.png, mask: [2, 3, 8, 9], alpha: [0.25, 0.75]}
- {text: sofa, group: seats, weight: 3}
- {text: chair, group: seats, keep: false}
- {query_id: seat, expression: sofa OR chair, concept: [seat]}
- {text: bird, suppress: [seat, 1.10]}
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    folder = tmp_path / "tables"
    (folder / "pictures").mkdir(parents=True)
    Image.new("RGB", (20, 30), (200, 10, 10)).save(folder / "pictures" / "mug.png")
    (folder / "t.yaml").write_text(TABLE)
    return folder / "t.yaml"


def definitions(table: str) -> list[object]:
    queries = load_queries(table, None, 0.4)
    return [(query.query_id, query.digest(), query.kind, query.concept, query.columns) for query in queries]


@pytest.mark.parametrize("ending", ["yaml", "csv"])
def test_a_table_that_was_opened_is_saved_as_the_same_anywhere(tmp_path: Path, table: Path, ending: str) -> None:
    pictures = Pictures(Store.of(str(tmp_path / "state")))
    rows = tables.opened(str(table), 0.4)
    assert [row["query_id"] for row in rows][1:3] == ["mug@0.25", "mug@0.75"]
    place = tmp_path / "elsewhere" / f"mine.{ending}"
    tables.save(rows, str(place), pictures, over=False)
    assert definitions(str(place)) == definitions(str(table))
    saved = load_queries(str(place), None, 0.4)
    assert [query.digest() for query in from_rows(rows, 0.4)] == [query.digest() for query in saved]


def test_pictures_that_were_dropped_lie_beside_it_and_move_with_it(tmp_path: Path) -> None:
    pictures = Pictures(Store.of(str(tmp_path / "state")))
    sink = io.BytesIO()
    Image.new("RGB", (30, 20), (1, 2, 3)).save(sink, "JPEG")
    kept = pictures.keep(sink.getvalue())
    rows = [{"query_id": "it", "image": kept.cell, "mask": [1, 1, 9, 9], "threshold": 0.3}]
    tables.save(rows, str(tmp_path / "made" / "q.yaml"), pictures, over=False)
    (tmp_path / "made").rename(tmp_path / "moved")
    (query,) = load_queries(str(tmp_path / "moved" / "q.yaml"), None, 0.5)
    assert query.digest() == from_rows(rows, 0.5, pictures.held([kept.cell]))[0].digest()
    assert [path.name for path in (tmp_path / "moved" / "q-pictures").iterdir()] == [f"{kept.id[:16]}.jpg"]


def test_nothing_is_written_over_unless_told(tmp_path: Path, table: Path) -> None:
    pictures, rows = Pictures(Store.of(str(tmp_path / "state"))), [{"query_id": "a", "text": "a"}]
    before = table.read_bytes()
    with pytest.raises(UserError, match=r"t\.yaml: is there already, and is left as it is"):
        tables.save(rows, str(table), pictures, over=False)
    assert table.read_bytes() == before
    tables.save(rows, str(table), pictures, over=True)
    assert [query.query_id for query in load_queries(str(table), None, 0.5)] == ["a"]
    with pytest.raises(UserError, match="the list is empty"):
        tables.save([], str(tmp_path / "none.yaml"), pictures, over=False)


@pytest.mark.parametrize(
    "name",
    ["", "q", "q.txt", "../q.yaml", "/etc/q.yaml", "a/q.yaml", "a\\q.yaml", ".q.yaml", "q\x00.yaml", "q\n.yaml", "s3://b/q.yaml",
     "~q.yaml", "q.yaml/", 7, None, "x" * 200 + ".yaml"],
)  # fmt: skip
def test_no_other_name_than_that_of_a_file_here_is_taken(name: object) -> None:
    with pytest.raises(UserError, match="give a plain file name"):
        tables.checked_name(name)


@pytest.mark.parametrize("name", ["queries.yaml", "Über uns 2.yml", "a-b+c.1.csv"])
def test_names_of_files_are_taken(name: str) -> None:
    assert tables.checked_name(name) == name
