"""Settings files of any shape: sections in lists and mappings, optional sections, and how faults are told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import pytest
from pydantic import Field

from clipseg_ray import storage
from clipseg_ray.errors import UserError
from clipseg_ray.settings import OneOrSeveral, Section, Settings


class Paint(Section):
    colour: Literal["red", "green"] = "red"
    coats: Annotated[int, Field(ge=1)] = 1


class House(Settings):
    examples: ClassVar[Mapping[str, str]] = {"url": "url: houses/"}

    url: str
    walls: list[Paint] = Field(default=[])
    doors: dict[str, Paint] = Field(default={})
    roof: Paint | None = None
    names: OneOrSeveral = Field(default=[])

    def faults(self) -> Iterator[str]:
        if self.roof is None and self.walls:
            yield "roof: walls need one"

    def absolute(self) -> Self:
        return self.model_copy(update={"url": storage.absolute(self.url)})


def test_sections_nest_in_lists_mappings_and_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "house.yaml"
    path.write_text("url: here\nwalls: [{colour: green}]\ndoors: {front: {coats: 2}}\nroof: {}\nnames: one\n")
    house = House.load("house.yaml", ["roof.coats=3", "doors.front.colour=green"])
    assert house.url == str(tmp_path / "here")
    assert house.walls == [Paint(colour="green")]
    assert house.doors == {"front": Paint(colour="green", coats=2)}
    assert house.roof == Paint(coats=3)
    assert house.names == ["one"]
    assert House.parse(house.resolved()) == house


def test_every_fault_is_told_with_the_place_it_stands_at() -> None:
    values = {
        "wals": [],
        "walls": [{"colour": "green"}, {"color": "green"}],
        "doors": {"front": {"coat": 2}, "back": {"coats": 0}},
        "roof": {"colour": "gren"},
    }
    with pytest.raises(UserError) as caught:
        House.parse(values, source="house.yaml")
    assert str(caught.value).splitlines() == [
        "house.yaml: 6 fault(s)",
        "  wals: unknown key; did you mean walls?",
        "  walls.1.color: unknown key; did you mean walls.1.colour?",
        "  doors.front.coat: unknown key; did you mean doors.front.coats?",
        "  url: required, e.g. url: houses/",
        "  doors.back.coats: input should be greater than or equal to 1 (got 0)",
        "  roof.colour: input should be 'red' or 'green' (got 'gren'); did you mean green?",
    ]


def test_faults_across_keys_are_the_models_own() -> None:
    with pytest.raises(UserError, match="roof: walls need one"):
        House.parse({"url": "a", "walls": [{}]})


def test_a_file_that_is_no_mapping_is_told_what_one_has(tmp_path: Path) -> None:
    path = tmp_path / "house.yaml"
    path.write_text("- a list")
    with pytest.raises(UserError, match=r"a configuration is a mapping of sections \(url, walls, …\), not a list"):
        House.load(str(path))
