"""Exports: what pycocotools, ``datasets`` and Pillow read back is what the masks table holds, resized as stated."""

from __future__ import annotations

import io
import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pycocotools.mask
import pytest
from PIL import Image
from pycocotools.coco import COCO

from clipseg_ray.cli import app
from clipseg_ray.errors import UserError
from clipseg_ray.queries.phrase_set import PhraseSet
from clipseg_ray.report.export import Form, command, huggingface
from clipseg_ray.report.export.files import name_of
from clipseg_ray.report.export.palette import hexadecimal
from clipseg_ray.report.export.walk import PHRASES_FROM, Walk
from clipseg_ray.results import layout, sets
from clipseg_ray.storage import Store
from tests.report import world
from tests.report.world import Answer, Picture

NAMES = ["chair", "cup", "dog"]
QUERIES = [world.query(name, kind="animal" if name == "dog" else "object") for name in NAMES]


@pytest.fixture
def pictures() -> list[list[Picture]]:
    made = world.scattered(2, 7, NAMES)
    made[0].insert(2, Picture("s-000.tar/bad", data=b"x", status="undecodable", error="no picture"))
    return made


@pytest.fixture
def output(tmp_path: Path, pictures: list[list[Picture]]) -> str:
    return world.write(tmp_path, QUERIES, pictures, chunk_images=3)


