"""Contests of a prompt set, held against what the columns say, on made-up logits of a few pixels."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg_ray.queries import contests
from clipseg_ray.queries.expression import Operation, parse
from clipseg_ray.queries.others import resolved
from clipseg_ray.queries.prompt_set import COMPETING, SCHEMA, PromptSet
from clipseg_ray.queries.query import Query

PIXELS = 40


def query(query_id: str, **more) -> Query:
    texts = () if "expression" in more else (f"a {query_id}",)
    return Query(query_id=query_id, kind="object", texts=texts, templates=("{}",), threshold=0.5, **more)


def set_of(queries) -> PromptSet:
    members = resolved(queries)
    prompts = sum(member.is_prompt for member in members)
    return PromptSet.of(members, np.arange(prompts * 3, dtype=np.float32).reshape(prompts, 3))


@st.composite
def tables(draw):
    """Queries in a table's order: prompts alone, in groups, suppressed, and expressions over what came before."""
    names = [f"q{number:02d}" for number in draw(st.permutations(range(draw(st.integers(2, 12)))))]
    queries, places = [], {}
    for at, name in enumerate(names):
        kind = draw(st.sampled_from(["alone", "suppress", "group", "expression"] if at else ["alone", "group"]))
        keep = draw(st.booleans()) or at == len(names) - 1
        others = [each for each in names if each != name]
        if kind == "alone":
            queries.append(query(name, keep=keep))
        elif kind == "suppress":
            queries.append(query(name, keep=keep, suppress=tuple(draw(st.lists(st.sampled_from(others), min_size=1)))))
        elif kind == "group":
            group = draw(st.sampled_from("xy"))
            places[group] = places.get(group, -1) + 1
            weight = draw(st.sampled_from([1.0, 1.0, 3.0]))
            queries.append(query(name, keep=keep, group=group, weight=weight, place=places[group]))
        else:
            before = st.sampled_from(names[:at])
            term = draw(
                st.recursive(
                    before,
                    lambda inner: st.one_of(
                        st.builds(lambda operand: Operation("not", (operand,)), inner),
                        st.builds(
                            lambda word, operands: Operation(word, tuple(operands)),
                            st.sampled_from(["and", "or"]),
                            st.lists(inner, min_size=2, max_size=3),
                        ),
                    ),
                    max_leaves=5,
                )
            )
            queries.append(query(name, keep=keep, expression=term))
    return queries


def value(term, logits_of, by_id):
    """A term's logits [n], as the columns are defined: minimum, maximum, negative."""
    if isinstance(term, str):
        expression = by_id[term].expression
        return logits_of[term] if expression is None else value(expression, logits_of, by_id)
    inside = [value(operand, logits_of, by_id) for operand in term.operands]
    if term.operator == "not":
        return -inside[0]
    return (np.minimum if term.operator == "and" else np.maximum).reduce(inside)


def meant(name, logits_of, by_id):
    """The logits of a query where it may take a pixel, NaN elsewhere, from its columns alone."""
    asked = by_id[name]
    own = value(name, logits_of, by_id)
    may = np.ones(PIXELS, bool)
    for rival in asked.suppress:
        may &= own > value(rival, logits_of, by_id)
    if asked.group is not None:
        members = sorted((each for each in by_id.values() if each.group == asked.group), key=lambda each: each.place)
        raw = np.stack([logits_of[each.query_id] for each in members])
        weights = np.array([[each.weight] for each in members])
        keys = raw if (weights == 1).all() else np.log(weights) - np.log1p(np.exp(-raw))
        may &= np.array([members[winner].query_id == name for winner in keys.argmax(0)])
    return np.where(may, own, np.nan)


def decided(output, logits_pn):
    """The same from an output of a contest, ``logits_pn`` in the order of its prompts."""

    def of(term):
        if isinstance(term, int):
            return logits_pn[term]
        inside = [of(operand) for operand in term[1]]
        return {"and": np.minimum.reduce, "or": np.maximum.reduce, "not": lambda each: -each[0]}[term[0]](inside)

    own = of(output.logits)
    may = np.ones(PIXELS, bool)
    for rival in output.rivals:
        may &= own > of(rival)
    if output.group:
        raw, weights = logits_pn[list(output.group)], np.array(output.weights)[:, None]
        keys = raw if (weights == 1).all() else np.log(weights) - np.log1p(np.exp(-raw))
        may &= np.array(output.group)[keys.argmax(0)] == output.logits
    return np.where(may, own, np.nan)


