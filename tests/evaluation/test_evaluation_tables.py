import json
from pathlib import Path

import pytest

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.protocols import table_queries


def table(folder: Path, *rows: dict) -> str:
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "t.jsonl")


def test_queries_that_compete_are_refused_by_name_on_a_model(tmp_path: Path) -> None:
    dog = {"query_id": "dog", "text": "dog", "concept": "dog"}
    cat = {"query_id": "cat", "text": "cat", "concept": "cat", "suppress": "dog"}
    with pytest.raises(UserError, match="query 'cat' competes or combines with others") as caught:
        table_queries(table(tmp_path, dog, cat))
    assert "evaluate the masks of a run with this table (masks.url)" in str(caught.value)


def test_queries_without_a_concept_or_that_are_not_written_have_no_truth(tmp_path: Path) -> None:
    dog = {"query_id": "dog", "text": "dog", "concept": "dog"}
    rest = {"query_id": "rest", "text": "background", "concept": "rest", "keep": False}
    odd = {"query_id": "odd", "text": "odd", "suppress": "rest"}
    assert [query.query_id for query in table_queries(table(tmp_path, dog, rest, odd))] == ["dog"]
