import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import fsspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from pycocotools import mask as coco

import clipseg_ray
from clipseg_ray.errors import UserError
from clipseg_ray.results.shared_files import SharedFiles
from clipseg_ray.storage import Store

COUNTS = "SELECT query_id, count(*), count_if(area > 0), sum(area) FROM masks GROUP BY query_id ORDER BY query_id"


def test_importing_the_package_imports_nothing_heavy():
    loaded = "import sys, clipseg_ray; print([m for m in ('duckdb', 'pyarrow', 'torch', 'ray') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True).stdout == "[]\n"


def test_opening_does_not_need_torch(made):
    opened = f"m = clipseg_ray.open({made!r}); m.decode(m.to_arrow())"
    loaded = f"import sys, clipseg_ray; {opened}; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True).stdout == "False\n"


def test_every_tool_counts_the_same(made):
    """With the very lines of docs/read-with.md."""
    with clipseg_ray.open(made) as masks:
        expected = masks.sql(COUNTS).fetchall()
        assert sum(row[1] for row in expected) == 33
        assert sum(row[2] for row in expected) > 5
    folder = f"{made}/masks"
    with duckdb.connect() as plain:
        assert plain.sql(COUNTS.replace("FROM masks", f"FROM '{folder}/*/*.parquet'")).fetchall() == expected
    found = pl.scan_parquet(f"{folder}/**/*.parquet").group_by("query_id")
    found = found.agg(pl.len(), (pl.col("area") > 0).sum(), pl.col("area").sum().alias("sum"))
    assert found.sort("query_id").collect().rows() == expected
    groups = pd.read_parquet(folder).groupby("query_id").area
    assert [(key, len(own), (own > 0).sum(), own.sum()) for key, own in groups] == expected
    table = ds.dataset(folder).to_table()
    groups = table.append_column("found", pa.array(np.asarray(table["area"]) > 0)).group_by("query_id")
    summed = groups.aggregate([("area", "count"), ("found", "sum"), ("area", "sum")]).sort_by("query_id")
    assert list(zip(*summed.to_pydict().values(), strict=True)) == expected


def test_filters_and_columns(made):
    with clipseg_ray.open(made) as masks:
        where = "query_id = 'circle' AND area > 0"
        table = masks.to_arrow(where, ["image_id", "area"])
        assert table.column_names == ["image_id", "area"]
        assert 0 < table.num_rows < 33
        assert masks.to_pandas(where, ["image_id", "area"]).equals(table.to_pandas())
        assert masks.to_polars(where, ["image_id", "area"]).rows() == list(
            zip(*table.to_pydict().values(), strict=True)
        )
        assert {*masks.to_polars().columns} == {*masks.to_arrow().column_names} >= {"prompt_set", "counts"}


def test_decode_a_row_a_table_and_sizes(made):
    with clipseg_ray.open(made) as masks:
        table = masks.to_arrow("area > 0 ORDER BY image_id, query_id")
        rows = table.to_pylist()
        expected = [coco.decode({"size": [row["height"], row["width"]], "counts": row["counts"]}) for row in rows]
        assert (masks.decode(table) == np.array(expected)).all()
        assert (masks.decode(masks.to_polars("area > 0 ORDER BY image_id, query_id")) == np.array(expected)).all()
        assert (masks.decode(table.to_pandas()) == np.array(expected)).all()
        assert (masks.decode(rows[0]) == expected[0]).all()
        assert masks.decode(table, (10, 20)).shape == (len(rows), 10, 20)
        assert masks.decode(rows[0], "image").shape == (90, 120)
        mixed = table.set_column(
            table.column_names.index("image_height"), "image_height", pa.array(range(1, len(rows) + 1))
        )
        assert [mask.shape for mask in masks.decode(mixed, "image")][:3] == [(1, 120), (2, 120), (3, 120)]
        assert len(masks.decode(table.slice(0, 0))) == 0
        with pytest.raises(UserError, match="the rows lack height, width"):
            masks.decode(table.select(["counts"]))


def test_pictures(made):
    with clipseg_ray.open(made) as masks:
        images = masks.sql("SELECT * FROM images ORDER BY key").to_arrow_table()
        found = dict(zip(images["key"].to_pylist(), masks.source_images(images), strict=True))
    assert (
        str(found["broken"]) == "no JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF image: it is text"
    )  # what is no image is handed to nobody
    assert all(image[:2] == b"\xff\xd8" for key, image in found.items() if key != "broken")


