"""Settings files of any shape: sections in lists and mappings, optional sections, and how faults are reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import fsspec
import pytest
from pydantic import Field

from clipseg_ray.errors import UserError
from clipseg_ray.settings import CheckpointName, Location, Locations, OneOrSeveral, Section, Settings


class Paint(Section):
    colour: Literal["red", "green"] = "red"
    coats: Annotated[int, Field(ge=1)] = 1


class House(Settings):
    examples: ClassVar[Mapping[str, str]] = {"url": "url: houses/"}

    url: Location
    walls: list[Paint] = Field(default=[])
    doors: dict[str, Paint] = Field(default={})
    roof: Paint | None = None
    names: OneOrSeveral = Field(default=[])

    def faults(self) -> Iterator[str]:
        if self.roof is None and self.walls:
            yield "roof: walls need one"


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


def test_every_fault_is_reported_with_the_place_it_stands_at() -> None:
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
        "  doors.back.coats: it must be at least 1 (got 0)",
        "  roof.colour: it must be 'red' or 'green' (got 'gren'); did you mean green?",
    ]


def test_faults_across_keys_are_the_models_own() -> None:
    with pytest.raises(UserError, match="roof: walls need one"):
        House.parse({"url": "a", "walls": [{}]})


def test_a_file_that_is_no_mapping_is_reported_with_what_one_has(tmp_path: Path) -> None:
    path = tmp_path / "house.yaml"
    path.write_text("- a list")
    with pytest.raises(UserError, match=r"a configuration is a mapping of sections \(url, walls, …\), not a list"):
        House.load(str(path))


class Journey(Settings):
    start: Location | None = None
    stops: Locations = Field(default=[])
    sights: dict[str, Locations] = Field(default={})
    walker: Annotated[CheckpointName, Field(validate_default=True)] = "CIDAS/legs"
    word: str = "a/b"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a file goes; the working directory is another one."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "maps").mkdir()
    return tmp_path / "maps" / "journey.yaml"


def test_paths_of_a_file_are_relative_to_it(file: Path) -> None:
    file.write_text(
        "start: home\nstops: ['*.tar', '../a/{b,c}', /abs/d, ~/e, s3://b/f/../g, builtin:h]\n"
        "sights: {one: hill/, two: [sea, ../lake]}\nword: a/b\n"
    )
    journey = Journey.load("../maps/journey.yaml")
    maps, above = file.parent, file.parent.parent
    assert journey.start == f"{maps}/home"
    assert journey.stops == [
        f"{maps}/*.tar", f"{above}/a/{{b,c}}", "/abs/d", str(Path.home() / "e"), "s3://b/f/../g", "builtin:h"
    ]  # fmt: skip
    assert journey.sights == {"one": [f"{maps}/hill"], "two": [f"{maps}/sea", f"{above}/lake"]}
    assert journey.word == "a/b"
    assert Journey.load(str(file)) == journey == Journey.parse(journey.resolved())


def test_paths_of_overrides_and_of_programs_are_relative_to_the_working_directory(file: Path) -> None:
    file.write_text("start: home\nstops: [a, b]\nsights: {one: hill}\n")
    journey = Journey.load(str(file), ["stops=[c, ../d]", "sights.two=sea", "word=e/f"])
    here = Path.cwd()
    assert journey.start == f"{file.parent}/home"
    assert journey.stops == [f"{here}/c", f"{here.parent}/d"]
    assert journey.sights == {"one": [f"{file.parent}/hill"], "two": [f"{here}/sea"]}
    assert journey.word == "e/f"
    assert type(journey.word) is str
    assert Journey.load(str(file), ["start="]).start is None
    assert Journey.parse({"start": "home"}).start == f"{here}/home"


def test_paths_of_a_file_at_a_url_are_relative_to_its_folder() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/jobs/journey.yaml", b"stops: [a/*.tar, ../b/, ../../../c, /abs]\nwalker: ./legs\n")
    try:
        journey = Journey.load("memory://bucket/jobs/journey.yaml", ["start=home"])
    finally:
        memory.rm("/bucket", recursive=True)
    assert journey.stops == ["memory://bucket/jobs/a/*.tar", "memory://bucket/b/", "memory://bucket/c", "/abs"]
    assert journey.walker == "memory://bucket/jobs/legs"
    assert journey.start == str(Path.cwd() / "home")


def test_a_checkpoint_is_a_hub_name_unless_a_folder_has_it(file: Path) -> None:
    file.write_text("walker: CIDAS/feet\n")
    folder = file.parent / "CIDAS" / "feet"
    (Path.cwd() / "CIDAS" / "feet").mkdir(parents=True)
    assert Journey.load(str(file)).walker == "CIDAS/feet"
    assert Journey.load(str(file), ["walker=CIDAS/feet"]).walker == str(Path.cwd() / "CIDAS" / "feet")
    folder.mkdir(parents=True)
    assert Journey.load(str(file)).walker == str(folder)
    assert Journey.load(str(file), ["walker=./feet"]).walker == str(Path.cwd() / "feet")
    assert Journey.load(str(file), ["walker=s3://b/feet"]).walker == "s3://b/feet"
    file.write_text("{}")
    assert Journey.load(str(file)).walker == "CIDAS/legs"
    (file.parent / "CIDAS" / "legs").mkdir()
    assert Journey.load(str(file)).walker == str(file.parent / "CIDAS" / "legs")


@pytest.mark.parametrize("url", ["s3://key:hunter2@bucket/a", "https://host/a?X-Amz-Signature=hunter2"])
def test_no_path_holds_a_secret_and_none_is_repeated(url: str) -> None:
    with pytest.raises(UserError) as caught:
        Journey.parse({"start": url, "stops": ["a", url], "sights": {"one": url}, "walker": url})
    kind = url.split(":")[0]
    assert str(caught.value).splitlines()[1:] == [
        f"  {key}: {kind}://… holds credentials; give them in the environment instead"
        for key in ("start", "stops", "sights.one", "walker")
    ]


class Errand(Settings):
    places: Locations = Field(default=[])
    home: Location | None = None
    by: Literal["on foot", "on", "off"] = "off"
    at: str | None = None
    notes: OneOrSeveral = Field(default=[])
    most: int | None = None
    quick: bool = False
    names: dict[str, str] = Field(default={})


@pytest.mark.parametrize(
    "text",
    [
        "dir #2",
        "*.jpg",
        "[x].jpg",
        "[0-9][0-9].tar",
        "{1..3}.jpg",
        "010",
        "12:30",
        "on",
        "- a",
        "&a",
        "!x",
        "@x",
        "a: b",
        "%d",
        "`",
        "null.jpg",
    ],
)
def test_a_text_of_the_command_line_is_taken_as_it_is(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    errand = Errand.parse({}, [f"places={text}", f"home={text}", f"at={text}", f"notes={text}", f"names.x={text}"])
    assert errand.places == [f"{tmp_path}/{text}"]
    assert errand.home == f"{tmp_path}/{text}"
    assert (errand.at, errand.notes, errand.names) == (text, [text], {"x": text})


def test_other_values_of_the_command_line_are_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    errand = Errand.parse({}, ["notes=[a, 'b #2']", "at='a b'", "most=7", "quick=true", "names={a: b}", "by=on"])
    assert (errand.notes, errand.at, errand.most, errand.quick) == (["a", "b #2"], "a b", 7, True)
    assert (errand.names, errand.by) == ({"a": "b"}, "on")
    assert Errand.parse({"most": 3, "at": "x", "home": "y"}, ["most=", "at=null", "home="]) == Errand()
    with pytest.raises(UserError, match=r"-s most=010: .*010 begins with 0, which is octal to some; write 10"):
        Errand.parse({}, ["most=010"])
    with pytest.raises(UserError, match=r"plces: unknown key; did you mean places\?"):
        Errand.parse({}, ["plces=*.jpg"])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_a_file_in_any_unicode(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "errand.yaml").write_bytes("at: Café\nby: on\n".encode(encoding))
    errand = Errand.load(str(tmp_path / "errand.yaml"))
    assert (errand.at, errand.by) == ("Café", "on")


def test_a_file_in_latin_1_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "errand.yaml").write_bytes("by: on\nat: Café\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"errand\.yaml: .*byte 0xe9 in line 2 is no UTF-8; save it as UTF-8$"):
        Errand.load(str(tmp_path / "errand.yaml"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://[::1/x", r"url: no valid URL \(Invalid IPv6 URL\)"),
        ("http://host:port/x", r"url: no valid URL \("),
        ("a\0b", "url: no name has a null byte"),
        (None, "url: it must be given"),
    ],
)
def test_locations_that_cannot_be(url: str | None, said: str) -> None:
    with pytest.raises(UserError, match=said):
        House.parse({"url": url})
