"""Rows that name each other: faults between rows, what a condition brings along, what enters a digest."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipseg_ray.errors import UserError
from clipseg_ray.queries.attachments import attachments
from clipseg_ray.queries.expression import Operation
from clipseg_ray.queries.table import load_queries
from clipseg_ray.queries.table_relations import DEEPEST, MOST_OPERANDS

CUP = {"image": "cup.png", "mask": "cup-mask.png"}
CHAIR, SOFA = {"query_id": "chair", "text": "chair"}, {"query_id": "sofa", "text": "sofa"}
SIT = {"query_id": "sit", "text": "something to sit on"}
SWEEP = {"query_id": "mug", "text": "mug", **CUP, "alpha": [0.2, 0.8]}
BACKGROUND = {"query_id": "rest", "text": "background", "group": "names", "weight": 3, "keep": False}
NAMES = [{**CHAIR, "group": "names"}, {**SOFA, "group": "names"}, BACKGROUND]
ONLY = {"query_id": "only", "expression": "sit AND NOT (chair OR sofa)"}


def queries_of(folder, rows, where=None):
    table = folder / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_queries(str(table), where, 0.5)


def digests(folder, rows, where=None):
    return {query.query_id: query.digest() for query in queries_of(folder, rows, where)}


def message_of(folder, rows, where=None):
    with pytest.raises(UserError) as caught:
        queries_of(folder, rows, where)
    return str(caught.value)


def test_a_row_becomes_what_it_says(tmp_path):
    rows = [*NAMES, SIT, ONLY, {"query_id": "bare", "text": "stool", "suppress": ["chair", "sofa"]}]
    chair, sofa, rest, sit, only, bare = queries_of(tmp_path, rows)
    assert [(each.group, each.weight, each.place, each.keep) for each in (chair, sofa, rest)] == [
        ("names", 1.0, 0, True),
        ("names", 1.0, 1, True),
        ("names", 3.0, 2, False),
    ]
    assert only.expression == Operation("and", ("sit", Operation("not", (Operation("or", ("chair", "sofa")),))))
    assert only.prompts == ()
    assert not only.is_prompt
    assert bare.suppress == ("chair", "sofa")
    assert [each.is_alone for each in (chair, rest, sit, only, bare)] == [False, False, True, False, False]


def test_all_formats_say_the_same(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet

    rows = [*NAMES, SIT, ONLY, {"query_id": "bare", "text": "stool", "suppress": ["chair", "sofa"], "keep": True}]
    columns = ("query_id", "text", "group", "weight", "keep", "expression", "suppress")
    cells = [
        [{True: "true", False: "FALSE"}.get(row.get(column), row.get(column, "")) for column in columns[:-1]]
        + ["|".join(row.get("suppress", []))]
        for row in rows
    ]
    lines = [",".join(columns), *(",".join(map(str, line)) for line in cells)]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    pa.parquet.write_table(pa.Table.from_pylist([dict.fromkeys(columns) | row for row in rows]), tmp_path / "t.parquet")
    (tmp_path / "t.yaml").write_text(json.dumps(rows))
    expected = queries_of(tmp_path, rows)
    for name in ("t.csv", "t.parquet", "t.yaml"):
        assert load_queries(str(tmp_path / name), None, 0.5) == expected, name


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{**SIT, "suppress": "char"}], "row 3, suppress: no query 'char' in the table; did you mean 'chair'?"),
        ([{**SIT, "suppress": "xyz"}], "row 3, suppress: no query 'xyz' in the table; name the query_id of a row"),
        ([{**ONLY, "expression": "char OR sofa"}], "row 3, expression: no query 'char' in the table; did you"),
        (
            [{**SIT, "suppress": "mug"}, SWEEP],
            "row 3, suppress: 'mug' is a sweep of alpha; name one of its queries: mug@0.2, mug@0.8",
        ),
        ([{**SIT, "suppress": ["sit"]}], "row 3, suppress: 'sit' is the query itself, which is never above itself"),
        ([{**SWEEP, "suppress": "mug@0.8"}], "row 3, suppress: 'mug@0.8' is the query itself"),
        ([{**SIT, "suppress": []}], "row 3, suppress: is an empty list"),
        ([{**SIT, "suppress": [True]}], "row 3, suppress: must be a text, not true or false True"),
        ([{**SIT, "group": "name"}], "row 3, group: 'name' has this member alone; a query competes with others; add"),
        ([{**SIT, "weight": 3}], "row 3, weight: only members of a group have a weight; remove it or add the group"),
        ([{**NAMES[0], "query_id": "x", "weight": 0}, BACKGROUND], "row 3, weight: 0 is not above 0; a background"),
        ([{**NAMES[0], "query_id": "x", "weight": "a"}, BACKGROUND], "row 3, weight: must be a number, not text 'a'"),
        ([{**SIT, "keep": "no"}], "row 3, keep: must be true or false, not text 'no'"),
        ([{**SIT, "keep": False}], "row 3, keep: is false, and no query names this one: nothing would come of it"),
        (
            [{**ONLY, "suppress": "chair"}, SIT],
            "row 3, expression: a row has one of suppress, group, expression, this one also suppress; make two rows",
        ),
        ([{**ONLY, "expression": "chair AND"}], "row 3, expression: column 10: a query_id, NOT or ( is expected"),
        ([{**ONLY, "expression": ""}], "row 3, expression: is empty"),
        (
            [{**ONLY, "expression": "chair", "text": "a"}],
            "row 3, text: an expression is made of other queries; give this a row of its own and name that one",
        ),
        ([{**ONLY, "expression": "only OR chair"}], "row 3, expression: is made of itself: only → only"),
        (
            [{"query_id": "a", "expression": "NOT b"}, {"query_id": "b", "expression": "chair OR a"}],
            "row 3, expression: is made of itself: a → b → a; take one of them out",
        ),
        (
            [{"query_id": "big", "expression": " OR ".join(["chair"] * (MOST_OPERANDS + 1))}],
            f"row 3, expression: is made of {MOST_OPERANDS + 1} prompts; at most {MOST_OPERANDS} can be",
        ),
        ([{**SIT, "supress": "chair"}], "column 'supress': unknown; did you mean 'suppress'?"),
    ],
)  # fmt: skip
def test_every_fault_between_rows_is_named(picture_folder, rows, message):
    found = message_of(picture_folder, [CHAIR, SOFA, *rows])
    assert message in found
    assert "table.jsonl: 1 fault (rows are counted from 1, without the header):" in found


def test_a_mistyped_group_is_named_by_its_neighbour(tmp_path):
    found = message_of(tmp_path, [*NAMES, {**SIT, "group": "nmaes"}])
    assert "row 4, group: 'nmaes' has this member alone; did you mean 'names'?" in found


def test_expressions_that_name_each_other_do_not_grow_without_bound(tmp_path):
    doubled = [{"query_id": "e0", "expression": "chair OR sofa"}]
    doubled += [{"query_id": f"e{n}", "expression": f"e{n - 1} AND e{n - 1}"} for n in range(1, 60)]
    _, *listed = message_of(tmp_path, [CHAIR, SOFA, *doubled]).splitlines()
    assert listed == [f"  row 11, expression: is made of 512 prompts; at most {MOST_OPERANDS} can be"]
    chain = [{"query_id": f"c{n}", "expression": f"c{n - 1}" if n else "chair"} for n in range(3000)]
    found = message_of(tmp_path, [CHAIR, *chain])
    assert f"row {DEEPEST + 3}, expression: goes {DEEPEST + 1} deep with those it names" in found


def test_all_faults_between_rows_come_at_once_with_those_of_rows(tmp_path):
    rows = [{**CHAIR, "threshold": 7}, {**SIT, "suppress": "x"}, {**ONLY, "expression": "chair AND y"}]
    lines = message_of(tmp_path, rows).splitlines()[1:]
    assert [line.split(":")[0].strip() for line in lines] == [
        "row 1, threshold",
        "row 2, suppress",
        "row 3, expression",
    ]


def test_mutual_suppression_of_two_is_fine(tmp_path):
    left, right = queries_of(tmp_path, [{**CHAIR, "suppress": "sofa"}, {**SOFA, "suppress": "chair"}])
    assert (left.needs, right.needs) == (("sofa",), ("chair",))


def test_a_condition_brings_along_what_its_rows_need(picture_folder):
    rows = [{**CHAIR, "suppress": "sofa"}, SOFA, SIT, ONLY, SWEEP]
    rows += [{"query_id": "both", "expression": "only OR mug@0.2"}]
    found = queries_of(picture_folder, rows, "query_id = 'both'")
    assert {query.query_id: query.keep for query in found} == {
        "chair": False,
        "sofa": False,
        "sit": False,
        "only": False,
        "mug@0.2": False,
        "both": True,
    }
    assert found[0].is_alone  # what suppresses it concerns its own masks alone
    whole = digests(picture_folder, rows)
    assert {query.query_id: query.digest() for query in found if query.keep} == {"both": whole["both"]}


def test_a_condition_brings_along_nothing_for_others(tmp_path):
    rows = [{**CHAIR, "keep": False}, SOFA, {**SIT, "suppress": "chair"}]
    assert [query.query_id for query in queries_of(tmp_path, rows, "query_id = 'sofa'")] == ["sofa"]
    assert [query.query_id for query in queries_of(tmp_path, rows, "query_id <> 'sofa'")] == ["chair", "sit"]
    assert "holds for none of the 3 rows" in message_of(tmp_path, rows, "query_id = 'chair'")


def test_a_condition_may_not_cut_a_group(tmp_path):
    found = message_of(tmp_path, [*NAMES, SIT], "query_id <> 'sofa'")
    assert "queries.where: cuts through the group 'names': it holds for 2 of 3 members, not for row 2; choose" in found
    assert len(queries_of(tmp_path, [*NAMES, SIT], "\"group\" = 'names'")) == 3
    assert [query.query_id for query in queries_of(tmp_path, [*NAMES, SIT], '"group" IS NULL')] == ["sit"]


def test_a_member_named_from_outside_is_brought_along_without_its_group(tmp_path):
    chair, sit = queries_of(tmp_path, [*NAMES, {**SIT, "suppress": "chair"}], "query_id = 'sit'")
    assert (chair.group, chair.keep, sit.suppress) == (None, False, ("chair",))


def test_pictures_of_rows_that_are_brought_along_travel_with_the_table(picture_folder):
    rows = [{"query_id": "cup", **CUP}, {**SIT, "suppress": "cup"}, {"query_id": "other", "image": "x.png"}]
    (picture_folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = attachments(str(picture_folder / "t.jsonl"), "query_id = 'sit'")
    assert [(each.row, each.path) for each in found] == [(1, "cup.png"), (1, "cup-mask.png")]


OTHER_CHAIR = {**CHAIR, "text": "armchair"}


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        # A rival's prompt concerns whom it suppresses, its threshold and its name do not.
        ([CHAIR, {**SIT, "suppress": "chair"}], [OTHER_CHAIR, {**SIT, "suppress": "chair"}], {"sit", "chair"}),
        ([CHAIR, {**SIT, "suppress": "chair"}], [{**CHAIR, "threshold": 0.2}, {**SIT, "suppress": "chair"}], {"chair"}),
        (
            [CHAIR, {**SIT, "suppress": "chair"}],
            [{**CHAIR, "query_id": "c2"}, {**SIT, "suppress": "c2"}],
            set(),
        ),
        (
            [CHAIR, SOFA, {**SIT, "suppress": ["chair", "sofa"]}],
            [SOFA, CHAIR, {**SIT, "suppress": ["sofa", "chair"]}],
            set(),
        ),
        ([CHAIR, SOFA, {**SIT, "suppress": "chair"}], [CHAIR, SOFA, {**SIT, "suppress": "sofa"}], {"sit"}),
        ([CHAIR, SOFA, SIT, ONLY], [OTHER_CHAIR, SOFA, SIT, ONLY], {"chair", "only"}),
        ([CHAIR, SOFA, SIT, ONLY], [CHAIR, SOFA, SIT, {**ONLY, "expression": "sit and not(chair or sofa)"}], set()),
        ([CHAIR, SOFA, SIT, ONLY], [CHAIR, SOFA, SIT, {**ONLY, "expression": "sit OR chair"}], {"only"}),
        # What an expression is made of counts, at any depth; what it is called does not.
        (
            [CHAIR, {"query_id": "a", "expression": "NOT chair"}, {"query_id": "b", "expression": "NOT a"}],
            [CHAIR, {"query_id": "c", "expression": "NOT chair"}, {"query_id": "b", "expression": "NOT (NOT chair)"}],
            set(),
        ),
        # Members, their order and every weight concern all of a group; a member's threshold itself alone.
        (NAMES, [NAMES[1], NAMES[0], NAMES[2]], {"chair", "sofa", "rest"}),
        (NAMES, [*NAMES[:2], {**BACKGROUND, "weight": 2}], {"chair", "sofa", "rest"}),
        (NAMES, [*NAMES[:2], {**BACKGROUND, "text": "nothing"}], {"chair", "sofa", "rest"}),
        (NAMES, [*NAMES, {**SIT, "group": "names"}], {"chair", "sofa", "rest"}),
        (NAMES, [{**NAMES[0], "threshold": 0.1}, *NAMES[1:]], {"chair"}),
        (NAMES, [SIT, NAMES[0], SIT | {"query_id": "s"}, *NAMES[1:]], set()),
        (NAMES, [{**row, "group": "other"} for row in NAMES], set()),
        (NAMES, [*NAMES[:2], {**BACKGROUND, "keep": True}], {"rest"}),
    ],
)  # fmt: skip
def test_what_decides_a_mask_enters_its_digest_and_nothing_else(tmp_path, before, after, changed):
    one, two = digests(tmp_path, before), digests(tmp_path, after)
    assert {query_id for query_id in one.keys() & two.keys() if one[query_id] != two[query_id]} == changed


@given(st.permutations(range(4)), st.lists(st.sampled_from([1, 2, 3]), min_size=4, max_size=4))
def test_a_group_is_its_members_in_their_order_with_their_weights(tmp_path_factory, order, weights):
    folder = tmp_path_factory.mktemp("group")
    rows = [{"query_id": f"q{n}", "text": f"thing {n}", "group": "g", "weight": weights[n]} for n in range(4)]
    one, two = digests(folder, rows), digests(folder, [rows[n] for n in order])
    assert (one == two) is (list(order) == [0, 1, 2, 3])
