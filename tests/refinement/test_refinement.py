"""Datasets of some pairs of another, computed with finer settings, by the job's own steps without Ray."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import clipseg_ray
from benchmarks.random_checkpoint import write_checkpoint
from clipseg_ray.errors import UserError
from clipseg_ray.pipeline.segmenter import ChunkResult, Segmenter
from clipseg_ray.pipeline.settle import settle
from clipseg_ray.refinement.job import Request, look
from clipseg_ray.results import layout, record
from clipseg_ray.storage import Store
from clipseg_ray.upkeep.verification import verify
from tests.made import make
from tests.pipeline import world
from tests.tars import tar_of

SIDE = 96
"""Of the checkpoint."""
SIZES = {"0": (120, 90), "1": (300, 200), "2": (200, 193), "3": (500, 500), "4": (192, 191), "5": (210, 200)}
FINER = ("model.views.tiles=2", "masks.refine=guided")


def asking(output, destination, where, overrides=FINER, **more):
    return Request(output=str(output), destination=str(destination), where=where, overrides=overrides, **more)


def refine(*args, **more):
    """What a whole refinement writes; its settled plan."""
    settled = settle(look(asking(*args, **more)), "cpu", 1)
    segmenter = Segmenter(settled.spec)
    for work in settled.survey().todo:
        for row in settled.reader.rows(work):
            assert row.failure is None, row.failure
            result = ChunkResult(shard=row.shard, chunk=row.chunk)
            segmenter.process(row, result)
    return settled


def settings(folder, checkpoint_dir, name, finer=False, **more):
    table = world.write_table(folder / "queries.jsonl", threshold=[0.45, 0.5, 0.55])
    values = world.settings(f"{folder}/in", f"{folder}/{name}", checkpoint_dir, table, **more)
    if finer:
        values["model"]["views"] = {"tiles": 2}
        values["masks"] = {**values.get("masks", {}), "refine": "guided"}
    return values


def rows(output):
    return {(row["image_id"], row["query_id"]): row for row in world.masks(str(output)).to_pylist()}


def the_same(found, expected):
    """Rows by pair; an image's numbers may differ by an ulp with which others are decoded beside it."""
    assert found.keys() == expected.keys()
    for pair, row in found.items():
        other = expected[pair]
        for name in row.keys() - {"score", "score_mean"}:
            assert row[name] == other[name], (pair, name)
        assert row["score"] == pytest.approx(other["score"], abs=1e-6)
        assert row["score_mean"] == pytest.approx(other["score_mean"], abs=1e-6)


