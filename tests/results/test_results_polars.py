import polars as pl
import pytest

import clipseg_ray
import clipseg_ray.polars
from clipseg_ray.masks import algebra


@pytest.fixture(scope="module")
def pairs(made):
    """Masks of one query beside those of another, as DuckDB and as Polars have them."""
    with clipseg_ray.open(made) as masks:
        frame = masks.to_polars()
    sides = [frame.filter(pl.col("query_id") == query).sort("image_id") for query in ("circle", "sit")]
    return sides[0].join(sides[1].select("image_id", "counts", "area"), on="image_id").lazy()


def test_pairs_equal_the_algebra(pairs):
    mask = pl.col("counts").mask
    found = pairs.select(
        iou=mask.iou("counts_right"),
        overlap=mask.overlap("counts_right"),
        union=mask.union("counts_right").mask.area(),
        difference=mask.difference(pl.col("counts_right")).mask.area(),
        both=mask.intersection("counts_right").mask.area(),
        any=pl.concat_list("counts", "counts_right").mask.union_all().mask.area(),
        area=mask.area(),
        stored=pl.col("area"),
    ).collect()
    assert found["area"].equals(found["stored"].rename("area"))
    assert (found["both"] == found["overlap"]).all()
    assert (found["any"] == found["union"]).all()
    assert (found["difference"] + found["both"] == found["area"]).all()
    first, second = (pairs.collect()[name].to_arrow() for name in ("counts", "counts_right"))
    assert found["iou"].to_list() == algebra.iou(first, second).to_pylist()
    assert found["iou"].max() > 0


def test_measures_and_sizes(pairs):
    mask = pl.col("counts").mask
    found = pairs.select(
        "bbox",
        "coverage",
        box=mask.bbox(),
        centre=mask.centroid(),
        inside=mask.box_coverage("height", 0, 0, "width", "height"),
        small=mask.resize("height", "width", 20, 30),
        moved=pl.col("heat").mask.rethreshold(0.999),
    ).with_columns(pixels=pl.col("small").mask.decode(20, 30), left=pl.col("moved").mask.area())
    found = found.collect()
    assert found["bbox"].to_list() == found["box"].to_list()
    assert found["inside"].to_list() == pytest.approx(found["coverage"].to_list())
    assert {len(pixels) for pixels in found["pixels"]} == {600}
    assert found["left"].sum() < pairs.collect()["area"].sum()
    assert all(centre is None or 0 <= centre["x"] < 96 for centre in found["centre"])


def test_geometry_is_that_of_sql(made, pairs):
    mask, other = pl.col("counts").mask, "counts_right"
    found = pairs.select(
        mask_xor=mask.xor(other),
        mask_complement=mask.complement(),
        mask_crop=mask.crop("height", 2, -3, 20, "height"),
        mask_components=mask.components(3),
        mask_components_4=mask.components(3, connectivity=4),
        mask_fill_holes=mask.fill_holes(),
        mask_dilate=mask.dilate(1.5),
        mask_erode=mask.erode(1.5),
        mask_open=mask.open(2),
        mask_close=mask.close(2),
        mask_boundary=mask.boundary(),
        mask_border_iou=mask.border_iou(other, 3),
        mask_distance=mask.distance(other),
        mask_polygons=mask.polygons(),
        mask_wkt=mask.wkt(1.5),
    ).collect()
    with clipseg_ray.open(made) as masks:
        asked = masks.sql(
            "SELECT mask_xor(a.counts, b.counts), mask_complement(a.counts), "
            "mask_crop(a.counts, a.height, 2, -3, 20, a.height), mask_components(a.counts, a.height, 3), "
            "mask_components_4(a.counts, a.height, 3), mask_fill_holes(a.counts, a.height), "
            "mask_dilate(a.counts, a.height, 1.5), mask_erode(a.counts, a.height, 1.5), "
            "mask_open(a.counts, a.height, 2), mask_close(a.counts, a.height, 2), "
            "mask_boundary(a.counts, a.height, 1), mask_border_iou(a.counts, b.counts, a.height, 3), "
            "mask_distance(a.counts, b.counts, a.height), mask_polygons(a.counts, a.height, 0), "
            "mask_wkt(a.counts, a.height, 1.5) FROM masks a JOIN masks b USING (image_id) "
            "WHERE a.query_id = 'circle' AND b.query_id = 'sit' ORDER BY image_id"
        ).fetchall()
    assert found.rows() == asked
    assert found["mask_components"].list.len().sum() > 0
    assert found["mask_polygons"].list.len().sum() > 0


def test_over_files_and_groups(made):
    """From a lazy scan, with a group's masks united."""
    scan = pl.scan_parquet(f"{made}/masks/**/*.parquet")
    united = scan.group_by("image_id").agg("counts", pl.col("area").max())
    found = united.with_columns(united=pl.col("counts").mask.union_all().mask.area()).collect()
    assert (found["united"] >= found["area"]).all()
