"""What travels with a submitted job, and what a cluster could not see."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from clipseg_ray import config
from clipseg_ray.errors import UserError
from clipseg_ray.queries.table import load_queries
from clipseg_ray.submit import bundle as parcel
from tests.pipeline import world

MUG = Path(__file__).parents[2] / "docs" / "queries"


def write(folder: Path, rows: list[dict[str, object]], where: str | None = None) -> config.RunConfig:
    """A configuration whose table lies in ``folder/tables`` with a picture and its mask below it."""
    pictures = folder / "tables" / "pictures"
    pictures.mkdir(parents=True)
    shutil.copy(MUG / "mug.jpg", pictures / "mug.jpg")
    shutil.copy(MUG / "mug-mask.png", pictures / "mask.png")
    (folder / "tables" / "secret.txt").write_text("not asked for")
    (folder / "tables" / "asked.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    values = world.settings(f"{folder}/in", f"{folder}/out", folder / "model", f"{folder}/tables/asked.jsonl")
    values["queries"]["where"] = where
    return config.parse(values, ["masks.threshold=0.3"])


def files(folder: Path) -> set[str]:
    """Every file of a parcel outside the package."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {path for path in found if not path.startswith("clipseg_ray/")}


ROWS: list[dict[str, object]] = [
    {"query_id": "mug", "kind": "picture", "image": "pictures/mug.jpg", "mask": "pictures/mask.png"},
    {"query_id": "cup", "kind": "text", "text": "a cup"},
]


def test_the_code_the_configuration_and_the_queries_travel_and_nothing_else(tmp_path: Path) -> None:
    settings = write(tmp_path, ROWS)
    with parcel.packed(settings, "my run.yaml", shared=False) as folder:
        assert files(folder) == {
            "my run.yaml",
            "queries/asked.jsonl",
            "queries/pictures/mug.jpg",
            "queries/pictures/mask.png",
        }
        package = {path.relative_to(folder).as_posix() for path in folder.rglob("clipseg_ray/**/*")}
        assert {"clipseg_ray/__main__.py", "clipseg_ray/queries/tables/affordances.csv"} <= package
        assert not [path for path in package if "__pycache__" in path]
        sent = yaml.safe_load((folder / "my run.yaml").read_text())
        assert sent["queries"]["table"] == "queries/asked.jsonl"
        assert sent["masks"]["threshold"] == 0.3
        there = load_queries(str(folder / "queries" / "asked.jsonl"), None, 0.3)
    here = load_queries(settings.queries.table or "", None, 0.3)
    assert [query.digest() for query in there] == [query.digest() for query in here]
    assert not folder.exists()


def test_pictures_of_rows_that_are_not_asked_stay(tmp_path: Path) -> None:
    with parcel.packed(write(tmp_path, ROWS, "kind = 'text'"), "run.yaml", shared=False) as folder:
        assert files(folder) == {"run.yaml", "queries/asked.jsonl"}


@pytest.mark.parametrize("outside", ["../mug.jpg", str(MUG / "mug.jpg")])
def test_pictures_from_elsewhere_are_refused_by_row(tmp_path: Path, outside: str) -> None:
    settings = write(tmp_path, [ROWS[1], {**ROWS[0], "image": outside}])
    with pytest.raises(UserError) as refused, parcel.packed(settings, "run.yaml", shared=False):
        pass
    assert f"row 2, image: {outside}: not in the table's folder" in str(refused.value)


def test_shipped_tables_are_in_the_package(tmp_path: Path) -> None:
    settings = config.parse(world.settings(f"{tmp_path}/in", "s3://b/out", tmp_path, "builtin:demo"))
    with parcel.packed(settings, "run.yaml", shared=False) as folder:
        assert files(folder) == {"run.yaml"}
        assert yaml.safe_load((folder / "run.yaml").read_text())["queries"]["table"] == "builtin:demo"


def test_what_only_this_machine_has(tmp_path: Path) -> None:
    values = world.settings("photos/", f"{tmp_path}/out", tmp_path / "model", "builtin:demo")
    assert parcel.local_data(config.parse(values)) == [
        f"input.url ({Path.cwd()}/photos)",
        f"output.url ({tmp_path}/out)",
        f"model.checkpoint ({tmp_path}/model)",
    ]
    remote = ["input.url=s3://b/in", "output.url=s3://b/out", "model.checkpoint=CIDAS/clipseg-rd64-refined"]
    assert parcel.local_data(config.parse(values, remote)) == []