def some(output):
    """A condition for about half of the pairs, and these."""
    found = rows(output)
    scores = sorted(row["score"] for row in found.values())
    low, high = scores[len(scores) // 4], scores[3 * len(scores) // 4]
    pairs = {pair for pair, row in found.items() if low <= row["score"] <= high}
    assert 0 < len(pairs) < len(found)
    return f"score BETWEEN {low!r} AND {high!r}", pairs


@pytest.fixture(scope="module")
def world_of(tmp_path_factory, checkpoint_dir):
    """The folder of a dataset ``plain`` and of the whole one with finer settings, ``whole``."""
    folder = tmp_path_factory.mktemp("refinement")
    images = {f"{name}.jpg": world.jpeg(int(name), *size) for name, size in SIZES.items()}
    Store.of(f"{folder}/in").put("a.tar", tar_of({**images, "broken.jpg": b"none"}))
    Store.of(f"{folder}/in").put("b.tar", tar_of({"6.jpg": world.jpeg(6, 250, 250)}))
    for name, finer in (("plain", False), ("whole", True)):
        make(settings(folder, checkpoint_dir, name, finer, input={"chunk_images": 4}))
    return folder


@pytest.fixture(scope="module")
def refined(world_of):
    """(folder, pairs, settled) of a refinement of some pairs."""
    where, pairs = some(world_of / "plain")
    return world_of, pairs, refine(world_of / "plain", world_of / "finer", where)


def test_the_rows_are_those_of_a_run_with_the_finer_settings(refined):
    folder, pairs, _ = refined
    whole = rows(folder / "whole")
    the_same(rows(folder / "finer"), {pair: whole[pair] for pair in pairs})
    images = {row["image_id"]: row for row in world.images(f"{folder}/finer").to_pylist()}
    assert images.keys() == {image for image, _ in pairs}
    before = {row["image_id"]: row for row in world.images(f"{folder}/plain").to_pylist()}
    for image, row in images.items():
        assert {**row, "shard": "", "chunk": 0} == {**before[image], "shard": "", "chunk": 0}
    report = verify(f"{folder}/finer")
    assert report.sound, report.text()
    made = record.require(Store.of(f"{folder}/finer"))
    assert made.masks["pairs"]["from"] == record.require(Store.of(f"{folder}/plain")).fingerprint
    assert made.masks["views"]["tiles"] == 2


def test_every_pair_of_the_same_chunks_has_the_very_bytes(world_of, tmp_path):
    """Where all pairs are selected and chunks are the same, so is every number."""
    refine(world_of / "plain", world_of / "all", "true")
    found, expected = (world.masks(f"{world_of}/{name}") for name in ("all", "whole"))
    shards = world.images(f"{world_of}/whole").column("chunk").to_pylist()
    assert max(shards) > 0
    assert found.equals(expected)


def test_it_goes_on_where_it_was_stopped_with_the_pairs_that_were_frozen(refined, tmp_path):
    folder, _, _ = refined
    shutil.copytree(folder / "finer", tmp_path / "finer")
    shutil.copytree(folder / "plain", tmp_path / "plain")
    selection = json.loads((tmp_path / "finer" / layout.SELECTION).read_text())
    before = {name: world.digests(f"{tmp_path}/finer", name) for name in ("images", "masks", "_pairs", "_inputs")}
    parts = sorted((tmp_path / "finer" / "masks").rglob("*.parquet"))
    parts[0].unlink()
    (tmp_path / "finer" / "images" / parts[-1].name).unlink()
    parts[-1].unlink()
    for part in (tmp_path / "plain" / "masks").rglob("*.parquet"):
        part.unlink()  # what is frozen stays, whatever becomes of the dataset
    request = asking(tmp_path / "plain", tmp_path / "finer", selection["where"], allow_source=(str(folder),))
    again = look(request)
    assert len(list(again.work.missing())) == 2
    refine(tmp_path / "plain", tmp_path / "finer", selection["where"], allow_source=(str(folder),))
    assert before == {name: world.digests(f"{tmp_path}/finer", name) for name in before}
    done = look(request)
    assert done.nothing_left


def test_a_freeze_that_was_cut_off_is_made_anew(world_of, tmp_path, monkeypatch):
    from clipseg_ray.refinement import job

    where, pairs = some(world_of / "plain")
    request = asking(world_of / "plain", tmp_path / "out", where, allow_source=(str(world_of),))
    with monkeypatch.context() as patch:
        patch.setattr(job, "freeze", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            look(request)
    (tmp_path / "out" / layout.PAIRS / f"{'0' * 16}.parquet").write_bytes(b"of another call")
    plan = look(request)
    assert sum(shard.images for shard in plan.shards) == len({image for image, _ in pairs})
    assert "0" * 16 not in {shard.shard_id for shard in plan.shards}
    with pytest.raises(UserError, match=r"holds the pairs of .* where .*BETWEEN.*choose another DEST"):
        look(asking(world_of / "plain", tmp_path / "out", "true"))


def test_verify_names_a_row_that_is_lacking_and_one_too_many(refined, tmp_path):
    folder, pairs, _ = refined
    shutil.copytree(folder / "finer", tmp_path / "finer")
    part = max((tmp_path / "finer" / "masks").rglob("*.parquet"), key=lambda path: pq.read_metadata(path).num_rows)
    table = pq.read_table(part, partitioning=None)
    image, query = (table.column(name)[0].as_py() for name in ("image_id", "query_id"))
    pq.write_table(table.slice(1), part)
    assert f"lacks the row of image {image!r} and query {query!r}" in verify(f"{tmp_path}/finer").text()
    absent = next(other for other in ("circle", "sit", "wheels") if (image, other) not in pairs or other == query)
    index = table.column_names.index("query_id")
    others = pa.array([absent if absent != query else "none", *table.column("query_id").to_pylist()[1:]])
    pq.write_table(table.set_column(index, table.schema.field(index), others), part)
    assert "was not selected" in verify(f"{tmp_path}/finer").text()
    pairs_file = next((tmp_path / "finer" / layout.PAIRS).glob("*.parquet"))
    pairs_file.write_bytes(pairs_file.read_bytes()[:-1] + b"2")
    assert f"{layout.pairs_file(pairs_file.stem)}: cannot be read" in verify(f"{tmp_path}/finer").text()
    pairs_file.write_bytes(
        next(path for path in pairs_file.parent.glob("*.parquet") if path != pairs_file).read_bytes()
    )
    assert "its bytes are not those that were frozen" in verify(f"{tmp_path}/finer").text()
    pairs_file.unlink()
    assert f"{layout.pairs_file(pairs_file.stem)}: missing" in verify(f"{tmp_path}/finer").text()


def test_the_recipe_joins_both(refined):
    folder, pairs, _ = refined
    with clipseg_ray.open(f"{folder}/plain") as coarse:
        joined = coarse.sql(
            f"WITH finer AS (FROM read_parquet('{folder}/finer/masks/*/*.parquet', hive_partitioning = false)) "
            "FROM finer UNION ALL BY NAME FROM masks ANTI JOIN finer USING (image_id, query_id)"
        ).to_arrow_table()
    plain, whole = rows(folder / "plain"), rows(folder / "whole")
    assert joined.num_rows == len(plain)
    for row in joined.select(["image_id", "query_id", "height", "counts"]).to_pylist():
        pair = row["image_id"], row["query_id"]
        assert row["counts"] == (whole if pair in pairs else plain)[pair]["counts"]


def test_phrases_and_queries_of_a_folder_and_an_image_that_is_gone(tmp_path, checkpoint_dir):
    for name, size in SIZES.items():
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{name}.jpg").write_bytes(world.jpeg(int(name), *size))
    manifest = pa.table(
        {"url": [f"in/{name}.jpg" for name in SIZES], "text": [[f"a thing of {name}", "anything"] for name in SIZES]}
    )
    pq.write_table(manifest, tmp_path / "list.parquet")
    values = settings(tmp_path, checkpoint_dir, "plain", queries={"from": "text"})
    values["input"] |= {"url": f"{tmp_path}/list.parquet", "format": "manifest"}
    make(values)
    where = "query_text = 'anything' OR query_id = 'sit'"
    finer = settings(tmp_path, checkpoint_dir, "whole", True, queries={"from": "text"})
    finer["input"] |= values["input"]
    make(finer)
    gone = tmp_path / "in" / "3.jpg"
    (tmp_path / "kept.jpg").write_bytes(gone.read_bytes())
    gone.unlink()
    refine(tmp_path / "plain", tmp_path / "finer", where)
    expected = {
        pair: row
        for pair, row in rows(tmp_path / "whole").items()
        if (row["query_text"] == "anything" or pair[1] == "sit") and "3.jpg" not in pair[0]
    }
    assert len(expected) == 2 * (len(SIZES) - 1)
    the_same(rows(tmp_path / "finer"), expected)
    statuses = {row["image_id"]: row["status"] for row in world.images(f"{tmp_path}/finer").to_pylist()}
    assert len(statuses) == len(SIZES)
    assert [image for image, status in statuses.items() if status == "missing"] == [
        image for image in statuses if "3.jpg" in image
    ]
    assert verify(f"{tmp_path}/finer").sound, verify(f"{tmp_path}/finer").text()


def test_queries_that_compete_are_decided_among_all_and_some_are_kept(world_of, tmp_path, checkpoint_dir):
    shutil.copytree(world_of / "in", tmp_path / "in")
    table = world.write_table(tmp_path / "q.jsonl", group=["names", "names", None])
    for name, finer in (("plain", False), ("whole", True)):
        values = settings(tmp_path, checkpoint_dir, name, finer)
        values["queries"]["table"] = table
        make(values)
    refine(tmp_path / "plain", tmp_path / "finer", "query_id = 'circle'")
    expected = {pair: row for pair, row in rows(tmp_path / "whole").items() if pair[1] == "circle"}
    the_same(rows(tmp_path / "finer"), expected)
    assert verify(f"{tmp_path}/finer").sound, verify(f"{tmp_path}/finer").text()


def test_another_checkpoint_embeds_the_queries_anew(world_of, tmp_path, checkpoint_dir):
    write_checkpoint(tmp_path / "other", image_size=SIDE, seed=5)
    shutil.copytree(world_of / "in", tmp_path / "in")
    refine(
        world_of / "plain",
        tmp_path / "finer",
        "query_id <> 'sit' AND image_width > 200",
        [f"model.checkpoint={tmp_path}/other"],
        allow_source=(str(world_of),),
    )
    make(settings(tmp_path, tmp_path / "other", "whole"))
    whole = rows(tmp_path / "whole")
    expected = {pair: row for pair, row in whole.items() if pair[1] != "sit" and row["image_width"] > 200}
    assert expected
    the_same(rows(tmp_path / "finer"), expected)


@pytest.mark.parametrize(
    ("where", "overrides", "said"),
    [
        ("scores > 0.5", FINER, r"SQL: .*scores.*masks has .*score"),
        ("score > 2", FINER, "--where score > 2: selects no row of masks"),
        ("score > 0.5) OR (", FINER, "SQL: "),
        ("true", (), "nothing would be finer: give settings, e.g. -s model.views.tiles=2"),
        ("true", ("masks.threshold=0.4",), "-s masks.threshold=0.4: images, queries and thresholds are those of"),
        ("true", ("model.view.tiles=2",), r"model\.view"),
    ],
)
def test_what_means_nothing_is_refused(world_of, tmp_path, where, overrides, said):
    with pytest.raises(UserError, match=said):
        look(asking(world_of / "plain", tmp_path / "out", where, overrides, allow_source=(str(world_of),)))
    assert not (tmp_path / "out" / layout.SELECTION).exists()  # what was typed wrong may be typed again


def test_places_are_checked(refined, tmp_path):
    folder, _, _ = refined

    with pytest.raises(UserError, match="lies in the dataset itself"):
        look(asking(folder / "plain", folder / "plain" / "finer", "true"))
    with pytest.raises(UserError, match="holds a dataset already; choose another DEST"):
        look(asking(folder / "plain", folder / "whole", "true"))
    with pytest.raises(UserError, match="no dataset here"):
        look(asking(tmp_path / "none", tmp_path / "out", "true"))
    shutil.copytree(folder / "plain", tmp_path / "away" / "plain")
    with pytest.raises(UserError, match=r"not below any prefix given by --allow-source"):
        look(asking(tmp_path / "away" / "plain", tmp_path / "out", "true"))
    assert not Path(tmp_path / "out" / layout.INPUTS).exists()


@pytest.mark.parametrize("kind", ["gzip", "parquet"])
def test_images_inside_of_larger_objects_are_found_again(tmp_path, checkpoint_dir, kind):
    import gzip

    files = {f"{name}.jpg": world.jpeg(int(name), *size) for name, size in list(SIZES.items())[:4]}
    (tmp_path / "in").mkdir()
    if kind == "gzip":
        (tmp_path / "in" / "a.tar.gz").write_bytes(gzip.compress(tar_of(files)))
    else:
        pq.write_table(pa.table({"image": list(files.values())}), tmp_path / "in" / "a.parquet")
    make(settings(tmp_path, checkpoint_dir, "plain"))
    found = rows(tmp_path / "plain")
    images = sorted({image for image, _ in found})[1::2]
    refine(tmp_path / "plain", tmp_path / "finer", f"image_id IN {tuple(images)}", ["masks.size=image"])
    assert rows(tmp_path / "finer").keys() == {pair for pair in found if pair[0] in images}
    assert verify(f"{tmp_path}/finer").sound, verify(f"{tmp_path}/finer").text()
    assert pc.all(
        pc.equal(
            world.masks(f"{tmp_path}/finer").column("height"), world.masks(f"{tmp_path}/finer").column("image_height")
        )
    ).as_py()
