"""YAML that would cost any memory or time is refused at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from clipseg_ray import config, yaml_text
from clipseg_ray.errors import UserError
from clipseg_ray.queries.table import load_queries

PRINTABLE = st.characters(codec="utf-8", exclude_categories=("C", "Z"))
LAUGHS = "a: &a [x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "aliases"),
        ("a: &a {b: 1}\nc: {<<: *a}", "aliases"),
        ("a: &a [*a]", "aliases"),
        ("[" * 20_000, "nested deeper"),
        ("{a: " * 20_000, "nested deeper"),
        ("- " * 20_000, "nested deeper"),
        ("[" + "1," * 210_000 + "]", "more than 200000"),
        ("9" * 5000, "digits"),
        ("a: 1\nb: {c: 2, d: 3, c: 4}", "line 2: the key 'c' is there twice, in line 2 too; keep one"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
    ],
    ids=["laughs", "merge", "itself", "brackets", "braces", "dashes", "many", "digits", "twice", "object"],
)
def test_bombs(text: str, said: str, tmp_path: Path) -> None:
    started = time.process_time()
    with pytest.raises(yaml.YAMLError, match=said):
        yaml_text.load(text)
    assert time.process_time() - started < 60
    if len(text) < 100_000:
        (tmp_path / "a.yaml").write_text(text)
        with pytest.raises(UserError, match=r"a\.yaml"):
            config.load(str(tmp_path / "a.yaml"))
        with pytest.raises(UserError, match=r"a\.yaml"):
            load_queries(str(tmp_path / "a.yaml"), None, 0.5)
        with pytest.raises(UserError, match=r"-s pool\.max="):
            config.parse({}, [f"pool.max={text}"])


def test_plain_yaml_is_as_before() -> None:
    text = "a: {b: [1, 2.5, null, true, 'x']}\nc: 2001\n"
    assert yaml_text.load(text) == yaml.safe_load(text)
    assert yaml_text.load("") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("No", "No"),
        ("y", "y"),
        ("2001-01-02", "2001-01-02"),
        ("2001-99-99", "2001-99-99"),
        ("1_000", "1_000"),
        ("=", "="),
        ("True", True),
        ("FALSE", False),
        ("~", None),
        ("0", 0),
        ("-5", -5),
        ("0x1F", 31),
        ("5e-1", 0.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("-.inf", float("-inf")),
        ("!!str 010", "010"),
        ("'010'", "010"),
        ("!!float 3", 3.0),
        ("http://h:80/a", "http://h:80/a"),
    ],
)
def test_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    found = yaml_text.load(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("010", "010 begins with 0, which is octal to some; write 10, or '010' in quotes for a text"),
        ("007", "write 7, or '007' in quotes"),
        ("-0644", "begins with 0"),
        ("0o17", "begins with 0"),
        ("!!int 010", "begins with 0"),
        ("12:30", "12:30 is a number in base 60 to some; write it in quotes, '12:30'"),
        ("1:30:00.5", "base 60"),
        ("!!set {x, y}", "could not determine a constructor"),
        ("!!binary aGk=", "could not determine a constructor"),
        ("!!timestamp 2001-01-02", "could not determine a constructor"),
        ("!!bool yes", "yes is no bool"),
    ],
)
def test_what_is_read_in_two_ways_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(yaml.YAMLError, match=f"line 2: .*{said}"):
        yaml_text.load(f"a: 1\nb: {text}")


def test_two_sections_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("input: {url: a}\nmasks: {threshold: 0.4}\noutput: {url: b}\nmasks: {heat: 88}\n")
    with pytest.raises(UserError, match=r"a\.yaml: not valid YAML: line 4: the key 'masks' is there twice, in line 2"):
        config.load(str(tmp_path / "a.yaml"))


def test_numbers_know_how_they_were_written() -> None:
    found = yaml_text.load("[1.10, 0x1F, 5, 1e3]", yaml_text.WrittenLoader)
    assert found == [1.1, 31, 5, 1000.0]
    assert [str(number) for number in found] == ["1.10", "0x1F", "5", "1e3"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(PRINTABLE),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(PRINTABLE), inner),
        max_leaves=10,
    )
)
def test_what_is_dumped_reads_the_same_in_both_versions(value: object) -> None:
    text = yaml_text.dump(value)
    assert yaml_text.load(text) == yaml.safe_load(text) == value


@pytest.mark.parametrize(
    "text", ["1e5", "on", "010", "12:30", "0x1F", "0o17", "2001-01-02", "~", "1_000", "<<", "=", ""]
)
def test_a_text_stays_one(text: str) -> None:
    assert yaml_text.load(yaml_text.dump([text])) == yaml.safe_load(yaml_text.dump([text])) == [text]
