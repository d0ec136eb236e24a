"""Tables of an Iceberg catalog have the files that are listed, where they lie, and follow what becomes of them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import clipseg_ray
from clipseg_ray.errors import UserError
from clipseg_ray.storage import Store
from clipseg_ray.upkeep import iceberg
from clipseg_ray.upkeep.compaction import Compactor, prepare
from tests.clients.catalogs import sqlite_catalog

pytestmark = pytest.mark.clients
COLUMNS = ["image_id", "query_id", "area", "counts", "bbox", "score", "heat"]


@pytest.fixture(autouse=True)
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Opens a table of the catalog ``lake``."""
    sqlite_catalog("lake", tmp_path, monkeypatch)

    def table(name: str) -> Any:
        from pyiceberg.catalog import load_catalog

        return load_catalog("lake").load_table(name)

    return table


def rows(table: Any) -> list[dict[str, Any]]:
    found = table.scan().to_arrow().select(COLUMNS).to_pylist()
    return sorted(found, key=lambda row: (row["image_id"], row["query_id"]))


def expected(output: str) -> list[dict[str, Any]]:
    with clipseg_ray.open(output) as masks:
        return masks.to_arrow("true ORDER BY image_id, query_id", COLUMNS).to_pylist()


def changes(output: str, namespace: str = "photos") -> list[tuple[int, int, int, int]]:
    done = iceberg.register(output, "lake", namespace)
    assert [each.name for each in done] == [f"lake.{namespace}.images", f"lake.{namespace}.masks"]
    return [(each.added, each.replaced, each.removed, each.files) for each in done]


def commits(table: Any) -> int:
    return len(table.metadata.metadata_log)


def test_tables_are_the_files_where_they_lie(made, catalog):
    before = {entry.path: entry.etag for entry in Store.of(made).list()}
    parts = len([path for path in before if path.startswith("masks/")])
    images = len([path for path in before if path.startswith("images/")])
    assert changes(made) == [(images, 0, 0, images), (parts, 0, 0, parts)]
    table = catalog("photos.masks")
    assert rows(table) == expected(made)
    assert table.schema().find_field("score").doc == "greatest probability on the model's grid"
    assert {task.file.file_path for task in table.scan().plan_files()} == {
        f"file://{made}/{path}" for path in before if path.startswith("masks/")
    }
    assert len(catalog("photos.images").scan().to_arrow()) == 12
    assert {entry.path: entry.etag for entry in Store.of(made).list()} == before
    was = commits(table)
    assert changes(made) == [(0, 0, 0, images), (0, 0, 0, parts)]
    assert commits(catalog("photos.masks")) == was, "nothing to do is no commit"


def test_what_becomes_of_parts_becomes_of_the_table(output, catalog):
    first, second, *others = sorted(Path(output, "masks").glob("*/*.parquet"))
    kept = first.read_bytes()
    first.unlink()
    assert changes(output)[1] == (len(others) + 1, 0, 0, len(others) + 1)
    was = commits(catalog("photos.masks"))
    pq.write_table(pq.read_table(second, partitioning=None).slice(1), second)  # other bytes, and a row fewer
    first.write_bytes(kept)
    gone = others.pop()
    gone.unlink()
    assert changes(output)[1] == (1, 1, 1, len(others) + 2)
    table = catalog("photos.masks")
    assert commits(table) == was + 1, "all of it in one commit"
    assert rows(table) == expected(output)
    touched = first.stat().st_mtime_ns + 10**9
    os.utime(first, ns=(touched, touched))  # of the same size, and another etag
    assert changes(output)[1] == (0, 1, 0, len(others) + 2)
    assert rows(catalog("photos.masks")) == expected(output)


def test_a_table_that_others_changed_is_brought_back(output, catalog):
    """Rows deleted there, and the list of what was registered cleaned away as Spark's remove_orphan_files would."""
    files = changes(output)[1][3]
    table = catalog("photos.masks")
    table.delete("area = 0")
    Path(table.properties[iceberg._LISTED].removeprefix("file://")).unlink()
    changes(output)
    table = catalog("photos.masks")
    assert len(list(table.scan().plan_files())) == files
    assert rows(table) == expected(output)


def test_a_compacted_dataset(made, tmp_path, catalog):
    job = prepare(made, str(tmp_path / "dest"))
    for group in job.todo:
        Compactor(job.spec)(group)
    assert changes(str(tmp_path / "dest"), "compacted")[1] == (1, 0, 0, 1)
    assert rows(catalog("compacted.masks")) == expected(made)
    changes(made)
    with pytest.raises(UserError, match=r"photos\.images: the table is of another dataset; choose another --namespace"):
        changes(str(tmp_path / "dest"))


def test_refusals(made, tmp_path, catalog):
    from pyiceberg.catalog import load_catalog

    with pytest.raises(UserError, match=r"catalog 'nowhere': .*PYICEBERG_CATALOG__NOWHERE__URI"):
        iceberg.register(made, "nowhere", "photos")
    load_catalog("lake").create_namespace("mine")
    load_catalog("lake").create_table("mine.images", pq.read_schema(next(Path(made, "images").glob("*.parquet"))))
    with pytest.raises(UserError, match="was not made by clipseg-ray register"):
        iceberg.register(made, "lake", "mine")
    with pytest.raises(UserError, match=r"cannot open paths with \?"):
        iceberg._uri(Store(f"{tmp_path}/a?b"), "masks/x.parquet")
