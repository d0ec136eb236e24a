"""The gate for text from outside: reversible, and what comes out of it everything takes."""

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipseg_ray.outside_text import DEEPEST, TOO_DEEP, entered, entered_bytes, entered_value, native, typed

PIECES = ["\\", "x", "u", "5c", "e9", "00", "d8", "ab", "\0", "\udce9", "\ud83d", "é", "a", "/"]
TEXT = st.one_of(
    st.text(alphabet=st.characters(min_codepoint=0, max_codepoint=0x10FFFF, categories=None)),
    st.lists(st.sampled_from(PIECES)).map("".join),
)


@given(TEXT)
def test_what_enters_is_text_that_all_can_hold_and_leaves_as_it_was(text: str) -> None:
    inside = entered(text)
    assert native(inside) == text
    assert "\0" not in inside
    assert pa.array([inside]).to_pylist() == [inside]
    assert json.loads(json.dumps(inside, ensure_ascii=False).encode()) == inside


@given(TEXT, TEXT)
def test_what_differed_outside_differs_inside(one: str, other: str) -> None:
    assert (entered(one) == entered(other)) == (one == other)


@given(st.binary())
def test_any_bytes_are_a_name(name: bytes) -> None:
    assert native(entered_bytes(name)).encode("utf-8", "surrogateescape") == name


@pytest.mark.parametrize(
    ("outside", "inside"),
    [
        ("0001.jpg", "0001.jpg"),
        ("C:\\pictures\\a b é 🙂%20.jpg", "C:\\pictures\\a b é 🙂%20.jpg"),
        ("caf\udce9.jpg", "caf\\xe9.jpg"),
        ("a cup \ud83d", "a cup \\ud83d"),
        ("a\0b", "a\\x00b"),
        ("caf\\xe9.jpg", "caf\\x5cxe9.jpg"),
        ("\\x5c", "\\x5cx5c"),
        ("\\xE9 \\x41 \\u0041", "\\xE9 \\x41 \\u0041"),
    ],
)
def test_codes(outside: str, inside: str) -> None:
    assert entered(outside) == inside


def test_a_person_may_type_a_code_as_a_message_shows_it() -> None:
    assert typed("caf\\xe9.jpg") == typed("caf\udce9.jpg") == "caf\\xe9.jpg"


def test_values_are_entered_with_their_keys_and_no_deeper_than_can_be_printed() -> None:
    assert entered_value({"k\ud83d": ["\udce9", 1, None, ("\0",)]}) == {"k\\ud83d": ["\\xe9", 1, None, ["\\x00"]]}
    deep = json.loads("[" * 900 + "]" * 900)
    inside = entered_value({"caption": deep})
    assert TOO_DEEP in json.dumps(inside)
    assert json.dumps(entered_value(json.loads("[" * DEEPEST + "]" * DEEPEST))) == "[" * DEEPEST + "]" * DEEPEST
