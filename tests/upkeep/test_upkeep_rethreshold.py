import json
import math

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import torch
from pycocotools import mask as coco

import clipseg_ray
from clipseg_ray import config
from clipseg_ray.errors import UserError
from clipseg_ray.masks import algebra, moving
from clipseg_ray.masks.heat import quantised
from clipseg_ray.masks.rle import decode
from clipseg_ray.pipeline.plan import look
from clipseg_ray.storage import Store
from clipseg_ray.upkeep.rethreshold import rethreshold
from clipseg_ray.upkeep.verification import verify
from tests.made import make
from tests.pipeline import world
from tests.tars import tar_of


def cell_means(maps: torch.Tensor, cells: int = 16) -> torch.Tensor:
    """The mean of each of ``cells`` × ``cells`` cells."""
    return torch.nn.functional.adaptive_avg_pool2d(maps[:, None], cells)[:, 0]


def smooth(count: int, side: int = 64) -> torch.Tensor:
    """float32 [count, side, side] logits: blobs, the last of them nowhere above -2."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(count, 1, 6, 6, generator=generator) * 4
    logits = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic", align_corners=False)[:, 0]
    logits[-1] = logits[-1].clamp(max=-2)
    return logits


def test_heat_has_the_cells_means_once_it_is_interpolated():
    logits_phw = smooth(5)
    heat = quantised(logits_phw.transpose(1, 2), 16)
    assert (heat.dtype, tuple(heat.shape)) == (torch.uint8, (5, 16, 16))
    expected = cell_means(logits_phw.clamp(-6, 6))
    logits = torch.logit((heat.float() / 255).clamp(0.5 / 255, 1 - 0.5 / 255))
    back = torch.nn.functional.interpolate(logits[:, None], (64, 64), mode="bilinear")[:, 0]
    middle = expected.abs() < 3  # a byte is fine there
    assert (cell_means(back) - expected)[middle].abs().max() < 0.2
    assert (cell_means(back) - expected)[middle].abs().max() < (logits - expected)[middle].abs().max()


def test_heat_at_the_grids_own_size_gives_the_masks_themselves():
    logits_phw = smooth(20, 48)
    heat = moving.heat_column(quantised(logits_phw.transpose(1, 2), 48).numpy())
    side = np.full(20, 48)
    found = moving.masks_at(heat, side, side, np.full(20, 0.5)).counts
    true = logits_phw.numpy() > 0
    assert (decode(found, 48, 48) != true).mean() < 0.004


def test_column_keeps_maps_and_leaves_out_zeros():
    heat = quantised(torch.cat([smooth(3), torch.full((1, 64, 64), -20.0)]), 16).numpy()
    column = moving.heat_column(heat)
    assert column.to_pylist() == [each.tobytes() for each in heat[:3]] + [None]
    assert len(moving.heat_column(np.zeros((0, 8, 8), np.uint8))) == 0


def test_moved_masks_are_those_of_the_interpolated_map():
    heat = quantised(smooth(4).transpose(1, 2), 16)
    sizes = np.array([[64, 64], [50, 70], [64, 64], [50, 70]])
    thresholds = np.array([0.3, 0.5, 0.7, 0.05])
    rles = moving.masks_at(moving.heat_column(heat.numpy()), *sizes.T, thresholds)
    for row, ((height, width), threshold) in enumerate(zip(sizes.tolist(), thresholds, strict=True)):
        logits = torch.logit((heat[row][None, None].float() / 255).clamp(0.5 / 255, 1 - 0.5 / 255))
        full = torch.nn.functional.interpolate(logits, (height, width), mode="bilinear")[0, 0]
        expected = full.numpy() > math.log(threshold / (1 - threshold))
        assert (decode(rles.counts.slice(row, 1), height, width)[0] != expected).mean() < 0.002
        assert rles.area[row] == decode(rles.counts.slice(row, 1), height, width).sum()


def test_agreement_with_the_logits_is_near():
    """A quarter of the grid's side: what docs recommend."""
    logits_phw = smooth(40, 176)
    heat = moving.heat_column(quantised(logits_phw.transpose(1, 2), 44).numpy())
    side = np.full(40, 176)
    for threshold in (0.2, 0.5, 0.8):
        found = moving.masks_at(heat, side, side, np.full(40, threshold)).counts
        true = logits_phw.numpy() > math.log(threshold / (1 - threshold))
        true = pa.array([coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"].decode() for mask in true])
        iou = algebra.iou(found, true).to_numpy()[algebra.area(true).to_numpy() > 50]
        assert iou.mean() > 0.97


def test_a_dataset_at_other_thresholds(made, tmp_path):
    moved = str(tmp_path / "moved")
    assert "33 masks" in rethreshold(made, moved, 0.7)
    report = verify(moved)
    assert report.sound, report.text()
    with clipseg_ray.open(made) as before, clipseg_ray.open(moved) as after:
        assert after.sql("SELECT DISTINCT threshold FROM queries").fetchall() == [(0.7,)]
        order = "true ORDER BY query_id, image_id"
        old, new = before.to_arrow(order), after.to_arrow(order)
        for same in ("image_id", "query_id", "score", "image_width", "heat"):
            assert new[same].equals(old[same])
        areas = np.asarray(new["area"]), np.asarray(old["area"])
        assert (areas[0] <= areas[1] + 50).all()
        assert areas[0].sum() < areas[1].sum()
        assert (areas[0][np.asarray(new["score"]) <= 0.7] == 0).all()
        above = "score > 0.7 ORDER BY query_id, image_id"
        in_sql = before.sql(f"SELECT mask_rethreshold(heat, height, width, 0.7) FROM masks WHERE {above}")
        assert [row[0] for row in in_sql.fetchall()] == after.to_arrow(above)["counts"].to_pylist()


def test_only_some_queries_move_and_it_goes_on_where_it_stopped(made, tmp_path):
    moved = str(tmp_path / "moved")
    rethreshold(made, moved, {"circle": 0.9})
    part = next((tmp_path / "moved" / "masks").rglob("*.parquet"))
    part.unlink()
    rethreshold(made, moved, {"circle": 0.9})
    assert verify(moved).sound
    with clipseg_ray.open(made) as before, clipseg_ray.open(moved) as after:
        others = "query_id != 'circle' ORDER BY query_id, image_id"
        columns = ["image_id", "query_id", "area", "bbox", "counts", "score_mean"]
        assert after.to_arrow(others, columns).equals(before.to_arrow(others, columns))
        assert dict(after.sql("SELECT query_id, threshold FROM queries").fetchall()) == {
            "circle": 0.9,
            "sit": 0.5,
            "wheels": 0.5,
        }
    with pytest.raises(UserError, match="at other thresholds"):
        rethreshold(made, moved, {"circle": 0.8})


def test_refusals(made, tmp_path):
    with pytest.raises(UserError, match="no query square"):
        rethreshold(made, str(tmp_path / "a"), {"square": 0.5})
    with pytest.raises(UserError, match="strictly between 0 and 1"):
        rethreshold(made, str(tmp_path / "b"), 1.0)
    with pytest.raises(UserError, match="no dataset here"):
        rethreshold(str(tmp_path), str(tmp_path / "c"), 0.5)
    with pytest.raises(UserError, match="square maps of one size"):
        moving.masks_at(pa.array([b"12345"]), np.array([4]), np.array([4]), np.array([0.5]))


def test_sql_function_on_nulls_and_zeros():
    with duckdb.connect() as connection:
        clipseg_ray.register(connection)
        found = connection.execute(
            "SELECT mask_rethreshold(NULL, 4, 5, 0.5), mask_rethreshold(NULL, NULL, 5, 0.5), "
            "mask_area(mask_rethreshold(repeat('\\xFF'::BLOB, 4)::BLOB, 4, 5, 0.5))"
        ).fetchall()
    assert found == [("d0", None, 20)]


def test_phrases_and_masks_at_image_size(checkpoint_dir, tmp_path):
    files = {}
    for number in range(3):
        files[f"{number}.jpg"] = world.jpeg(number, 100 + number, 80)
        files[f"{number}.json"] = json.dumps({"phrases": ["a red circle", f"thing {number}"]}).encode()
    Store.of(str(tmp_path)).put("in/s.tar", tar_of(files))
    settings = world.settings(
        f"{tmp_path}/in",
        f"{tmp_path}/out",
        checkpoint_dir,
        "",
        masks={"heat": 24, "size": "image", "keep_empty": False},
    )
    settings["queries"] = {"from": "phrases"}
    make(settings)
    rethreshold(f"{tmp_path}/out", f"{tmp_path}/higher", 0.9)
    report = verify(f"{tmp_path}/higher")
    assert report.sound, report.text()
    with clipseg_ray.open(f"{tmp_path}/out") as before, clipseg_ray.open(f"{tmp_path}/higher") as after:
        rows = "SELECT count(*), sum(area), min(width), max(width) FROM masks WHERE area > 0"
        (many, large, *_), (few, small, *widths) = before.sql(rows).fetchall()[0], after.sql(rows).fetchall()[0]
        assert 0 < few <= many
        assert small < large
        assert set(widths) <= {100, 101, 102}
    with pytest.raises(UserError, match="keep_empty: false left out rows"):
        rethreshold(f"{tmp_path}/out", f"{tmp_path}/lower", 0.3)


def test_heat_is_part_of_what_may_not_change(made, checkpoint_dir):
    folder = made.removesuffix("/out")
    settings = world.settings(f"{folder}/in/*.tar", made, checkpoint_dir, f"{folder}/queries.jsonl", masks={"heat": 32})
    with pytest.raises(UserError, match=r"masks\.heat: the dataset has 24, this run 32"):
        look(config.parse(settings))
    del settings["masks"]
    with pytest.raises(UserError, match=r"masks\.heat: the dataset has 24, this run off"):
        look(config.parse(settings))
    settings["masks"], settings["output"] = {"heat": 97}, {"url": f"{folder}/another"}
    with pytest.raises(UserError, match="97 is more than the model's grid of 96"):
        make(settings)
