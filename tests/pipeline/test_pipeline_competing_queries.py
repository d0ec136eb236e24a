"""Tables whose queries compete, planned and settled: what is claimed, written and refused."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clipseg_ray import config
from clipseg_ray.errors import UserError
from clipseg_ray.pipeline import plan
from clipseg_ray.pipeline.describe import plan_json, plan_text, queries_text
from clipseg_ray.pipeline.settle import settle
from clipseg_ray.results import layout, sets
from clipseg_ray.storage import Store
from tests.pipeline import world

CIRCLE = {"query_id": "circle", "text": "a red circle", "group": "shapes"}
ROWS = [
    CIRCLE,
    {"query_id": "square", "text": "a square", "group": "shapes"},
    {"query_id": "rest", "text": "background", "group": "shapes", "weight": 3, "keep": False},
    {"query_id": "sit", "text": "something to sit on"},
    {"query_id": "odd", "expression": "sit AND NOT circle"},
]


@pytest.fixture
def planned(tmp_path: Path, checkpoint_dir: Path):
    """Plans a run of these rows into one and the same output."""
    source, output = str(tmp_path / "in"), str(tmp_path / "out")
    world.write_tars(source, shards=1, images=2)

    def look(rows: list[dict], **queries: str) -> plan.Plan:
        table = tmp_path / "t.jsonl"
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return plan.look(config.parse(world.settings(source, output, checkpoint_dir, str(table), queries=queries)))

    return look


def test_a_plan_counts_what_is_written(planned) -> None:
    found = planned(ROWS)
    assert queries_text(found) == "4 queries"
    text = plan_text(found)
    assert ": 4 new, 0 present; 1 more only computed for them" in text
    assert "odd  [phrase, new]  sit AND NOT circle" in text
    assert "rest" not in text
    assert plan_json(found)["queries"] == ["circle", "square", "sit", "odd"]
    assert plan_json(found)["queries_new"] == ["circle", "odd", "sit", "square"]


def test_a_set_is_claimed_whole_and_comes_back(planned) -> None:
    first = planned(ROWS)
    (made,) = settle(first, "cpu", 1).prompt_sets
    (claimed,) = sets.read(first.store)
    assert claimed.groups == (("circle", "square"),)
    assert set(claimed.competing) == {"circle", "square", "odd"}
    table = pq.read_table(f"{first.store.url}/{layout.queries_file(made.name)}")
    assert dict(zip(table["query_id"].to_pylist(), table["keep"].to_pylist(), strict=True)) == {
        "circle": True,
        "odd": True,
        "rest": False,
        "sit": True,
        "square": True,
    }
    (again,) = settle(planned(ROWS), "cpu", 1).prompt_sets
    assert (again.members, again.contests) == (made.members, made.contests)
    (part,) = settle(planned(ROWS, where="query_id = 'odd'"), "cpu", 1).prompt_sets
    assert part.name == made.name
    assert len(sets.read(first.store)) == 1


def test_a_condition_at_first_makes_a_set_of_what_it_needs(planned) -> None:
    first = planned(ROWS, where="query_id = 'odd'")
    (made,) = settle(first, "cpu", 1).prompt_sets
    assert [query.query_id for query in made.queries] == ["odd"]
    assert [query.query_id for query in made.prompts] == ["circle", "sit"]
    with pytest.raises(UserError, match="circle: keep: the dataset has False, this table True"):
        planned(ROWS)


def test_a_plan_says_what_to_do_where_a_new_row_names_an_old_query(planned) -> None:
    settle(planned(ROWS), "cpu", 1)
    wheels = {"query_id": "wheels", "text": "has wheels", "suppress": "sit"}
    with pytest.raises(UserError, match="wheels needs sit, which is in ps-") as caught:
        planned([*ROWS, wheels])
    assert "under new ids with keep: false, and name those instead" in str(caught.value)
    repeated = {"query_id": "sit-2", "text": "something to sit on", "keep": False}
    found = planned([*ROWS, repeated, {**wheels, "suppress": "sit-2"}])
    assert found.assignment.new == ("sit-2", "wheels")
    assert ": 1 new, 4 present; 2 more only computed for them" in plan_text(found)
    assert len(settle(found, "cpu", 1).prompt_sets) == 2
    assert Store.of(found.store.url).exists(layout.set_record(1))
