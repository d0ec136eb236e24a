"""Whole runs, on a local Ray cluster where that could matter: what goes in, what comes out, and that nothing is lost,
doubled or silent."""

import io
import json
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco
from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

from benchmarks.random_checkpoint import write_checkpoint
from clipseg_ray import config
from clipseg_ray.errors import UserError
from clipseg_ray.pipeline import describe, plan
from clipseg_ray.pipeline import outcome as outcomes
from clipseg_ray.results import backlog, reading, summary
from clipseg_ray.storage import Store
from tests.made import make
from tests.pipeline import world
from tests.tars import tar_of

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def table(tmp_path: Path) -> str:
    return world.write_table(tmp_path / "queries.jsonl")


def test_a_local_output_reads_as_one_table_everywhere(tmp_path: Path, checkpoint_dir: Path, table: str) -> None:
    world.write_tars(str(tmp_path / "in"))
    output = str(tmp_path / "out")
    assert world.run(world.settings(str(tmp_path / "in"), output, checkpoint_dir, table)).code == 0
    counts = {
        "duckdb": duckdb.sql(f"SELECT count(*) FROM '{output}/masks/**/*.parquet'").fetchall()[0][0],
        "polars": pl.scan_parquet(f"{output}/masks/**/*.parquet").select(pl.len()).collect().item(),
        "pandas": len(pd.read_parquet(f"{output}/masks")),
        "pyarrow": ds.dataset(f"{output}/masks").count_rows(),
    }
    assert set(counts.values()) == {30}, counts
    assert {path.name for path in Path(output).iterdir()} - {"contact-sheet.webp"} == {
        "README.md", "_dataset.json", "_inputs", "_runs", "_sets", "_shards", "images", "masks", "queries",
    }  # fmt: skip
    assert len(list((Path(output) / "images").iterdir())) == 6
    behind = backlog.read(output)
    assert (behind.shards, behind.finished, behind.images_parts, behind.unfinished) == (2, 2, 6, ())
    titles = [title for title, _, _ in summary.tables(output, 3)]
    assert titles == ["images", "queries", "the 3 best masks"]


@pytest.mark.parametrize("size", ["model", "image"])
def test_masks_equal_transformers_then_pycocotools(tmp_path: Path, checkpoint_dir: Path, table: str, size: str) -> None:
    world.write_tars(str(tmp_path / "in"), shards=1, images=3)
    output = str(tmp_path / "out")
    values = world.settings(
        str(tmp_path / "in"), output, checkpoint_dir, table, input={"decode": "exact"}, masks={"size": size}
    )
    make(values)
    model = CLIPSegForImageSegmentation.from_pretrained(checkpoint_dir).eval()
    processor = CLIPSegProcessor.from_pretrained(checkpoint_dir, backend="pil")
    texts = dict(world.QUERIES)
    rows = world.masks(output).to_pylist()
    assert len(rows) == 9
    differing = 0
    for row in rows:
        image = Image.open(io.BytesIO(world.jpeg(int(row["image_id"][-3:]))))
        inputs = processor(text=[texts[row["query_id"]]], images=[image], return_tensors="pt", padding=True)
        with torch.inference_mode():
            logits = model(**inputs).logits.reshape(1, 1, 96, 96)
        probability = logits.sigmoid()
        assert row["score"] == pytest.approx(probability.max().item(), abs=1e-4)
        if size == "image":
            logits = torch.nn.functional.interpolate(logits, size=image.size[::-1], mode="bilinear")
        expected = (logits[0, 0] > 0).numpy()
        assert [row["height"], row["width"]] == list(expected.shape)
        ours = coco.decode({"size": [row["height"], row["width"]], "counts": row["counts"]}).astype(bool)
        differing += int((ours != expected).sum())
        if (ours == expected).all():
            encoded = coco.encode(np.asfortranarray(expected.astype(np.uint8)))
            assert row["counts"].encode() == encoded["counts"]
            assert list(row["bbox"].values()) == coco.toBbox(encoded).tolist()
            if expected.any() and size == "model":
                assert row["score_mean"] == pytest.approx(probability[0, 0][expected].mean().item(), abs=1e-4)
        if not expected.any():
            assert row["score_mean"] is None
        assert (row["image_height"], row["image_width"]) == (90, 120)
        assert row["coverage"] == pytest.approx(row["area"] / (row["height"] * row["width"]))
    assert differing <= 3, "more than threshold ties"
    assert any(0 < row["area"] < row["height"] * row["width"] for row in rows)