@pytest.mark.parametrize("most", [3, contests.MOST])
@given(tables(), st.integers(0, 2**32 - 1))
def test_contests_decide_what_the_columns_say(most, queries, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contests, "MOST", most)
        prompt_set = set_of(queries)
        found = prompt_set.contests
    by_id = {each.query_id: each for each in queries}
    # Small whole numbers tie often.
    logits_pn = np.random.default_rng(seed).integers(-3, 4, (len(prompt_set.prompts), PIXELS)).astype(float)
    logits_of = {each.query_id: row for each, row in zip(prompt_set.prompts, logits_pn, strict=True)}
    maps = {
        prompt_set.queries[at].query_id: logits_pn[place] for at, place in enumerate(prompt_set.alone) if place >= 0
    }
    for contest in found:
        assert list(contest.prompts) == sorted(set(contest.prompts))
        for output in contest.outputs:
            name = prompt_set.queries[output.query].query_id
            assert name not in maps
            maps[name] = decided(output, logits_pn[list(contest.prompts)])
    assert maps.keys() == {each.query_id for each in queries if each.keep}
    for name, own in maps.items():
        np.testing.assert_array_equal(own, meant(name, logits_of, by_id))


@settings(deadline=None)
@given(tables())
def test_a_set_comes_back_from_its_table(queries):
    prompt_set = set_of(queries)
    again = PromptSet.from_table(prompt_set.to_table())
    assert again.members == prompt_set.members
    assert (again.name, again.contests, again.alone) == (prompt_set.name, prompt_set.contests, prompt_set.alone)
    np.testing.assert_array_equal(again.conditionals_qc, prompt_set.conditionals_qc)
    assert len(prompt_set.threshold_logits_q) == len(prompt_set.queries)


def test_a_set_without_the_columns_has_none_of_it(tmp_path):
    plain = set_of([query("b"), query("a")])
    assert plain.name == "ps-cc637419f6eaa11c"  # what it was before there were such columns
    assert plain.to_table().schema.equals(SCHEMA, check_metadata=True)
    assert (plain.members, plain.prompts, plain.alone, plain.contests) == (plain.queries, plain.queries, (0, 1), ())
    competing = set_of([query("b", suppress=("a",)), query("a")])
    pq.write_table(competing.to_table(), tmp_path / "q.parquet")
    schema = pq.read_schema(tmp_path / "q.parquet")
    assert schema.names == [*SCHEMA.names, *COMPETING.names]
    assert all(field.metadata[b"description"] for field in schema)


def test_a_set_whose_members_need_others_is_refused():
    members = [each for each in resolved([query("a", suppress=("b",)), query("b")]) if each.query_id == "a"]
    with pytest.raises(ValueError, match="no query 'b' is in the set"):
        PromptSet.of(members, np.zeros((1, 3))).contests  # noqa: B018
    with pytest.raises(ValueError, match="no query 'b' is in the set"):
        resolved([query("a", suppress=("b",))])
    with pytest.raises(ValueError, match="the queries it names are not known"):
        query("a", suppress=("b",)).digest()


def test_what_shares_prompts_meets_once_and_in_bounded_numbers():
    shared = [query("rest"), *(query(f"n{number:03d}", suppress=("rest",)) for number in range(400))]
    found = set_of(shared).contests
    assert [len(contest.prompts) for contest in found] == [
        contests.MOST,
        contests.MOST,
        400 - 2 * (contests.MOST - 1) + 1,
    ]
    assert sum(len(contest.outputs) for contest in found) == 400
    whole = [query(f"n{number:03d}", group="g", place=number) for number in range(400)]
    (contest,) = set_of(whole).contests
    assert (len(contest.prompts), len(contest.outputs)) == (400, 400)
    apart = [query(f"{group}{number}", group=group, place=number) for group in "ab" for number in range(3)]
    assert [contest.prompts for contest in set_of(apart).contests] == [(0, 1, 2), (3, 4, 5)]
    bound = [*apart, query("z", expression=parse("a0 AND NOT b0"))]
    assert [contest.prompts for contest in set_of(bound).contests] == [(0, 1, 2, 3, 4, 5)]
