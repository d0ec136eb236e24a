"""Ids of queries that are given none: their words alone, unless two rows would share them."""

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg_ray.queries.table import from_texts, load_queries


def ids(tmp_path: Path, *rows: dict) -> list[str]:
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [query.query_id for query in load_queries(str(tmp_path / "t.jsonl"), None, 0.5)]


def test_words_are_enough_where_no_other_row_has_them(tmp_path):
    assert [query.query_id for query in from_texts(["a handbag", "Sit on!", "猫", "!?"], 0.5)] == [
        "a-handbag", "sit-on", "猫", "query",
    ]  # fmt: skip
    assert ids(tmp_path, {"text": "dog"}, {"query_id": "cat", "text": "dog"}) == ["dog", "cat"]
    assert ids(tmp_path, {"text": "dog"}, {"text": "cat"}, {"expression": "dog AND NOT cat"})[2] == "dog-and-not-cat"


def test_rows_that_would_share_an_id_get_a_hash_each(tmp_path):
    plain, fixed, other = ids(tmp_path, {"text": "dog"}, {"text": "dog", "template": "fixed"}, {"text": "cat"})
    assert plain != fixed
    assert all(name.startswith("dog-") and len(name) == 12 for name in (plain, fixed))
    assert other == "cat"
    made, given_id = ids(tmp_path, {"text": "a dog"}, {"query_id": "a-dog", "text": "dog"})
    assert made.startswith("a-dog-")
    assert given_id == "a-dog"


def test_a_condition_changes_no_id(tmp_path):
    rows = [{"text": "dog", "kind": "a"}, {"text": "Dog", "kind": "b"}]
    both = ids(tmp_path, *rows)
    (one,) = load_queries(str(tmp_path / "t.jsonl"), "kind = 'b'", 0.5)
    assert one.query_id == both[1]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text("aA -!b", min_size=1).filter(str.strip), min_size=1, max_size=6, unique_by=str.strip))
def test_ids_differ_and_do_not_hang_on_the_order(texts):
    forwards = {query.texts: query.query_id for query in from_texts(texts, 0.5)}
    backwards = {query.texts: query.query_id for query in from_texts(texts[::-1], 0.5)}
    assert forwards == backwards
    assert len(set(forwards.values())) == len(texts)