def test_bad_input_becomes_rows_and_good_input_keeps_its_masks(
    tmp_path: Path, checkpoint_dir: Path, table: str
) -> None:
    files = {
        "good-1.jpg": world.jpeg(1),
        "cut.jpg": world.jpeg(2)[:-900],
        "text.jpg": b"this is no picture",
        "zero.jpg": b"",
        "bomb.png": world.bomb(),
        "good-2.jpg": world.jpeg(3),
    }
    store = Store.of(str(tmp_path / "in"))
    store.put("a.tar", tar_of(files))
    whole = tar_of({f"t{i}.jpg": world.jpeg(10 + i) for i in range(4)})
    store.put("b.tar", whole[: len(whole) // 2])
    output = str(tmp_path / "out")
    outcome = world.run(world.settings(str(tmp_path / "in"), output, checkpoint_dir, table))
    assert outcome.code == outcomes.COMPLETE, outcome.message
    rows = {row["image_id"]: row for row in world.images(output).to_pylist()}
    assert {key: rows[f"a.tar/{key}"]["status"] for key in ("good-1", "cut", "text", "zero", "bomb", "good-2")} == {
        "good-1": "ok",
        "cut": "undecodable",
        "text": "undecodable",
        "zero": "empty",
        "bomb": "too_large",
        "good-2": "ok",
    }
    truncated = [row for row in rows.values() if row["status"] == "truncated"]
    assert len(truncated) == 1
    assert "b.tar" in truncated[0]["error"]
    good = {image_id for image_id, row in rows.items() if row["status"] == "ok"}
    assert len(good) >= 3
    assert set(world.masks(output).column("image_id").to_pylist()) == good
    assert world.masks(output).num_rows == 3 * len(good)
    assert f"{len(rows) - len(good)} without masks" in outcome.message


def test_again_does_nothing_and_what_is_deleted_comes_back_byte_for_byte(
    tmp_path: Path, checkpoint_dir: Path, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write_tars(str(tmp_path / "in"))
    output = str(tmp_path / "out")
    values = world.settings(str(tmp_path / "in"), output, checkpoint_dir, table)
    make(values)
    before = world.digests(output, "masks") | world.digests(output, "images")
    assert len(before) == 12

    with monkeypatch.context() as patched:
        patched.setattr("clipseg_ray.storage.Store.open", lambda *_: pytest.fail("the input was read"))
        again = world.run(values)
    assert again.code == 0
    assert again.message.startswith("Nothing to do: all 6 chunk(s) of 2 shard(s) (10 images)")

    gone = sorted(path for path in before if path.startswith("masks/"))[1:3]
    times = {path: (Path(output) / path).stat().st_mtime_ns for path in before if path not in gone}
    for path in gone:
        Store.of(output).delete(path)
    assert "to do     2 chunk(s)" in describe.plan_text(plan.look(config.parse(values)))
    repaired = world.run(values)
    assert repaired.code == 0
    assert repaired.totals["chunks"] == 2
    assert world.digests(output, "masks") | world.digests(output, "images") == before
    assert {path: (Path(output) / path).stat().st_mtime_ns for path in times} == times, "a part was rewritten"


def test_a_replaced_shard_is_refused_and_an_added_one_is_added(
    tmp_path: Path, checkpoint_dir: Path, table: str
) -> None:
    source, output = str(tmp_path / "in"), str(tmp_path / "out")
    world.write_tars(source, shards=1)
    values = world.settings(source, output, checkpoint_dir, table)
    make(values)
    first = world.digests(output, "masks")
    world.write_tars(source, shards=1, first=7)
    added = world.run(values)
    assert added.code == 0
    assert added.totals["images"] == 5
    assert first.items() < world.digests(output, "masks").items()
    world.write_tars(source, shards=1, images=6)
    with pytest.raises(UserError, match=r"s-000\.tar") as caught:
        world.run(values)
    assert "was" in str(caught.value)
    assert "now" in str(caught.value)


def test_an_image_folder_grows_without_being_cut_anew(tmp_path: Path, checkpoint_dir: Path, table: str) -> None:
    source, output = tmp_path / "photos", str(tmp_path / "out")
    (source / "deep").mkdir(parents=True)
    for i in range(5):
        (source / "deep" / f"p{i}.jpg").write_bytes(world.jpeg(i))
    values = world.settings(str(source), output, checkpoint_dir, table, input={"slice_images": 3})
    make(values)
    assert world.images(output).column("image_id").to_pylist() == [f"deep/p{i}.jpg" for i in range(5)]
    (source / "deep" / "p0a.jpg").write_bytes(world.jpeg(9))
    more = world.run(values)
    assert more.code == 0
    assert more.totals["images"] == 1
    assert world.images(output).num_rows == 6
    assert world.masks(output).num_rows == 18


def test_more_queries_later_compute_only_themselves(tmp_path: Path, checkpoint_dir: Path) -> None:
    source, output = str(tmp_path / "in"), str(tmp_path / "out")
    world.write_tars(source, shards=1)
    small = world.write_table(tmp_path / "small.jsonl", world.QUERIES[:2])
    large = world.write_table(tmp_path / "large.jsonl", world.QUERIES)
    make(world.settings(source, output, checkpoint_dir, small))
    first = world.digests(output, "masks")
    more = world.run(world.settings(source, output, checkpoint_dir, large))
    assert more.code == 0
    assert more.totals["masks"] == 5
    assert first.items() < world.digests(output, "masks").items()
    rows = world.masks(output)
    assert rows.num_rows == 15
    assert len(set(zip(rows["image_id"].to_pylist(), rows["query_id"].to_pylist(), strict=True))) == 15
    assert len(set(rows["prompt_set"].to_pylist())) == 2

    with pytest.raises(UserError, match=r"circle: threshold: the dataset has 0\.5, this table 0\.3"):
        world.run(world.settings(source, output, checkpoint_dir, large, masks={"threshold": 0.3}))


def test_other_settings_are_refused_with_the_difference(tmp_path: Path, checkpoint_dir: Path, table: str) -> None:
    source, output = str(tmp_path / "in"), str(tmp_path / "out")
    world.write_tars(source, shards=1, images=2)
    make(world.settings(source, output, checkpoint_dir, table))
    other = world.settings(source, output, checkpoint_dir, table, input={"chunk_images": 3}, masks={"size": "image"})
    with pytest.raises(UserError) as caught:
        world.run(other)
    assert "input.chunk_images: the dataset has 2, this run 3" in str(caught.value)
    assert "masks.size: the dataset has 'model', this run 'image'" in str(caught.value)

    moved = tmp_path / "other-checkpoint"
    write_checkpoint(moved, image_size=96, seed=5)
    with pytest.raises(UserError, match=r"model\.weights_sha256: the dataset has"):
        world.run(world.settings(source, output, moved, table))

    same = tmp_path / "same-weights-elsewhere"
    shutil.copytree(checkpoint_dir, same)
    assert world.run(world.settings(source, output, same, table)).message.startswith("Nothing to do")


def test_a_failing_model_stops_the_run_early_and_names_the_query(
    tmp_path: Path, checkpoint_dir: Path, table: str
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(checkpoint_dir, broken)
    model = CLIPSegForImageSegmentation.from_pretrained(broken)
    with torch.no_grad():
        model.decoder.reduces[0].bias.fill_(float("nan"))
    model.save_pretrained(broken)
    world.write_tars(str(tmp_path / "in"), shards=3, images=12)
    output = str(tmp_path / "out")
    outcome = world.run(world.settings(str(tmp_path / "in"), output, broken, table))
    assert outcome.code == outcomes.INCOMPLETE
    assert "Stopped after 10 failed chunk(s)" in outcome.message
    assert "logits are not finite on image" in outcome.message
    assert outcome.totals["failed_chunks"] == 10
    assert world.digests(output, "masks") == {}
    record = json.loads(next((Path(output) / "_runs").glob(f"{outcome.run_id}.json")).read_text())
    assert record["state"] == "stopped"


def test_a_shard_that_vanished_is_named(tmp_path: Path, checkpoint_dir: Path, table: str) -> None:
    source, output = str(tmp_path / "in"), str(tmp_path / "out")
    world.write_tars(source)
    values = world.settings(source, output, checkpoint_dir, table)
    make(values)
    part = sorted(path for path in world.digests(output, "masks"))[0]
    Store.of(output).delete(part)
    (found,) = Path(output).glob(f"_shards/{Path(part).name[:16]}-*.json")
    shard = json.loads(found.read_text())["path"]
    Store.of(source).delete(shard)
    outcome = world.run(values)
    assert outcome.code == outcomes.INCOMPLETE
    assert f"{shard}: chunk 0 ({Path(part).name}) lacks ps-" in outcome.message
    assert "not found" in outcome.message


def test_shares_fill_one_output(tmp_path: Path, checkpoint_dir: Path, table: str) -> None:
    source, output = str(tmp_path / "in"), str(tmp_path / "out")
    world.write_tars(source, shards=4, images=2)
    world.divide(Path(source))
    make(world.settings(source, output, checkpoint_dir, table, input={"part": "1/2"}))
    assert 0 < world.images(output).num_rows < 8
    make(world.settings(source, output, checkpoint_dir, table, input={"part": "2/2"}))
    assert world.images(output).num_rows == 8
    assert world.run(world.settings(source, output, checkpoint_dir, table)).message.startswith("Nothing to do")


def test_a_limit_takes_the_first_images(tmp_path: Path, checkpoint_dir: Path, table: str) -> None:
    source, output = str(tmp_path / "in"), str(tmp_path / "out")
    world.write_tars(source, shards=3, images=4)
    values = world.settings(source, output, checkpoint_dir, table, input={"limit": 6})
    make(values)
    ids = world.images(output).column("image_id").to_pylist()
    assert ids == [f"s-000.tar/0-{i:03d}" for i in range(4)] + [f"s-001.tar/1-{i:03d}" for i in range(2)]
    assert world.run(values).message.startswith("Nothing to do")


def test_empty_masks_can_be_left_out(tmp_path: Path, checkpoint_dir: Path) -> None:
    source = str(tmp_path / "in")
    world.write_tars(source, shards=1, images=2)
    table = world.write_table(tmp_path / "q.jsonl", threshold=[0.5, 0.999999, 0.5])
    kept, left_out = str(tmp_path / "kept"), str(tmp_path / "left-out")
    make(world.settings(source, kept, checkpoint_dir, table))
    make(world.settings(source, left_out, checkpoint_dir, table, masks={"keep_empty": False}))
    rows = world.masks(kept).to_pylist()
    assert len(rows) == 6
    assert any(row["area"] == 0 for row in rows)
    assert [row for row in rows if row["area"]] == world.masks(left_out).to_pylist()


def test_plan_writes_nothing(tmp_path: Path, checkpoint_dir: Path, table: str) -> None:
    world.write_tars(str(tmp_path / "in"))
    found = plan.look(config.parse(world.settings(str(tmp_path / "in"), str(tmp_path / "out"), checkpoint_dir, table)))
    assert found.work.shards == 2
    assert not found.work.complete
    assert not (tmp_path / "out").exists()


def test_views_join_masks_images_and_queries(tmp_path: Path, checkpoint_dir: Path, table: str) -> None:
    world.write_tars(str(tmp_path / "in"), shards=1, images=2)
    output = str(tmp_path / "out")
    make(world.settings(str(tmp_path / "in"), output, checkpoint_dir, table))
    with reading.connect(Store.of(output)) as connection:
        rows = connection.sql(
            "SELECT q.texts[1], count(*) FROM masks m JOIN queries q USING (query_id) "
            "JOIN images i USING (image_id) WHERE i.status = 'ok' GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert rows == [("a red circle", 2), ("has wheels", 2), ("something to sit on", 2)]


def test_presence_is_clips_own_similarity(tmp_path: Path, checkpoint_dir: Path, table: str) -> None:
    world.write_tars(str(tmp_path / "in"), shards=1, images=2)
    output = str(tmp_path / "out")
    values = world.settings(
        str(tmp_path / "in"), output, checkpoint_dir, table, input={"decode": "exact"}, model={"presence": True}
    )
    make(values)
    model = CLIPSegForImageSegmentation.from_pretrained(checkpoint_dir).eval()
    processor = CLIPSegProcessor.from_pretrained(checkpoint_dir, backend="pil")
    for row in world.masks(output).to_pylist():
        image = Image.open(io.BytesIO(world.jpeg(int(row["image_id"][-3:]))))
        text = processor(text=[dict(world.QUERIES)[row["query_id"]]], return_tensors="pt")
        pixels = processor(images=[image], return_tensors="pt")
        with torch.inference_mode():
            towards = model.clip.get_image_features(**pixels).pooler_output
            query = model.clip.get_text_features(**text).pooler_output
        expected = torch.nn.functional.cosine_similarity(towards, query).item()
        assert row["presence"] == pytest.approx(expected, abs=1e-4)
    with pytest.raises(UserError, match=r"masks\.presence: the dataset has True, this run off"):
        world.run({**values, "model": {"checkpoint": str(checkpoint_dir)}})
