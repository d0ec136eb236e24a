"""``SegmentBatch`` in a pipeline of Ray Data, and by itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipseg_ray import Predictor
from clipseg_ray.errors import UserError
from clipseg_ray.ray_data import SegmentBatch
from clipseg_ray.results.schema import MASKS
from tests.pipeline import world

PAGE = Path(__file__).parents[2] / "docs" / "ray-data.md"
SIZES = ((120, 90), (100, 100), (90, 120))


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """Of several sizes."""
    (tmp_path / "photos").mkdir()
    for number, (width, height) in enumerate(SIZES):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(world.jpeg(number, width, height))
    return [str(path) for path in sorted((tmp_path / "photos").iterdir())]


@pytest.fixture
def segment(checkpoint_dir: Path) -> SegmentBatch:
    return SegmentBatch(
        str(checkpoint_dir), ["a cat", "a dog"], threshold=0.45, image="jpg", id_field="path", precision="fp32"
    )


def expected(checkpoint: Path, photos: list[str]) -> pa.Table:
    predictor = Predictor(str(checkpoint), precision="fp32")
    predictor.set_images(photos)
    return predictor.predict(["a cat", "a dog"], threshold=0.45).to_arrow()


def unnested(table: pa.Table) -> pa.Table:
    """The structs of all rows as a run's table, in its order."""
    rows = pa.Table.from_struct_array(pa.concat_arrays([chunk.flatten() for chunk in table["masks"].chunks]))
    return rows.sort_by([("query_id", "ascending"), ("image_id", "ascending")])


@pytest.mark.parametrize("form", ["numpy", "pyarrow"])
def test_batches_of_bytes_become_rows_of_a_run(
    segment: SegmentBatch, photos: list[str], checkpoint_dir: Path, form: str
) -> None:
    data = [Path(photo).read_bytes() for photo in photos]
    batch: Any = {"jpg": [*data, None, b"none"], "path": [*photos, "x", "y"], "more": [1, 2, 3, 4, 5]}
    if form == "pyarrow":
        out = segment(pa.table(batch))
        assert out.column_names == ["jpg", "path", "more", "masks", "masks_error"]
        assert out["masks"].type.value_type == pa.struct(list(MASKS))
        masks, errors = out["masks"].combine_chunks(), out["masks_error"].to_pylist()
    else:
        found = segment({name: np.array(values, object) for name, values in batch.items()})
        assert list(found) == ["jpg", "path", "more", "masks", "masks_error"]
        masks, errors = found["masks"], list(found["masks_error"])
    assert [len(each) for each in masks] == [2, 2, 2, 0, 0]
    rows = [row for each in masks for row in (each.as_py() if isinstance(each, pa.Scalar) else each.to_pylist())]
    rows.sort(key=lambda row: (row["query_id"], row["image_id"]))
    assert rows == expected(checkpoint_dir, photos).to_pylist()
    assert errors[:3] == [None] * 3
    assert "NoneType is no image" in errors[3]
    assert errors[4].startswith("no JPEG")


def test_empty_rows_and_ids_may_be_left_out(photos: list[str], checkpoint_dir: Path) -> None:
    segment = SegmentBatch(str(checkpoint_dir), "a cat", threshold=0.999, keep_empty=False, precision="fp32")
    out = segment(pa.table({"image": [Path(photo).read_bytes() for photo in photos]}))
    assert out["masks"].to_pylist() == [[], [], []]
    assert "image_id" not in [field.name for field in out["masks"].type.value_type]


def test_what_is_wrong_with_a_batch_is_said(segment: SegmentBatch, photos: list[str], checkpoint_dir: Path) -> None:
    with pytest.raises(UserError, match=r"no column 'jpg'; did you mean jpeg\?"):
        segment(pa.table({"jpeg": [b""], "path": ["x"]}))
    with pytest.raises(UserError, match="holds text; read the images"):
        segment(pa.table({"jpg": photos, "path": photos}))
    with pytest.raises(UserError, match="give queries, or a table"):
        SegmentBatch(str(checkpoint_dir))


def test_the_documented_pipeline_runs(ray_cluster: None, photos: list[str], tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    for folder in ('"photos/"', '"masks/"'):  # workers of this cluster are in another folder than the test
        assert folder in code
        code = code.replace(folder, f'"{tmp_path}/{folder[1:]}')
    exec(compile(code, str(PAGE), "exec"), {})
    table = pq.read_table(tmp_path / "masks")
    assert sorted(table["path"].to_pylist()) == photos
    rows = duckdb.sql(f"SELECT UNNEST(masks, max_depth := 2) FROM '{tmp_path}/masks/*.parquet'").to_arrow_table()
    assert rows.column_names == MASKS.names
    assert {(row["image_id"], row["query_id"]) for row in rows.to_pylist()} == {
        (photo, query_id) for photo in photos for query_id in ("a-boat", "seat")
    }
    assert {(row["image_width"], row["image_height"]) for row in rows.to_pylist()} == set(SIZES)
