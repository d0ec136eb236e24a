"""Card, gallery and exported card say what the model inside the package is, once and near the top."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from clipseg_ray.model.drawn_scenes import KNOWS
from clipseg_ray.report import card, gallery
from clipseg_ray.report.export import Form, command
from clipseg_ray.results import layout, record
from clipseg_ray.storage import Store
from tests.report import world


@pytest.fixture
def output(tmp_path: Path) -> str:
    return world.write(tmp_path, [world.query("dog")], world.scattered(1, 4, ["dog"]))


def made_with(output: str, checkpoint: str) -> None:
    store = Store(output)
    made = record.require(store)
    store.put(layout.DATASET, replace(made, model={**made.model, "checkpoint": checkpoint}).to_json())


@pytest.mark.parametrize(("checkpoint", "times"), [("builtin:scenes", 1), ("CIDAS/clipseg-rd64-refined", 0)])
def test_it_is_said_once_of_photographs(output: str, tmp_path: Path, checkpoint: str, times: int) -> None:
    made_with(output, checkpoint)
    card.write(Store(output))
    written = Store(output).get(layout.CARD).decode()
    assert written.partition("## Made from")[0].count(f"**{KNOWS}**") == written.count(KNOWS) == times
    command.export(output, str(tmp_path / "hub"), Form.HUGGINGFACE, None)
    assert (tmp_path / "hub" / "README.md").read_text().count(f"**{KNOWS}**") == times
    page = Path(gallery.write(output, str(tmp_path / "page.html"))).read_text()
    shown = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert shown["caution"] == KNOWS * times
