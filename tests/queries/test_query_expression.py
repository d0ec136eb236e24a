import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipseg_ray.queries.expression import DEEPEST, Operation, ids, parse, text_of

IDS = st.one_of(
    st.sampled_from(["chair", "sit-on", "mug@0.3", "and", "Or", "NOT", 'a "b" c', "(", " padded ", "é|ü", "-", "a,b"]),
    st.text(min_size=1, max_size=8),
)
TERMS = st.recursive(
    IDS,
    lambda inner: st.one_of(
        st.builds(lambda term: Operation("not", (term,)), inner),
        st.builds(
            lambda operator, terms: Operation(operator, tuple(terms)),
            st.sampled_from(["and", "or"]),
            st.lists(inner, min_size=2, max_size=4),
        ),
    ),
    max_leaves=12,
)


@given(TERMS)
def test_what_is_written_is_read_back(term):
    assert parse(text_of(term)) == term


@given(TERMS, st.sampled_from(["", " ", "\n\t"]))
def test_case_space_and_needless_parentheses_mean_nothing(term, space):
    text = text_of(term)
    assert parse(f"{space}( {space}{text}) {space}") == term
    for word in ("AND", "OR", "NOT"):
        if '"' not in text:
            text = text.replace(f"{word} ", f"{word.lower()} {space}")
    assert parse(text) == term


@given(st.text(alphabet='ab ()"ANDORT\n', max_size=30))
def test_any_text_is_read_or_its_fault_has_a_place(text):
    try:
        term = parse(text)
    except ValueError as error:
        place, _, said = str(error).partition(": ")
        assert 1 <= int(place.removeprefix("column ")) <= len(text) + 1
        assert said
    else:
        assert parse(text_of(term)) == term


def test_not_binds_before_and_and_before_or():
    assert parse("a OR NOT b AND c") == Operation("or", ("a", Operation("and", (Operation("not", ("b",)), "c"))))
    assert parse("sit-on AND NOT (chair OR sofa)") == Operation(
        "and", ("sit-on", Operation("not", (Operation("or", ("chair", "sofa")),)))
    )
    assert list(ids(parse("a and (b or a)"))) == ["a", "b", "a"]
    assert text_of(parse("((a)) or (b and c)")) == "a OR b AND c"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "column 1: a query_id, NOT or ( is expected, not the end"),
        ("chair AND", "column 10: a query_id, NOT or ( is expected, not the end"),
        ("chair AND  OR sofa", "column 12: a query_id, NOT or ( is expected, not 'OR'"),
        ("chair sofa", "column 7: 'sofa' follows without AND or OR; an id with spaces needs double quotes"),
        ("chair NOT sofa", "column 7: 'NOT' follows without AND or OR"),
        ("chair (sofa)", "column 7: '(' follows without AND or OR"),
        ("a AND (b OR c", "column 7: this ( is never closed"),
        ("a AND (b c)", "column 10: AND, OR or ) is expected, not 'c'"),
        ("a OR b)", "column 7: this ) was never opened"),
        ("()", "column 2: a query_id, NOT or ( is expected, not ')'"),
        ('a OR "b', "column 6: this quote is never closed"),
        ('a OR ""', "column 6: an id in quotes is empty"),
        ("NOT " * (DEEPEST + 1) + "a", f"column {4 * DEEPEST + 1}: more than {DEEPEST} parentheses and NOTs"),
        ("(" * 100_000, f"column {DEEPEST + 1}: more than {DEEPEST} parentheses and NOTs"),
    ],
)
def test_faults_have_their_place(text, message):
    with pytest.raises(ValueError, match="column") as caught:
        parse(text)
    assert str(caught.value).startswith(message)


def test_long_chains_are_no_depth():
    term = parse(" OR ".join(f"thing-{number}" for number in range(50_000)))
    assert len(term.operands) == 50_000
