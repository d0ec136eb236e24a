"""YAML that would cost any memory or time is refused at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from clipseg_ray import config, yaml_text
from clipseg_ray.errors import UserError
from clipseg_ray.queries.table import load_queries

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
        ("2001-99-99", "month"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
    ],
    ids=["laughs", "merge", "itself", "brackets", "braces", "dashes", "many", "digits", "date", "object"],
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
        with pytest.raises(UserError, match=r"-s input\.url="):
            config.parse({}, [f"input.url={text}"])


def test_plain_yaml_is_as_before() -> None:
    text = "a: {b: [1, 2.5, null, yes, 'x']}\nc: 2001-01-02\n"
    assert yaml_text.load(text) == yaml.safe_load(text)
    assert yaml_text.load("") is None
