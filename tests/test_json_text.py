"""JSON that people send: keys once, numbers as they were written."""

from __future__ import annotations

import json
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipseg_ray import json_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_what_python_writes_is_read_as_it_was(value: object) -> None:
    assert json_text.load(json.dumps(value)) == value


@pytest.mark.parametrize(
    "text", ["3", "-7", "1.10", "1e3", "3.0", "-0", "1E5", "12345678901234567890123", "0.4000000059"]
)
def test_a_number_is_what_was_written(text: str) -> None:
    for value in (json_text.load(text), pickle.loads(pickle.dumps(json_text.load(text)))):
        assert str(value) == text
        assert value == json.loads(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' is there twice; keep one"),
        ('[{"x": {"b": 1, "b": 1}}]', "the key 'b' is there twice"),
        ("[" * 100_000, "nested too deep"),
        ('{"a": 1,}', "Illegal trailing comma|double quotes"),
        ("9" * 5000, "digits"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        json_text.load(text)


def test_nan_as_python_writes_it() -> None:
    assert math.isnan(json_text.load('{"caption": NaN}')["caption"])
