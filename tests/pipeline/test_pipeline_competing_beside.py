"""Queries that compete beside what else a dataset has: phrases, other sets, shares of the input, a resumed run."""

import json
from pathlib import Path

import pytest

from clipseg_ray.storage import Store
from clipseg_ray.upkeep.verification import verify
from tests.made import make
from tests.pipeline import world
from tests.tars import tar_of

PLAIN = [("sit", "something to sit on"), ("chair", "a chair")]
ROWS = [
    {"query_id": "circle", "text": "a red circle", "group": "shapes"},
    {"query_id": "wheels", "text": "has wheels", "group": "shapes"},
    {"query_id": "rest", "text": "a photo", "group": "shapes", "weight": 3, "keep": False},
    {"query_id": "seat", "expression": "sit AND NOT chair"},
    {"query_id": "stool", "text": "a small stool", "suppress": ["chair", "seat"]},
]


@pytest.fixture
def source(tmp_path: Path) -> str:
    for shard in range(3):
        files: dict[str, bytes] = {}
        for number in range(3):
            files[f"{number}.jpg"] = world.jpeg(10 * shard + number)
            files[f"{number}.json"] = json.dumps({"phrases": ["the red circle"] if number else []}).encode()
        Store.of(str(tmp_path / "in")).put(f"s-{shard}.tar", tar_of(files))
    world.divide(tmp_path / "in")
    return str(tmp_path / "in")


@pytest.fixture
def ask(tmp_path: Path, source: str, checkpoint_dir: Path):
    """Does what a run does: the plain rows, and those that compete, into an output of that name."""

    def run(name: str, *, plain: bool = True, rows: list[dict] = ROWS, **sections: dict) -> str:
        table = world.write_table(tmp_path / "t.jsonl", PLAIN if plain else [])
        with Path(table).open("a") as lines:
            lines.writelines(f"\n{json.dumps(row)}" for row in rows)
        make(world.settings(source, str(tmp_path / name), checkpoint_dir, table, **sections))
        return str(tmp_path / name)

    return run


def rows_of(output: str, *names: str) -> dict[tuple[str, str], dict]:
    """The rows of these queries (of all without names), but for the name of their set."""
    found = {(row["image_id"], row["query_id"]): row for row in world.masks(output).to_pylist()}
    for row in found.values():
        del row["prompt_set"]
    return {key: row for key, row in found.items() if not names or key[1] in names}


def test_queries_without_the_columns_have_the_same_masks_beside_those_that_compete(ask) -> None:
    both, alone = ask("both"), ask("alone", rows=[])
    found, expected = rows_of(both, "sit", "chair"), rows_of(alone)
    assert found.keys() == expected.keys()
    for key, row in found.items():  # sets of other queries are embedded in other batches: an ulp
        assert row["score"] == pytest.approx(expected[key]["score"], abs=1e-5)
        assert row["area"] == pytest.approx(expected[key]["area"], abs=2)
    assert len(rows_of(both)) == 9 * 6
    assert verify(both).sound


def test_phrases_and_later_sets_change_nothing(ask) -> None:
    whole = ask("whole")
    beside = ask("beside", queries={"from": "phrases"})
    names = {query_id for _, query_id in rows_of(whole)}
    assert rows_of(beside, *names) == rows_of(whole)
    assert len(rows_of(beside)) == len(rows_of(whole)) + 6
    before = world.digests(beside, "masks")
    more = [{"query_id": "sit-2", "text": "something to sit on", "keep": False}]
    more += [{"query_id": "square", "text": "a square", "suppress": "sit-2"}]
    ask("beside", rows=[*ROWS, *more], queries={"from": "phrases"})
    after = world.digests(beside, "masks")
    assert before.items() < after.items()
    assert {query_id for _, query_id in rows_of(beside)} - names > {"square"}
    assert verify(beside).sound


def test_shares_of_the_input_and_a_resumed_run_give_the_same_bytes(ask) -> None:
    whole = ask("whole")
    shared = ask("shared", input={"part": "1/2"})
    assert 0 < len(rows_of(shared)) < len(rows_of(whole))
    ask("shared", input={"part": "2/2"})
    assert world.digests(shared, "masks") == world.digests(whole, "masks")
    before = world.digests(whole, "masks")
    Store.of(whole).delete(sorted(before)[0])
    ask("whole", rows=[*ROWS[:3]], queries={"where": "query_id <> 'sit'"})
    assert world.digests(whole, "masks") == before
