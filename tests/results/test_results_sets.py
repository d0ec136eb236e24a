"""Who owns a query that needs others: within one set, or refused with what to do."""

import pytest

from clipseg_ray.errors import UserError
from clipseg_ray.queries.expression import parse
from clipseg_ray.queries.naming import set_name
from clipseg_ray.queries.others import resolved
from clipseg_ray.queries.query import Query
from clipseg_ray.results import sets
from clipseg_ray.storage import Store


def query(query_id: str, text: str = "", **more) -> Query:
    texts = () if "expression" in more else (text or query_id,)
    return Query(query_id=query_id, kind="object", texts=texts, templates=("{}",), threshold=0.5, **more)


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


def asked(store, *queries):
    """What a run with this table finds; it claims what is new."""
    queries = resolved(queries)
    found = sets.assign(sets.read(store), queries)
    new = [each for each in queries if each.query_id in found.new]
    if new:
        sets.claim(store, len(sets.read(store)), set_name(new), new)
    return found


def refusal(store, *queries):
    before = sets.read(store)
    with pytest.raises(UserError) as caught:
        asked(store, *queries)
    assert sets.read(store) == before
    return str(caught.value)


NAMES = (
    query("chair", group="names", place=0),
    query("sofa", group="names", place=1),
    query("rest", group="names", place=2, weight=3.0, keep=False),
)


def test_a_claim_says_what_is_written_and_who_shares_no_pixel(store):
    asked(
        store,
        *NAMES,
        query("a", group="other", place=1),
        query("b", group="other", place=0),
        query("c"),
        query("e", expression=parse("NOT c")),
    )
    (claimed,) = sets.read(store)
    assert set(claimed.digests) == {"chair", "sofa", "rest", "a", "b", "c", "e"}
    assert set(claimed.query_ids) == set(claimed.written) == {"chair", "sofa", "a", "b", "c", "e"}
    assert set(claimed.competing) == {"chair", "sofa", "a", "b", "e"}
    assert set(claimed.groups) == {("chair", "sofa"), ("b", "a")}


def test_queries_stay_in_the_order_they_were_asked_in(store):
    assert asked(store, query("zebra"), query("cat")).new == ("zebra", "cat")
    asked(store, query("yak"), query("ant"), query("cat"), query("zebra"))
    assert [list(each.definitions) for each in sets.read(store)] == [["zebra", "cat"], ["yak", "ant"]]


def test_two_groups_of_the_same_prompts_are_no_rivals(store):
    twins = [query(f"{word}{n}", word, group=str(n), place=place) for n in (0, 1) for place, word in enumerate("ab")]
    asked(store, *twins)
    (group,) = sets.read(store)[0].groups
    assert [query_id[0] for query_id in group] == ["a", "b"]


def test_the_same_table_again_asks_for_nothing_new(store):
    table = (*NAMES, query("sit", suppress=("chair",)))
    assert len(asked(store, *table).new) == 4
    again = asked(store, *table)
    assert (again.new, [owner.number for owner in again.present]) == ((), [0])


def test_a_new_query_that_needs_an_old_one_is_refused_with_what_to_do(store):
    asked(store, query("chair"), query("sofa"))
    found = refusal(store, query("chair"), query("sit", suppress=("chair",)))
    assert f"sit needs chair, which is in {sets.read(store)[0].name}" in found
    assert "Repeat the rows that they need under new ids with keep: false, and name those instead." in found
    assert "not needs sofa" not in found
    found = refusal(store, query("chair", keep=False), query("e", expression=parse("NOT chair")))
    assert "e needs chair" in found
    assert asked(store, query("chair-2", "chair", keep=False), query("sit", suppress=("chair-2",))).new == (
        "chair-2",
        "sit",
    )


def test_a_group_gets_no_new_member(store):
    asked(store, *NAMES)
    found = refusal(store, *NAMES, query("bed", group="names", place=3))
    assert "chair: group.members: the dataset has 3, this table 4" in found
    assert "chair: group.prompts" in found


def test_one_who_takes_an_old_member_s_place_under_a_new_name_is_refused(store):
    asked(store, *NAMES)
    found = refusal(store, NAMES[0], query("couch", "sofa", group="names", place=1), NAMES[2])
    assert "couch needs chair" in found
    assert "couch needs rest" in found


def test_rows_brought_along_for_queries_that_are_there_ask_for_nothing(store):
    asked(store, query("chair", suppress=("sofa",)), query("sofa"), query("sit", suppress=("chair",)))
    found = asked(store, query("chair", keep=False), query("sit", suppress=("chair",)))
    assert (found.new, len(found.present)) == ((), 1)
    found = refusal(store, query("chair", "armchair", keep=False), query("new", suppress=("chair",)))
    assert "chair: texts: the dataset has ['chair'], this table ['armchair']" in found


def test_what_was_not_written_is_not_had_later_under_its_id(store):
    asked(store, *NAMES)
    found = refusal(store, *NAMES[:2], query("rest", group="names", place=2, weight=3.0))
    assert "rest: keep: the dataset has False, this table True" in found
    assert "Give the changed queries new ids" in found


def test_a_rival_under_another_name_is_nothing_new(store):
    asked(store, query("chair", keep=False), query("sit", suppress=("chair",)))
    assert asked(store, query("c", "chair", keep=False), query("sit", suppress=("c",))).new == ()
