"""Datasets of queries that compete and combine, by the job's own steps without Ray."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from clipseg_ray.errors import UserError
from clipseg_ray.masks.rle import decode
from clipseg_ray.queries.set_questions import SetQuestions
from clipseg_ray.upkeep.rethreshold import rethreshold
from clipseg_ray.upkeep.verification import verify
from tests.made import make
from tests.pipeline import world

QUERIES = [
    ("rest", "a photo"),
    ("circle", "a red circle"),
    ("wheels", "has wheels"),
    ("chair", "a chair"),
    ("sit", "something to sit on"),
    ("stool", "a small stool"),
]
MEMBERS = ["circle", "wheels"]
COMPETING = {
    "group": ["names", "names", "names", None, None, None],
    "weight": [3, None, None, None, None, None],
    "keep": [False, True, True, True, True, True],
    "suppress": [None, None, None, None, ["chair", "stool"], None],
}


def write_table(path, **columns):
    """The queries, and one that is an expression where others compete."""
    table = world.write_table(path, QUERIES, **columns)
    if columns:
        with path.open("a") as lines:
            lines.write('\n{"query_id": "low", "expression": "stool AND NOT (chair OR circle)"}')
    return table


@pytest.fixture(scope="module", params=["model", "image"])
def datasets(request, tmp_path_factory, checkpoint_dir):
    """(each query alone, competing) by the mask size, over the same images."""
    folder = tmp_path_factory.mktemp("contests")
    world.write_tars(f"{folder}/in", shards=1, images=5)
    for name, columns in (("alone", {}), ("competing", COMPETING)):
        table = write_table(folder / f"{name}.jsonl", **columns)
        more = {"masks": {"heat": 24, "size": request.param}, "model": {"presence": True, "precision": "fp32"}}
        more["model"]["checkpoint"] = str(checkpoint_dir)
        make(world.settings(f"{folder}/in/*.tar", f"{folder}/{name}", checkpoint_dir, table, **more))
    return f"{folder}/alone", f"{folder}/competing"


def drawn(output):
    """{(image, query): (bool [h, w], row)}."""
    rows = world.masks(output).to_pylist()
    return {
        (row["image_id"], row["query_id"]): (decode([row["counts"]], row["height"], row["width"])[0], row)
        for row in rows
    }


def test_masks_are_those_of_each_alone_less_what_others_take(datasets):
    alone, competing = map(drawn, datasets)
    images = sorted({image for image, _ in alone})
    assert {query for _, query in competing} == {"circle", "wheels", "chair", "sit", "stool", "low"}
    assert len(competing) == 6 * len(images)
    taken = 0
    for image in images:
        plain = {query: alone[image, query][0] for query, _ in QUERIES}
        ours = {query: competing[image, query][0] for query in ("circle", "wheels", "chair", "sit", "stool", "low")}
        for query in ("chair", "stool"):
            assert (ours[query] != plain[query]).sum() <= 2  # decoded beside others: ties of an ulp
        assert not (ours["circle"] & ours["wheels"]).any()
        for query in ("circle", "wheels", "sit"):
            assert (ours[query] & ~plain[query]).sum() <= 2
            assert competing[image, query][1]["score"] <= alone[image, query][1]["score"] + 1e-6
            taken += (plain[query] & ~ours[query]).sum()
        # A threshold of 0.5: above 0 and not above 0 are complements, but for ties.
        expected = plain["stool"] & ~(plain["chair"] | plain["circle"])
        assert (ours["low"] != expected).sum() <= 4
    assert taken > 0


def test_the_dataset_verifies_and_overlaps_are_found(datasets, tmp_path):
    _, competing = datasets
    report = verify(competing)
    assert report.sound, report.text()
    (path,) = sorted(Path(competing, "masks").rglob("*.parquet"))[:1]
    before = path.read_bytes()
    table = pq.ParquetFile(path).read()
    image = table.column("image_id")[0].as_py()
    height, width = (table.column(name)[0].as_py() for name in ("height", "width"))
    full = {"counts": f"0{_count(height * width)}", "area": height * width, "coverage": 1.0, "score_mean": 0.5}
    rows = table.to_pylist()
    for row in rows:
        if row["query_id"] in MEMBERS and row["image_id"] == image:
            row.update(full, bbox={"x": 0, "y": 0, "w": width, "h": height})
    try:
        pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
        assert any(
            f"image {image!r}" in fault and "masks of the group of circle, wheels share pixels" in fault
            for fault in verify(competing).faults
        )
    finally:
        path.write_bytes(before)


def _count(run):
    """One run as COCO writes it."""
    characters = ""
    while True:
        low, run = run & 31, run >> 5
        more = run != (-1 if low & 16 else 0)
        characters += chr(48 + low + (32 if more else 0))
        if not more:
            return characters


def test_presence_and_heat_of_queries_that_compete(datasets):
    alone, competing = map(drawn, datasets)
    for (image, query), (mask, row) in competing.items():
        twin = "stool" if query == "low" else query  # an expression has that of what it affirms
        assert row["presence"] == pytest.approx(alone[image, twin][1]["presence"], abs=1e-6)
        heat = np.frombuffer(row["heat"] or bytes(24 * 24), np.uint8)
        assert (heat > 0).any() or not mask.any()


def test_thresholds_of_queries_that_take_pixels_from_others_are_not_moved(datasets, tmp_path):
    _, competing = datasets
    with pytest.raises(UserError, match="circle, sit, wheels: competes"):
        rethreshold(competing, str(tmp_path / "all"), 0.6)
    with pytest.raises(UserError, match="sit: competes"):
        rethreshold(competing, str(tmp_path / "one"), {"sit": 0.6, "chair": 0.6})
    rethreshold(competing, str(tmp_path / "rest"), {"chair": 0.7, "low": 0.6, "sit": 0.5})
    report = verify(str(tmp_path / "rest"))
    assert report.sound, report.text()
    before, after = world.masks(competing), world.masks(str(tmp_path / "rest"))
    for query in (*MEMBERS, "sit"):
        kept = [table.filter(pc.equal(table.column("query_id"), query)).column("counts") for table in (before, after)]
        assert kept[0].equals(kept[1])


def test_a_prompt_that_is_not_finite_is_named_though_it_has_no_masks(tmp_path, checkpoint_dir, monkeypatch):
    world.write_tars(f"{tmp_path}/in", shards=1, images=1)
    original = SetQuestions.of_queries

    def poisoned(prompt_set, to_prompts):
        conditionals_qc = prompt_set.conditionals_qc
        conditionals_qc[[query.query_id for query in prompt_set.prompts].index("rest")] = np.nan
        return original(prompt_set, to_prompts)

    monkeypatch.setattr(SetQuestions, "of_queries", poisoned)
    table = write_table(tmp_path / "queries.jsonl", **COMPETING)
    with pytest.raises(UserError, match="query 'rest': logits are not finite on image"):
        make(world.settings(f"{tmp_path}/in/*.tar", f"{tmp_path}/out", checkpoint_dir, table))
