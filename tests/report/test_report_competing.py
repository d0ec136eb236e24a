"""Datasets with queries that compete: cards, SQL and exports know those that are written and no others."""

from pathlib import Path

import datasets
import pytest

from clipseg_ray import open as open_dataset
from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.config import EvaluatedMasks
from clipseg_ray.evaluation.given import truth_of
from clipseg_ray.evaluation.truth import Thing
from clipseg_ray.queries.expression import parse
from clipseg_ray.queries.others import resolved
from clipseg_ray.queries.query import Query
from clipseg_ray.report import asked, card, facts
from clipseg_ray.results import backlog, status, summary
from clipseg_ray.results.canned_questions import find
from clipseg_ray.storage import Store
from tests.report import world


def competing() -> list[Query]:
    sit = Query(
        query_id="seat",
        kind="affordance",
        texts=(),
        templates=(),
        threshold=0.5,
        expression=parse("chair AND NOT rest"),
    )
    return resolved(
        [
            world.query("chair", group="names"),
            world.query("sofa", group="names", place=1),
            world.query("rest", group="names", place=2, weight=3.0, keep=False),
            sit,
        ]
    )


@pytest.fixture
def made(tmp_path: Path) -> str:
    """One image with three masks of a competing set, and a later set without any of it."""
    answers = {
        name: world.Answer(world.ellipse(x, 0.5, 0.1, 0.1), 0.9, 0.8) for name, x in (("chair", 0.2), ("sofa", 0.8))
    }
    answers |= {"seat": world.Answer(world.empty(), 0.2), "car": world.Answer(world.empty(), 0.1)}
    shards = [[world.Picture("a", answers=answers)]]
    url = world.write(tmp_path, competing(), shards)
    world.add_queries(url, [world.query("car", "a car")], shards, 4)
    return url


def test_only_what_is_written_is_a_query_of_the_dataset(made: str) -> None:
    described = asked.described_queries(Store.of(made))
    assert [(query.number, query.query_id) for query in described] == [
        (1, "chair"),
        (2, "sofa"),
        (3, "seat"),
        (4, "car"),
    ]
    assert [query.words for query in described] == ["a chair", "a sofa", "chair AND NOT rest", "a car"]
    chosen = asked.chosen(described, "\"group\" = 'names' AND weight = 1")
    assert [query.query_id for query in chosen] == ["chair", "sofa"]
    assert [item.queries for item in backlog.read(made).sets] == [3, 1]
    assert [count for _, count in status.read(made).prompt_sets] == [3, 1]
    with facts.gather(Store.of(made)) as (found, _):
        assert {query.query_id: found.of(query).images for query in found.queries} == dict.fromkeys(
            ("chair", "sofa", "seat", "car"), 1
        )


def test_the_hub_s_loader_reads_the_queries_of_both_kinds_of_sets(made: str, tmp_path: Path) -> None:
    card.write(Store(made))
    queries = datasets.load_dataset(made, "queries", split="train", cache_dir=str(tmp_path / "cache"))
    keep = dict(zip(queries["query_id"], queries["keep"], strict=True))
    assert keep == {"chair": True, "rest": False, "seat": True, "sofa": True, "car": None}


def test_sql_sees_the_columns_and_finds_only_what_is_written(made: str) -> None:
    with open_dataset(made) as masks:
        rows = masks.sql('SELECT query_id, keep, "group", expression FROM queries ORDER BY query_id').fetchall()
        assert find(masks.connection, made, "a sofa").query_id == "sofa"
        with pytest.raises(UserError, match="no query 'rest'"):
            find(masks.connection, made, "rest")
        with pytest.raises(UserError, match="no query 'a rest'"):
            find(masks.connection, made, "a rest")
    assert rows == [
        ("car", None, None, None),
        ("chair", True, "names", None),
        ("rest", False, "names", None),
        ("seat", True, None, "chair AND NOT rest"),
        ("sofa", True, "names", None),
    ]
    _, columns, shown = summary.tables(made, 3)[1]
    texts = {row[0]: row[columns.index("texts")] for row in shown}
    assert texts == {"chair": "a chair", "seat": "chair AND NOT rest", "sofa": "a sofa", "car": "a car"}


def test_only_what_is_written_has_a_truth(made: str) -> None:
    vocabulary = {name: Thing(name, "object", (name,)) for name in ("chair", "rest", "car")}
    assert truth_of(EvaluatedMasks(url=made), vocabulary).keys() == {"chair", "car"}