def test_over_s3(bucket, upload):
    with clipseg_ray.open(upload(f"{bucket}/some/masks")) as masks:
        assert sum(row[1] for row in masks.sql(COUNTS).fetchall()) == 33
        table = masks.to_arrow("area > 0")
        assert len(masks.decode(table)) == table.num_rows


def test_threads_share_a_remote_file(upload):
    """What goes wrong when DuckDB's threads seek and read in fsspec's own files: see `SharedFiles`."""
    store = Store.of(upload("memory://shared/masks"))
    (entry, *_) = store.list("images")
    data = store.get(entry.path)
    file = SharedFiles((store, [entry])).open(SharedFiles.name_of(entry.path))
    file.seek(10)
    other = threading.Thread(target=file.seek, args=(500,))
    other.start()
    other.join()
    assert file.read(20) == data[10:30]
    assert (file.tell(), file.seek(-8, 2), file.read()) == (30, len(data) - 8, data[-8:])
    with clipseg_ray.open(store.url) as masks:
        assert sum(row[1] for row in masks.sql(COUNTS).fetchall()) == 33
        joined = "SELECT count(*) FROM masks a JOIN masks b USING (image_id) WHERE mask_iou(a.counts, b.counts) > 0.5"
        assert masks.sql(joined).fetchall()[0][0] > 0
    fsspec.filesystem("memory").rm("/shared", recursive=True)


def test_where_there_is_no_dataset(tmp_path):
    with pytest.raises(UserError, match="no dataset here"):
        clipseg_ray.open(str(tmp_path))


ODD = ["run[1]", "r*n?", "area=7", "query_id=x", "it's", "50%", "%20", "a b", "größe", "{a,b}", "a#b", "prompt_set=x"]


def odd_places(root: str, upload) -> dict[str, str]:
    """The dataset under each odd name, and beside them one that their names match as patterns."""
    upload(f"{root}/run1")
    return {name: upload(f"{root}/{name}/masks") for name in ODD}


def reads_alike(made: str, url: str) -> None:
    with clipseg_ray.open(made) as masks, clipseg_ray.open(url) as odd:
        for statement in (COUNTS, "SELECT count(*), count(DISTINCT prompt_set), min(prompt_set) FROM masks"):
            assert odd.sql(statement).fetchall() == masks.sql(statement).fetchall(), url
        assert odd.to_arrow().column_names == masks.to_arrow().column_names
        assert odd.sql("SELECT count(*) FROM images").fetchall() == [(12,)]
        assert odd.sql("SELECT * FROM queries").fetchall() == masks.sql("SELECT * FROM queries").fetchall()


def test_names_above_a_dataset_are_neither_patterns_nor_columns(made, upload, tmp_path):
    for url in odd_places(str(tmp_path), upload).values():
        reads_alike(made, url)


def test_names_above_a_remote_dataset_are_neither_patterns_nor_columns(made, upload, bucket):
    for url in odd_places(bucket, upload).values():
        reads_alike(made, url)


def test_only_files_that_runs_write_are_read(made, output):
    part = next(iter(Store.of(output).list("masks"))).path
    for name in (
        f"{part}.bak.parquet",
        "masks/x.parquet",
        "masks/copy/x.parquet",
        "images/._x.parquet",
        "images/deep/x",
    ):
        Store.of(output).put(name, Store.of(output).get(part))
    for name in ("masks/.DS_Store", "images/.DS_Store", "queries/.DS_Store", "queries/empty.parquet"):
        Store.of(output).put(name, b"")
    reads_alike(made, output)


def test_ten_thousand_parts_are_opened_at_once(output):
    """One listing, no request a part: DuckDB is told their names."""
    store = Store.of(output)
    part = next(entry for entry in store.list("masks"))
    folder, body = part.path.rpartition("/")[0], store.get(part.path)
    for number in range(10_000):
        Path(output, folder, f"{number:016x}-000000.parquet").write_bytes(body)
    started = time.perf_counter()
    with clipseg_ray.open(output) as masks:
        assert masks.sql("SELECT 1 FROM masks LIMIT 1").fetchall() == [(1,)]
    assert time.perf_counter() - started < 60
