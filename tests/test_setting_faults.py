"""Faults of values in our words, with every limit of the value."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from clipseg_ray import setting_faults
from clipseg_ray.settings import ByteCount, OneOrSeveral, Section, Settings


class Bed(Section):
    width: Annotated[float, Field(gt=0, lt=1)] | None = None
    legs: Annotated[int, Field(ge=3, le=6)] = 4
    weight: Annotated[ByteCount, Field(ge=1)] = 5
    colour: Literal["red", "green"] = "red"
    soft: bool = True
    makers: Annotated[OneOrSeveral, Field(min_length=1)] = Field(default=["a"])
    sides: tuple[Annotated[float, Field(ge=0)], float] = (1, 1)
    layers: Annotated[tuple[int, ...], Field(min_length=1)] = (1,)
    name: str = ""


class House(Settings):
    beds: list[Bed] = Field(default=[])
    rooms: dict[str, Bed] = Field(default={})
    best: Bed = Bed()


@pytest.mark.parametrize(
    ("bed", "line"),
    [
        ({"width": 1.5}, "width: it must be more than 0 and less than 1 (got 1.5)"),
        ({"width": float("nan")}, "width: it must be more than 0 and less than 1 (got nan)"),
        ({"width": "wide"}, "width: it must be a number (got 'wide')"),
        ({"legs": 2}, "legs: it must be at least 3 and at most 6 (got 2)"),
        ({"legs": 3.5}, "legs: it must be a whole number (got 3.5)"),
        ({"weight": 0}, "weight: it must be at least 1 (got 0)"),
        ({"weight": "heavy"}, "weight: write bytes as a number or like 8GiB, 500MB (got 'heavy')"),
        ({"colour": "gren"}, "colour: it must be 'red' or 'green' (got 'gren'); did you mean green?"),
        ({"soft": "very"}, "soft: it must be true or false (got 'very')"),
        ({"makers": []}, "makers: it must have at least 1 entry (got [])"),
        ({"makers": 5}, "makers.0: it must be text (got 5); put it in quotes"),
        ({"sides": [-1, 0]}, "sides.0: it must be at least 0 (got -1)"),
        ({"layers": []}, "layers: it must have at least 1 entry (got [])"),
        ({"layers": 3}, "layers: it must be a list (got 3)"),
        ({"name": 7}, "name: it must be text (got 7); put it in quotes"),
        (7, " it must be a section of keys (got 7)"),
    ],
)
@pytest.mark.parametrize("place", ["beds.0", "rooms.a.b", "best"])
def test_a_fault_is_said_with_what_is_right(bed: Any, line: str, place: str) -> None:
    values = {"beds.0": {"beds": [bed]}, "rooms.a.b": {"rooms": {"a.b": bed}}, "best": {"best": bed}}[place]
    with pytest.raises(ValidationError) as caught:
        House.model_validate(values)
    found = [setting_faults.line(item, House) for item in caught.value.errors()]
    assert found in ([f"{place}.{line}"], [f"{place}:{line}"])
    assert "nput" not in found[0]
    assert "instance" not in found[0]
