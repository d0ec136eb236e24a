"""docs/configuration.md says what the configurations say."""

from collections.abc import Iterator
from typing import Annotated, Literal

import pytest
from pydantic import Field

from clipseg_ray.settings import ByteCount, OneOrSeveral, Section
from clipseg_ray.training.config import TextConfig, VisionConfig
from tests.configuration_page import PAGE, PAGES, docstrings, page, section_of, sections


class Inner(Section):
    """What is inside: ``a | b``."""

    several: OneOrSeveral = ["x"]  # noqa: RUF012
    """One
    or more."""


class Base(Section):
    """Keys of both."""

    size: ByteCount = 2**21
    """How large."""


class Outer(Base):
    """All kinds."""

    name: str
    """Which."""
    mode: Literal["on", "off"] | None = None
    """How. Default: ``on``."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """How much."""
    range: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (1, 2)
    """From, to."""
    from_: str = Field(default="here", alias="from")
    """Whence."""
    inner: Inner = Inner()
    many: list[Inner] = []  # noqa: RUF012


def test_the_page_is_what_the_docstrings_give() -> None:
    assert PAGE.read_text() == page(), "docs/configuration.md is stale; run `make docs` and commit it"


@pytest.mark.parametrize("settings", [settings for _, settings, _ in PAGES])
def test_every_key_says_what_it_is(settings: type[Section]) -> None:
    assert list(undescribed(settings)) == []


def undescribed(section: type[Section]) -> Iterator[str]:
    """Keys without a docstring; the towers' are transformers' own."""
    for name, field in section.model_fields.items():
        inner = section_of(field.annotation)
        if inner is not None:
            yield from undescribed(inner)
        elif not docstrings(section).get(name) and section not in (VisionConfig, TextConfig):
            yield f"{section.__module__}.{section.__name__}.{name}"


def test_a_key_without_a_docstring_is_named() -> None:
    class Bare(Section):
        """Nothing to say."""

        key: int = 0

    assert [name.rpartition(".")[2] for name in undescribed(Bare)] == ["key"]


def test_kinds_defaults_bounds_and_inherited_keys() -> None:
    outer, inner, *_ = parts = list(sections(Outer, ""))
    assert outer.splitlines()[2:] == [
        "| `size` | bytes, also as `8GiB` | `2MiB` | How large. |",
        "| `name` | string | required | Which. |",
        "| `mode` | `on`, `off` |  | How. Default: `on`. |",
        "| `share` | number > 0 ≤ 1 | `0.5` | How much. |",
        "| `range` | 2 of: integer ≥ 1 | `[1, 2]` | From, to. |",
        "| `from` | string | `here` | Whence. |",
    ]
    assert inner == "### inner\n\nWhat is inside: `a \\| b`.\n"
    assert "| `several` | one or several strings | `[x]` | One or more. |" in parts[2]
    assert parts[3].startswith("### many[]\n")
