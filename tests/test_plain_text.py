"""Text as people's tools write it: decoded where it shows what it is, refused in one line where not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipseg_ray.plain_text import Unread, text_of, value_of

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_unicode_encoding_is_read(encoding: str) -> None:
    text = '{"caption": "ein grüner Würfel, 赤い"}\n'
    assert text_of(text.encode(encoding)) == text


def test_a_byte_order_mark_of_utf_16_of_either_order() -> None:
    assert text_of(b"\xff\xfea\0b\0") == text_of(b"\xfe\xff\0a\0b") == "ab"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("a\nun café\n".encode("latin-1"), "byte 0xe9 in line 2 is no UTF-8; save it as UTF-8"),
        ("grün".encode("cp1252"), "byte 0xfc in line 1 is no UTF-8; save it as UTF-8"),
        ("赤い".encode("shift-jis"), "line 1 is no UTF-8"),
        (b"\xed\xa0\xbd", "line 1 is no UTF-8"),  # half a surrogate pair
        (b"\xff\xfea\0b", "it is no UTF-16, as which it begins"),
        (b"\x80\x04", "byte 0x80 in line 1"),
        (b"\xff\0", "byte 0xff in line 1"),
    ],
)
def test_what_is_no_unicode_is_refused_with_its_place(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        text_of(data)


@given(st.text())
def test_utf_8_is_itself(text: str) -> None:
    if not text.startswith("\ufeff") and "\0" not in text:
        assert text_of(text.encode()) == text


@given(st.binary())
def test_any_bytes_are_text_or_refused_in_one_line(data: bytes) -> None:
    try:
        said = text_of(data) and ""
    except ValueError as error:
        said = str(error)
    assert said == "" or (said.endswith("save it as UTF-8") and "\n" not in said)


def test_what_hides_a_field_stands_for_it() -> None:
    hidden = Unread("a.json cannot be read")
    assert value_of({"json": hidden}, "caption") is hidden
    assert value_of({"json": hidden, "caption": "x"}, "caption") == "x"
    assert value_of({"json": [1]}, "caption") is None
    assert str(hidden) == "a.json cannot be read"
