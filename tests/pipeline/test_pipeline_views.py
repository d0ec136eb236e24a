"""Datasets whose images are seen in tiles, by the job's own steps without Ray."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import clipseg_ray
from clipseg_ray import config
from clipseg_ray.errors import UserError
from clipseg_ray.forecast import step_costs
from clipseg_ray.masks import algebra
from clipseg_ray.masks.rle import decode
from clipseg_ray.pipeline import describe
from clipseg_ray.pipeline.plan import look
from clipseg_ray.pipeline.row import ChunkRow
from clipseg_ray.pipeline.segmenter import ChunkResult, Segmenter
from clipseg_ray.pipeline.settle import settle
from clipseg_ray.pixels.views import Views
from clipseg_ray.report import card, gallery
from clipseg_ray.report.export import Form, command
from clipseg_ray.storage import Store
from clipseg_ray.upkeep import compaction
from clipseg_ray.upkeep.rethreshold import rethreshold
from clipseg_ray.upkeep.verification import verify
from tests.made import make
from tests.pipeline import world

SIDE = 96
"""Of the checkpoint."""
SIZES = {"0": (120, 90), "1": (300, 200), "2": (200, 193), "3": (500, 500), "4": (192, 191)}
"""Tiles, of at most 2: 1, 2, 2, 2, 1."""
TILES = [1, 2, 2, 2, 1]
GROUP = {"group": ["names", "names", None], "suppress": [None, None, None]}


def _input(folder: Path, phrases: bool = False) -> str:
    files = {f"{name}.jpg": world.jpeg(int(name), *size) for name, size in SIZES.items()}
    if phrases:
        files |= {f"{name}.txt": f"a thing of {name}".encode() for name in SIZES}
    if not (folder / "in").exists():
        Store.of(str(folder / "in")).put("s.tar", world.tar_of(dict(sorted(files.items()))))
    return f"{folder}/in/*.tar"


def _settings(folder, checkpoint_dir, name, *, views=None, masks=None, table=None, **more):
    source = _input(folder)
    table = table or world.write_table(folder / "queries.jsonl", threshold=[0.45, 0.5, 0.55])
    model = {"checkpoint": str(checkpoint_dir), "precision": "fp32", **({} if views is None else {"views": views})}
    return world.settings(source, f"{folder}/{name}", checkpoint_dir, table, model=model, masks=masks or {}, **more)


def _rows(output):
    return {(row["image_id"].rpartition("/")[2][0], row["query_id"]): row for row in world.masks(output).to_pylist()}


def test_one_tile_has_todays_bytes(tmp_path, checkpoint_dir):
    for name, views in (("off", None), ("one", {"tiles": 1})):
        make(_settings(tmp_path, checkpoint_dir, name, views=views, masks={"heat": 24}))
    for folder in ("images", "masks", "queries"):
        off, one = (world.digests(f"{tmp_path}/{name}", folder) for name in ("off", "one"))
        assert off
        assert off == one


@pytest.fixture(scope="module")
def viewed(tmp_path_factory, checkpoint_dir):
    """(dataset in tiles, without)."""
    folder = tmp_path_factory.mktemp("views")
    for name, views in (("tiles", {"tiles": 2}), ("plain", None)):
        make(_settings(folder, checkpoint_dir, name, views=views, masks={"heat": 24}))
    return f"{folder}/tiles", f"{folder}/plain"


def test_each_image_has_its_own_grid_and_small_ones_their_masks_without(viewed):
    tiles, plain = map(_rows, viewed)
    assert tiles.keys() == plain.keys()
    assert len(tiles) == 15
    nonempty = 0
    for (image, query), row in tiles.items():
        side = SIDE * TILES[int(image)]
        assert (row["height"], row["width"]) == (side, side)
        assert len(row["heat"] or bytes(24 * 24)) == 24 * 24
        if side == SIDE:
            mine, theirs = (decode([each["counts"]], side, side)[0] for each in (row, plain[image, query]))
            assert (mine != theirs).sum() <= 2  # encoded beside others: ties of an ulp
        nonempty += row["area"] > 0
    assert nonempty > 5


def test_grids_are_checked(viewed, tmp_path):
    output = str(tmp_path / "out")
    shutil.copytree(viewed[0], output)
    assert verify(output).sound, verify(output).text()
    path = min(Path(output, "masks").rglob("*.parquet"))
    table = pq.ParquetFile(path).read()
    rows = [_shrunk(row) if row["height"] == 2 * SIDE else row for row in table.to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    faults = verify(output).faults
    assert any("its grid is not the one that model.views gives its image" in fault for fault in faults), faults


def _shrunk(row):
    """A sound row of half the side."""
    sides = [pa.array([side]) for side in (row["height"], row["width"], SIDE, SIDE)]
    counts = algebra.resize(pa.array([row["counts"]]), *sides)
    area = algebra.area(counts)[0].as_py()
    return row | {
        "height": SIDE,
        "width": SIDE,
        "counts": counts[0].as_py(),
        "area": area,
        "coverage": area / SIDE**2,
        "bbox": algebra.bbox(counts, sides[2])[0].as_py(),
    }


def test_readers_take_mixed_grids(viewed, tmp_path):
    found = clipseg_ray.open(viewed[0])
    table = found.sql("SELECT * FROM masks ORDER BY image_id, query_id").to_arrow_table()
    drawn = found.decode(table)
    assert {mask.shape for mask in drawn} == {(SIDE, SIDE), (2 * SIDE, 2 * SIDE)}
    assert {mask.shape for mask in found.decode(table, (64, 64))} == {(64, 64)}
    pairs = "FROM masks a JOIN masks b ON a.query_id = b.query_id AND a.image_id LIKE '%/0' AND b.image_id LIKE '%/1'"
    with pytest.raises(Exception, match=r"9216 and 36864 pixels; resize one .*in SQL by mask_resize"):
        found.sql(f"SELECT mask_iou(a.counts, b.counts) {pairs}").fetchall()
    resized = "mask_resize(a.counts, a.height, a.width, b.height, b.width)"
    assert len(found.sql(f"SELECT mask_iou({resized}, b.counts) {pairs}").fetchall()) == 3
    item = found.torch(["circle", "sit"], size=48)[0]
    assert item["masks"].shape == (2, 48, 48)
    moved = str(tmp_path / "moved")
    rethreshold(viewed[0], moved, 0.4)
    assert verify(moved).sound, verify(moved).text()
    sides = {row["height"] for row in world.masks(moved).to_pylist()}
    assert sides == {SIDE, 2 * SIDE}
    card.write(Store.of(viewed[0]))
    said = Path(viewed[0], "README.md").read_text()
    assert "on grids of 96×96 to 192×192 pixels, by the image's size" in said
    assert "tiles 2: 10 encodes and 10 decodes an image" in said


def test_exports_gallery_and_compaction_take_mixed_grids(viewed, tmp_path):
    every = {(row["image_id"], row["query_id"]): row for row in world.masks(viewed[0]).to_pylist()}
    for form in Form:
        command.export(viewed[0], f"{tmp_path}/{form.value}{'.json' if form is Form.COCO else ''}", form, None)
    exported = json.loads((tmp_path / f"{Form.COCO.value}.json").read_text())
    sizes = {image["id"]: [image["height"], image["width"]] for image in exported["images"]}
    assert len(exported["annotations"]) == sum(row["area"] > 0 for row in every.values())
    for found in exported["annotations"]:
        assert found["segmentation"]["size"] == sizes[found["image_id"]]
    page = gallery.write(viewed[0], str(tmp_path / "page.html"))
    assert Path(page).stat().st_size > 10_000
    job = compaction.prepare(viewed[0], f"{tmp_path}/compact")
    for group in job.todo:
        compaction.Compactor(job.spec)(group)
    assert world.masks(f"{tmp_path}/compact").to_pylist() == world.masks(viewed[0]).to_pylist()
    assert verify(f"{tmp_path}/compact").sound


def test_steps_are_measured_with_tiles(tmp_path, checkpoint_dir):
    values = _settings(tmp_path, checkpoint_dir, "out", views={"tiles": 2})
    settled = settle(look(config.parse(values)), "cpu", 1)
    tiled = step_costs.measure(settled.reader, Segmenter(settled.spec), settled.survey().todo, 0.2)
    assert tiled.masks == 3
    values = _settings(tmp_path, checkpoint_dir, "plain")
    settled = settle(look(config.parse(values)), "cpu", 1)
    plain = step_costs.measure(settled.reader, Segmenter(settled.spec), settled.survey().todo, 0.2)
    assert tiled.wall_s["model"] > 2 * plain.wall_s["model"]  # three of five images cost ten times as much


def test_masks_at_image_size_are_those_of_the_larger_map_resized(viewed, tmp_path, checkpoint_dir):
    make(_settings(tmp_path, checkpoint_dir, "out", views={"tiles": 2}, masks={"size": "image"}))
    assert verify(f"{tmp_path}/out").sound
    grid, image = _rows(viewed[0]), _rows(f"{tmp_path}/out")
    for (name, query), row in image.items():
        width, height = SIZES[name]
        assert (row["width"], row["height"]) == (width, height)
        own = grid[name, query]
        assert row["score"] == pytest.approx(own["score"], abs=1e-6)
        assert row["coverage"] == pytest.approx(own["coverage"], abs=0.02)


def test_presence_and_competition_go_with_tiles(tmp_path, checkpoint_dir):
    table = world.write_table(tmp_path / "competing.jsonl", threshold=[0.1, 0.1, 0.5], **GROUP)
    for name, views in (("tiles", {"tiles": 2}), ("plain", None)):
        values = _settings(tmp_path, checkpoint_dir, name, views=views, table=table, masks={"heat": 24})
        values["model"]["presence"] = True
        make(values)
    assert verify(f"{tmp_path}/tiles").sound, verify(f"{tmp_path}/tiles").text()
    tiles, plain = _rows(f"{tmp_path}/tiles"), _rows(f"{tmp_path}/plain")
    taken = 0
    for pair, row in tiles.items():
        assert row["presence"] == pytest.approx(plain[pair]["presence"], abs=1e-5)
        taken += row["area"]
    for name in SIZES:
        shared = [
            decode([tiles[name, query]["counts"]], *(2 * [SIDE * TILES[int(name)]]))[0] for query in ("circle", "sit")
        ]
        assert not (shared[0] & shared[1]).any()
    assert taken > 0


def test_refined_masks_go_with_tiles(viewed, tmp_path, checkpoint_dir):
    masks = {"heat": 24, "refine": "guided"}
    make(_settings(tmp_path, checkpoint_dir, "out", views={"tiles": 2}, masks=masks))
    assert verify(f"{tmp_path}/out").sound, verify(f"{tmp_path}/out").text()
    refined, plain = _rows(f"{tmp_path}/out"), _rows(viewed[0])
    assert {pair: row["height"] for pair, row in refined.items()} == {
        pair: row["height"] for pair, row in plain.items()
    }
    assert any(row["counts"] != plain[pair]["counts"] for pair, row in refined.items() if row["height"] == 2 * SIDE)


def test_phrases_go_with_tiles(tmp_path, checkpoint_dir):
    source = _input(tmp_path, phrases=True)
    for name, views in (("both", {"tiles": 2}), ("alone", {"tiles": 2})):
        table = {"table": world.write_table(tmp_path / "queries.jsonl")} if name == "both" else {}
        values = world.settings(source, f"{tmp_path}/{name}", checkpoint_dir, "", queries={"from": "txt", **table})
        if name == "alone":
            del values["queries"]["table"]
        values["model"]["views"] = views
        make(values)
        assert verify(f"{tmp_path}/{name}").sound
    both, alone = (world.masks(f"{tmp_path}/{name}") for name in ("both", "alone"))
    assert both.num_rows == 15 + 5
    assert alone.num_rows == 5
    texts = both.filter(pc.is_valid(both.column("query_text")))
    for ours, theirs in zip(texts.to_pylist(), alone.to_pylist(), strict=True):
        assert (ours["image_id"], ours["height"]) == (theirs["image_id"], theirs["height"])
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-6)


def test_chunks_close_by_the_pixels_of_their_setting_and_rows_travel(tmp_path, checkpoint_dir, monkeypatch):
    from clipseg_ray.sources import chunking

    monkeypatch.setattr(chunking, "PIXEL_BYTES", 3 * 3 * SIDE**2 * 5)
    values = _settings(tmp_path, checkpoint_dir, "out", views={"tiles": 2}, input={"chunk_images": 5})
    settled = settle(look(config.parse(values)), "cpu", 1)
    (work,) = settled.survey().todo
    rows = list(settled.reader.rows(work))
    assert [row.images.num_rows for row in rows] == [3, 2]
    assert [row.pixels.tiles_b.tolist() for row in rows] == [[1, 2, 2], [2, 1]]
    for row in rows:
        assert row.pixels.nbytes <= chunking.PIXEL_BYTES
        back = ChunkRow.from_arrow(row.to_arrow(), SIDE)
        np.testing.assert_array_equal(back.pixels.tiles_b, row.pixels.tiles_b)
        for number in range(len(row.pixels)):
            np.testing.assert_array_equal(back.pixels.finest(number), row.pixels.finest(number))


def test_a_resumed_run_and_one_in_parts_put_the_same_bytes(viewed, tmp_path, checkpoint_dir):
    values = _settings(tmp_path, checkpoint_dir, "out", views={"tiles": 2}, masks={"heat": 24})
    settled = settle(look(config.parse(values)), "cpu", 1)
    segmenter = Segmenter(settled.spec)
    (work,) = settled.survey().todo
    row = next(iter(settled.reader.rows(work)))
    segmenter.process(row, ChunkResult(shard=row.shard, chunk=row.chunk))
    first = world.digests(f"{tmp_path}/out", "masks")
    for part in ("1/2", "2/2"):
        values["input"]["part"] = part
        make(values)
    every = world.digests(f"{tmp_path}/out", "masks")
    assert first.items() < every.items()
    assert verify(f"{tmp_path}/out").sound
    assert _rows(f"{tmp_path}/out") == _rows(viewed[0])


def test_a_plan_says_what_views_multiply_and_other_views_are_refused(viewed, tmp_path, checkpoint_dir):
    values = _settings(Path(viewed[0]).parent, checkpoint_dir, "tiles", views={"tiles": 2}, masks={"heat": 24})
    plan = look(config.parse(values))
    assert "views     tiles 2: 10 encodes and 10 decodes an image" in describe.plan_text(plan)
    assert describe.plan_json(plan)["views"]["encodes"] == 10
    for views in (None, {"tiles": 3}, {"tiles": 2, "overlap": 0.25}, {"tiles": 2, "whole": False}):
        values["model"]["views"] = views
        with pytest.raises(UserError, match=r"made with other settings(.|\n)*masks\.views"):
            look(config.parse(values))


@pytest.mark.parametrize(
    ("views", "said"), [({"tiles": 5}, "tiles"), ({"overlap": 0.9}, "overlap"), ({"tile": 2}, "tiles")]
)
def test_settings_are_checked(views, said):
    values = {"input": {"url": "in"}, "output": {"url": "out"}, "model": {"views": views}}
    with pytest.raises(UserError, match=rf"model\.views\..*{said}|model\.views.*{said}"):
        config.parse(values)


@pytest.mark.parametrize(
    ("views", "said"),
    [
        ({"floor": 0.2}, "model.views.floor: of no use"),
        ({"for": "found", "whole": False}, "model.views.whole: queries that are not decoded in tiles"),
        ({"for": "found", "floor": -0.1}, "model.views.floor: -0.1 is no probability"),
        ({"for": "present", "floor": 0.2}, "model.views.for: present goes by model.presence"),
        ({"for": "present"}, "model.views.floor: give the cosine"),
    ],
)
def test_what_no_single_key_shows(views, said):
    values = {"input": {"url": "in"}, "output": {"url": "out"}, "model": {"views": views}}
    with pytest.raises(UserError, match=said):
        config.parse(values)


def test_found_queries_alone_are_decoded_in_tiles(viewed, tmp_path, checkpoint_dir):
    scores = np.sort([row["score"] for (name, _), row in _rows(viewed[1]).items() if TILES[int(name)] == 2])
    floor = float(scores[len(scores) // 2])
    values = _settings(tmp_path, checkpoint_dir, "out", views={"tiles": 2, "for": "found", "floor": floor})
    values["masks"] = {"heat": 24}
    assert f"not above {floor:g} are decoded once" in describe.plan_text(look(config.parse(values)))
    make(values)
    assert verify(f"{tmp_path}/out").sound, verify(f"{tmp_path}/out").text()
    found, every, plain = _rows(f"{tmp_path}/out"), *map(_rows, viewed)
    kinds = set()
    for pair, row in found.items():
        if TILES[int(pair[0])] == 2:
            kinds.add(plain[pair]["score"] > floor)
            assert row["height"] == 2 * SIDE
            if plain[pair]["score"] > floor:
                assert row["score"] == pytest.approx(every[pair]["score"], abs=1e-6)
            else:
                assert row["score"] <= plain[pair]["score"] + 1e-6
    assert kinds == {True, False}


def test_what_a_configuration_says_is_what_reader_and_model_get():
    values = {"input": {"url": "in"}, "output": {"url": "out"}}
    assert config.parse(values).model.views_of_images is None
    found = config.parse(values, ["model.views.tiles=3", "model.views.overlap=0.25"]).model.views_of_images
    assert found == Views(tiles=3, overlap=0.25, whole=True)
    assert config.parse(values, ["model.views.tiles=1"]).model.views_of_images is None


def test_a_model_whose_masks_are_smaller_than_its_input_is_refused(tmp_path):
    from benchmarks.random_checkpoint import write_checkpoint

    write_checkpoint(tmp_path / "odd", image_size=107)
    values = _settings(tmp_path, tmp_path / "odd", "out", views={"tiles": 2})
    with pytest.raises(UserError, match=r"model\.views: this model's masks are smaller than its input"):
        settle(look(config.parse(values)), "cpu", 1)
