"""Every line of docs/read-with.md does what the page says, but for those under *Not run*: tables count the same."""

import ast
import importlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import clipseg_ray
from clipseg_ray.report.export import Form, Images, command
from clipseg_ray.upkeep import iceberg
from tests.clients.catalogs import sqlite_catalog

pytestmark = pytest.mark.clients
PAGE = Path(__file__).parents[2] / "docs" / "read-with.md"
QUESTION = "SELECT query_id, count(*), sum(area)::BIGINT FROM masks WHERE area > 0 GROUP BY 1 ORDER BY 1"

MODULES = {
    "pl": "polars", "pd": "pandas", "pyarrow": "pyarrow.dataset", "dask": "dask.dataframe",
    "ray": "ray.data.expressions",
    "pycocotools": "pycocotools.coco", "pyiceberg": "pyiceberg.catalog",
}  # fmt: skip
"""What is imported for a name that a line begins with, where that is not the module of this name."""
COUNTING = [
    "Polars", "pandas", "Arrow", "DuckDB", "Spark", "Daft", "ClickHouse", "DataFusion", "Dask", "Ibis", "Ray Data",
    "Lance", "Delta, read", "Iceberg",
]  # fmt: skip
LOOKING = ["pycocotools", "supervision"]


def lines() -> dict[str, str]:
    """The lines of the page, by the client that their comment names, without those that are not run."""
    text = PAGE.read_text("utf-8").partition("\n## Not run\n")[0]
    code = "".join(re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S))
    said = [line.partition("  # ")[2] for line in code.splitlines()]
    return {
        said[each.end_lineno - 1].partition(":")[0]: ast.unparse(each)
        for each in ast.parse(code).body
        if isinstance(each, ast.Expr) and each.end_lineno is not None
    }


def run(client: str, names: dict[str, Any]) -> Any:
    """What the client's line gives, and what it imports is imported."""
    line = lines()[client]
    asked = {each.id for each in ast.walk(ast.parse(line)) if isinstance(each, ast.Name)}
    for name in asked - names.keys():
        module = MODULES.get(name, name)
        importlib.import_module(module)
        names[name] = importlib.import_module(module.partition(".")[0])
    return eval(line, names)


def counted(answer: Any) -> list[tuple[str, int, int]]:
    """Query, images and pixels of an answer of any kind, counted here where it has the rows themselves."""
    for method in ("to_pandas", "toPandas", "df", "compute"):
        if hasattr(answer, method):
            answer = getattr(answer, method)()
            break
    if "image_id" in answer.columns and "counts" in answer.columns:
        answer = answer.groupby("query_id").area.agg(["count", "sum"])
    rows = answer if "query_id" in answer.columns else answer.reset_index()
    number = [name for name in rows.columns if name != "query_id"]
    return sorted((str(row["query_id"]), *(int(row[name]) for name in number)) for _, row in rows.iterrows())


@pytest.fixture
def names(made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the lines begin with, in a folder of their own; the dataset is the suite's in place of the demo's."""
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(re.findall(r"^```python\n(masks = .*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)[0], found)
    return found | {"masks": f"{made}/masks", "files": f"{made}/masks/*/*.parquet"}


@pytest.fixture
def spark() -> Iterator[Any]:
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java, and there is none")
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[1]")
    local = {"spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    for name, value in local.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    session.stop()


def test_no_line_is_left_out() -> None:
    assert lines().keys() == {*COUNTING, *LOOKING, "Delta"}


@pytest.mark.parametrize("client", COUNTING)
def test_it_counts_the_same(
    client: str,
    made: str,
    names: dict[str, Any],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if client == "Spark":
        names["spark"] = request.getfixturevalue("spark")
    elif client == "Ray Data":
        request.getfixturevalue("ray_cluster")
    elif client == "Delta, read":
        run("Delta", names)
    elif client == "Iceberg":
        sqlite_catalog("lake", tmp_path, monkeypatch)
        iceberg.register(made, "lake", "photos")
    with clipseg_ray.open(made) as masks:
        expected = masks.sql(QUESTION).fetchall()
    assert len(expected) == 3
    assert counted(run(client, names)) == expected


@pytest.mark.parametrize("client", LOOKING)
def test_it_sees_images_and_masks(client: str, made: str, names: dict[str, Any]) -> None:
    command.export(made, "coco", Form.COCO, None, images=Images.COPY)
    with clipseg_ray.open(made) as masks:
        found = masks.sql("SELECT count(*) FILTER (area > 0) FROM masks").fetchall()[0][0]
    answer = run(client, names)
    if client == "pycocotools":
        assert (len(answer.imgs), len(answer.anns)) == (11, found)
        assert all(answer.annToMask(each).any() for each in answer.anns.values())
    else:
        assert len(answer) == 11
        seen = [detections.mask for _, _, detections in answer if len(detections)]
        assert sum(len(masks_phw) for masks_phw in seen) == found
        assert all(masks_phw.any((1, 2)).all() for masks_phw in seen)
