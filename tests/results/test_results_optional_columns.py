"""The optional columns are one list: what fills them, the record's section, docs/output.md and verify all go by it."""

import re
from pathlib import Path

import pyarrow as pa
import pytest

from clipseg_ray import config
from clipseg_ray.model.stage import FILLERS
from clipseg_ray.results import schema
from clipseg_ray.results.optional_columns import OPTIONAL, masks_schema, recorded, settings_of

OUTPUT_PAGE = Path(__file__).parents[2] / "docs" / "output.md"
OUTPUT = {"input": {"url": "in"}, "output": {"url": "out"}}


def test_every_one_is_filled_by_somebody():
    assert list(FILLERS) == [column.name for column in OPTIONAL]


def test_they_follow_the_others_in_their_own_order():
    assert masks_schema([]).equals(schema.MASKS, check_metadata=True)
    both = masks_schema(["heat", "image_id", "presence"])
    assert both.names == [*schema.MASKS.names, "presence", "heat"]
    assert all(field.metadata[b"description"] for field in both)
    assert masks_schema({"heat": 24}).names == [*schema.MASKS.names, "heat"]


def test_the_record_has_those_that_are_on():
    assert recorded(config.parse(OUTPUT)) == {}
    on = config.parse({**OUTPUT, "model": {"presence": True}, "masks": {"heat": 24}})
    assert recorded(on) == {"presence": True, "heat": 24}
    assert settings_of({"size": "model", "keep_empty": True, "presence": False}) == {}
    assert settings_of({"size": "model", "presence": True, "heat": 24}) == {"presence": True, "heat": 24}


def test_the_page_of_the_output_names_every_column():
    table = OUTPUT_PAGE.read_text("utf-8").partition("`masks`:\n")[2].partition("\n\n`images`:")[0]
    cells = [line.split("|")[1:4] for line in table.strip().splitlines()[2:]]
    named = [name for cell, _, _ in cells for name in re.findall(r"`(\w+)`", cell)]
    assert named == masks_schema([column.name for column in OPTIONAL]).names
    said = {re.findall(r"`(\w+)`", cell)[0]: text for cell, _, text in cells}
    assert all(f"only with `{column.setting}" in said[column.name] for column in OPTIONAL)


@pytest.mark.parametrize(
    ("name", "setting", "good", "bad"),
    [
        ("presence", True, [0.3, -1.0, 1.0000001], [1.2, float("nan"), -2.0]),
        ("heat", 2, [bytes(4), None], [bytes(5), b""]),
    ],
)
def test_checks_find_what_is_wrong(name, setting, good, bad):
    (column,) = (each for each in OPTIONAL if each.name == name)
    what, found = column.check(pa.chunked_array([pa.array(good + bad, column.field.type)]), setting)
    assert name in what
    assert found.to_pylist() == [False] * len(good) + [True] * len(bad)


def test_a_map_finer_than_the_grid_is_refused():
    by_name = {column.name: column for column in OPTIONAL}
    assert "a quarter" in by_name["heat"].refuse(97, 96)
    assert by_name["heat"].refuse(96, 96) is None
    assert by_name["presence"].refuse(True, 96) is None