def at_size(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """The stated rule: every pixel that of the nearest centre."""
    rows = (2 * np.arange(height) + 1) * mask.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * mask.shape[1] // (2 * width)
    return mask[np.ix_(rows, columns)]


def found(pictures: list[list[Picture]]) -> dict[str, Picture]:
    return {each.image_id: each for shard in pictures for each in shard if each.status == "ok"}


def coco(path: Path, capsys: pytest.CaptureFixture[str]) -> COCO:
    loaded = COCO(str(path))
    capsys.readouterr()
    return loaded


def test_pycocotools_loads_the_masks_at_image_size(
    tmp_path: Path, output: str, pictures: list[list[Picture]], capsys: pytest.CaptureFixture[str]
) -> None:
    said = command.export(output, str(tmp_path / "x" / "found.json"), Form.COCO, None)
    loaded = coco(tmp_path / "x" / "found.json", capsys)
    expected = found(pictures)
    masks = sum(bool(answer.mask.any()) for each in expected.values() for answer in each.answers.values())
    assert said.splitlines()[0].endswith(f"found.json: 14 images, {masks} annotations, 3 categories")
    assert {each["image_id"] for each in loaded.imgs.values()} == expected.keys()
    assert [(each["id"], each["name"], each["supercategory"]) for each in loaded.loadCats(loaded.getCatIds())] == [
        (1, "chair", "object"), (2, "cup", "object"), (3, "dog", "animal"),
    ]  # fmt: skip
    assert len(loaded.anns) == masks
    for annotation in loaded.anns.values():
        image = loaded.imgs[annotation["image_id"]]
        picture = expected[image["image_id"]]
        answer = picture.answers[NAMES[annotation["category_id"] - 1]]
        mask = at_size(answer.mask, picture.height, picture.width)
        np.testing.assert_array_equal(loaded.annToMask(annotation).astype(bool), mask)
        rows, columns = np.nonzero(mask)
        assert annotation["area"] == mask.sum()
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert annotation["bbox"] == [int(side) for side in box]
        assert annotation["score"] == pytest.approx(answer.score, abs=1e-6)


def test_ids_stay_when_images_and_queries_are_added(
    tmp_path: Path, pictures: list[list[Picture]], capsys: pytest.CaptureFixture[str]
) -> None:
    def ids(folder: str, shards: list[list[Picture]], more: list[Any], where: str | None = None) -> dict[Any, int]:
        output = world.write(tmp_path / folder, QUERIES, shards, chunk_images=3)
        if more:
            world.add_queries(output, more, shards, chunk_images=3)
        command.export(output, str(tmp_path / f"{folder}.json"), Form.COCO, where)
        loaded = coco(tmp_path / f"{folder}.json", capsys)
        name = {each["id"]: each["name"] for each in loaded.cats.values()}
        image = {each["id"]: each["image_id"] for each in loaded.imgs.values()}
        return {(image[each["image_id"]], name[each["category_id"]]): each["id"] for each in loaded.anns.values()}

    added = world.scattered(1, 3, NAMES, seed=9)
    for picture in added[0]:
        picture.image_id = f"added/{picture.image_id}"
    for shard in [*pictures, *added]:
        for picture in shard:
            picture.answers["aardvark"] = Answer(world.ellipse(0.5, 0.5, 0.3, 0.3), 0.7)
    later = [world.query("aardvark")]  # sorts before all others
    before = ids("before", pictures[:1], [])
    after = ids("after", [*pictures, *added], later)
    only = ids("only", pictures[:1], [], "kind = 'animal'")
    assert before.items() <= after.items()
    assert only.items() <= before.items()
    assert {name for _, name in only} == {"dog"}
    assert {name for _, name in after} == {*NAMES, "aardvark"}


def test_phrases_of_the_images_become_categories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer, nothing = Answer(world.ellipse(0.5, 0.5, 0.3, 0.3), 0.7), Answer(world.empty(), 0.1)
    pictures = [
        Picture(f"p{i}", answers={"dog": answer}, phrases={f"phrase {i % 2}": answer, "nothing": nothing})
        for i in range(5)
    ]
    phrases = PhraseSet("caption", ("{}",), 0.5)
    output = world.write(tmp_path, [world.query("dog")], [pictures], chunk_images=2, phrases=phrases)
    command.export(output, str(tmp_path / "x.json"), Form.COCO, None)
    loaded = coco(tmp_path / "x.json", capsys)
    names = {each["id"]: each["name"] for each in loaded.cats.values()}
    assert names[1] == "dog"
    assert {names[number] for number in names if number >= PHRASES_FROM} == {"phrase 0", "phrase 1", "nothing"}
    assert len(loaded.anns) == 10

    said = command.export(output, str(tmp_path / "maps"), Form.LABEL_MAPS, None)
    assert "5 label maps of 4 labels" in said
    with Image.open(tmp_path / "maps" / "labels" / "p0.png") as image:
        assert image.mode == "I;16", "nobody knows beforehand how many labels there will be"

    command.export(output, str(tmp_path / "hf"), Form.HUGGINGFACE, "query_id = 'from:caption'")
    rows = datasets.load_dataset(str(tmp_path / "hf"), split="train", cache_dir=str(tmp_path / "cache"))
    assert [[each["phrase"] for each in row["objects"]] for row in rows] == [[f"phrase {i % 2}"] for i in range(5)]
    assert all(len(row["absent"]) == 1 for row in rows)


def test_datasets_loads_pictures_masks_and_features(
    tmp_path: Path, output: str, pictures: list[list[Picture]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface, "GROUP_ROWS", 4)
    monkeypatch.setattr(huggingface, "SHARD_BYTES", 20_000)
    said = command.export(output, str(tmp_path / "hf"), Form.HUGGINGFACE, None)
    files = sorted((tmp_path / "hf" / "data").iterdir())
    assert len(files) > 1
    assert f"14 images, {len(files)}" not in said
    assert {pq.read_metadata(file).row_group(0).num_rows for file in files} <= {2, 4}
    rows = datasets.load_dataset(str(tmp_path / "hf"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.features["image"] == datasets.Image()
    label = rows.features["objects"].feature["label"]
    assert label.names == NAMES
    expected = found(pictures)
    assert rows["image_id"] == list(expected)
    for row in rows:
        picture = expected[row["image_id"]]
        assert row["image"].size == (picture.width, picture.height) == (row["width"], row["height"])
        some = {name for name, answer in picture.answers.items() if answer.mask.any()}
        assert {each["query_id"] for each in row["objects"]} == some
        assert set(row["absent"]) == set(NAMES) - some
        for each in row["objects"]:
            assert label.int2str(each["label"]) == each["query_id"]
            rle = {"size": [row["height"], row["width"]], "counts": each["counts"]}
            mask = at_size(picture.answers[each["query_id"]].mask, picture.height, picture.width)
            np.testing.assert_array_equal(pycocotools.mask.decode(rle).astype(bool), mask)
            assert each["area"] == mask.sum()
    text = (tmp_path / "hf" / "README.md").read_text()
    assert text.startswith("---\npretty_name:")
    assert "14 images and the " in text
    assert "`objects.label`" in text
    assert "`objects.phrase`" not in text


def test_label_maps_follow_their_rule(tmp_path: Path, output: str, pictures: list[list[Picture]]) -> None:
    command.export(output, str(tmp_path / "maps"), Form.LABEL_MAPS, "query_id <> 'cup'")
    names = json.loads((tmp_path / "maps" / "names.json").read_text())
    assert [(each["label"], each["name"], each["colour"]) for each in names["labels"]] == [
        (1, "chair", hexadecimal(1)), (2, "dog", hexadecimal(3)),
    ]  # fmt: skip
    assert "highest score_mean" in names["rule"]
    expected = found(pictures)
    assert len(list((tmp_path / "maps" / "labels").rglob("*.png"))) == len(expected)
    for image_id, picture in expected.items():
        best = np.zeros((picture.height, picture.width))
        labels = np.zeros_like(best)
        for label, name in ((1, "chair"), (2, "dog")):
            answer = picture.answers[name]
            mask = at_size(answer.mask, picture.height, picture.width)
            wins = mask & (answer.score_mean > best)
            labels[wins], best[wins] = label, answer.score_mean
        with Image.open(tmp_path / "maps" / "labels" / f"{image_id}.png") as image:
            assert image.mode == "P"
            np.testing.assert_array_equal(np.asarray(image), labels)


def test_overlays_are_drawn_where_something_was_found(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    grey = io.BytesIO()
    Image.new("RGB", (300, 200), (128, 128, 128)).save(grey, "PNG")
    answers = {"dog": Answer(world.ellipse(0.5, 0.5, 0.25, 0.25), 0.87)}
    pictures = [
        Picture("some", 300, 200, data=grey.getvalue(), answers=answers),
        Picture("none", 300, 200, data=grey.getvalue(), answers={"dog": Answer(world.empty(), 0.1)}),
    ]
    output = world.write(tmp_path, [world.query("dog")], [pictures])
    arguments = ["clipseg-ray", "export", output, str(tmp_path / "over"), "--format", "overlays"]
    monkeypatch.setattr("sys.argv", arguments)
    app(standalone_mode=False)
    assert capsys.readouterr().out == f"wrote {tmp_path}/over: 1 overlays\n"
    (file,) = (tmp_path / "over").iterdir()
    assert file.name == "some.jpg"
    with Image.open(file) as image:
        pixels_hwc = np.asarray(image).astype(int)
    assert pixels_hwc.shape[1] == 300
    assert pixels_hwc.shape[0] > 210, "the legend is below the image"
    assert abs(pixels_hwc[20, 20] - 128).max() < 8
    assert pixels_hwc[100, 150, 0] - pixels_hwc[100, 150, 1] > 40, "the first colour is a red"


def test_a_destination_in_the_way_and_a_condition_that_fails_are_refused(tmp_path: Path, output: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "old.txt").write_text("x")
    for form in (Form.HUGGINGFACE, Form.LABEL_MAPS, Form.OVERLAYS):
        with pytest.raises(UserError, match="not empty"):
            command.export(output, str(tmp_path / "full"), form, None)
    with pytest.raises(UserError, match=r"no column 'kin'.*did you mean kind"):
        command.export(output, str(tmp_path / "x"), Form.COCO, "kin = 'animal'")
    with pytest.raises(UserError, match="holds for none of the dataset's 3 queries"):
        command.export(output, str(tmp_path / "x"), Form.COCO, "kind = 'plant'")
    with pytest.raises(UserError, match="no dataset here"):
        command.export(str(tmp_path), str(tmp_path / "x"), Form.COCO, None)


def test_pictures_that_are_gone_are_counted_and_an_input_that_is_gone_is_refused(
    tmp_path: Path, pictures: list[list[Picture]]
) -> None:
    pictures[0][3].data = b"not an image any more"
    output = world.write(tmp_path, QUERIES, pictures, chunk_images=4)
    some = sum(any(answer.mask.any() for answer in each.answers.values()) for each in found(pictures).values())
    said = command.export(output, str(tmp_path / "over"), Form.OVERLAYS, None)
    assert f"{some - 1} overlays; 1 images could not be had and were left out (the first: " in said
    for tar in (tmp_path / "in").iterdir():
        tar.unlink()
    with pytest.raises(UserError, match="is the input where it was"):
        command.export(output, str(tmp_path / "hf"), Form.HUGGINGFACE, None)


def test_parts_that_are_missing_are_said_to_be(tmp_path: Path, output: str) -> None:
    store = Store(output)
    part = min(entry.path for entry in store.list(layout.masks_folder(sets.read(store)[0].name)))
    store.delete(part)
    said = command.export(output, str(tmp_path / "x"), Form.COCO, None)
    assert "14 images" in said
    assert "incomplete: 1 of 6 chunks lack ps-" in said
    store.delete(f"{layout.IMAGES}/{Path(part).name}")
    said = command.export(output, str(tmp_path / "y"), Form.COCO, None)
    assert "14 images" not in said
    assert "incomplete: 1 of 6 chunks lack images; 1 of 6 chunks lack ps-" in said


@pytest.mark.parametrize(
    ("image_id", "name"),
    [
        ("a.tar/0001", "a.tar/0001.png"),
        ("photos/cat.jpg", "photos/cat.jpg.png"),
        ("../../etc/passwd", "%2E%2E/%2E%2E/etc/passwd.png"),
        ("/abs//x", "%/abs/%/x.png"),
        ("https://h/a?b=1%2", "https%3A/%/h/a%3Fb=1%252.png"),
        ("Ünï", "%C3%9Cn%C3%AF.png"),
    ],
)
def test_every_id_has_a_name_that_stays_inside(image_id: str, name: str) -> None:
    assert name_of(image_id, ".png") == name


def test_long_names_are_cut_and_differ() -> None:
    one, other = name_of("x" * 300 + "1", ".png"), name_of("x" * 300 + "2", ".png")
    assert one != other
    assert len(one) == len(other) == 204
    assert re.fullmatch(r"x+-[0-9a-f]{16}\.png", one)


def test_memory_does_not_follow_the_number_of_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = {}
    for shards in (2, 8):
        output = world.write(tmp_path / str(shards), QUERIES, world.scattered(shards, 12, NAMES), chunk_images=12)
        assert Walk(Store(output)).total == shards
        arrow = [pa.total_allocated_bytes()]
        read = Walk._read

        def watched(walk: Walk, shard_id: str, chunk: int, *, read: Any = read, arrow: Any = arrow) -> Any:
            arrow.append(pa.total_allocated_bytes())
            return read(walk, shard_id, chunk)

        monkeypatch.setattr(Walk, "_read", watched)
        tracemalloc.start()
        command.export(output, str(tmp_path / f"{shards}.json"), Form.COCO, None)
        peaks[shards] = (tracemalloc.get_traced_memory()[1], max(arrow) - arrow[0])
        tracemalloc.stop()
        monkeypatch.undo()
    assert len(json.loads((tmp_path / "8.json").read_text())["images"]) == 8 * 12
    assert peaks[8][0] < 1.3 * peaks[2][0] + 50_000
    assert peaks[8][1] < 1.3 * peaks[2][1] + 50_000
