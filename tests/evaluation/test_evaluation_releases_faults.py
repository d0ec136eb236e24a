"""Releases that are not as they should be: one line that names the file, whatever is wrong with it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.releases import masks as any_masks
from clipseg_ray.evaluation.releases.instances import load_instances, segmentation
from clipseg_ray.evaluation.releases.phrasecut import tasks_by_image
from clipseg_ray.evaluation.truth_job import RECORD, write_truth
from clipseg_ray.evaluation.truth_writing import _key
from tests.evaluation import releases
from tests.evaluation.releases import HEIGHT, WIDTH, photograph, save_map
from tests.training import release as phrasecut

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def fault(form: str, source: Path, **options: Any) -> str:
    """What is said, in one line."""
    with pytest.raises(UserError) as caught:
        write_truth(form, str(source), str(source.parent / "out"), options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_format_or_an_option_there_is_not(tmp_path: Path) -> None:
    assert "there is no format vocc; did you mean voc?" in fault("vocc", tmp_path)
    message = fault("coco", tmp_path, smallest=3)
    assert message == "--smallest: the format coco has no such option; it has --split, --images"
    assert "--ignore-unnamed" in fault("masks", tmp_path, split="val")


def change_phrasecut(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        tasks = json.loads((folder / "refer_test.json").read_text())
        tasks[1] = {key: value for key, value in {**tasks[1], **changes}.items() if value is not ...}
        (folder / "refer_test.json").write_text(json.dumps(tasks))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "refer_test.json").unlink(), "refer_test.json: not found"),
        (lambda folder: (folder / "refer_test.json").write_text("["), "refer_test.json: not valid JSON"),
        (lambda folder: (folder / "refer_test.json").write_text("[]"), "refer_test.json: no list of tasks"),
        (lambda folder: (folder / "refer_test.json").write_text("[3]"), "refer_test.json: no list of tasks"),
        (lambda folder: (folder / "images" / "7.jpg").unlink(), "images/7.jpg: not found"),
        (lambda folder: (folder / "images" / "7.jpg").write_bytes(b""), "images/7.jpg: the file has no bytes"),
        (
            lambda folder: (folder / "images" / "7.jpg").write_text("<html>"),
            "TIFF or AVIF image: it is HTML",
        ),
        (change_phrasecut(Polygons=...), "refer_test.json: task 7__71_72 has no Polygons"),
        (change_phrasecut(Polygons=[[["a", 1]]]), "refer_test.json: task 7__71_72: Polygons are no lists of points"),
        (change_phrasecut(Polygons=[[[[1, 2, 3]]]]), "refer_test.json: task 7__71_72: Polygons are no lists of points"),
        (
            change_phrasecut(Polygons=[[[[float("nan"), 2]]]]),
            "task 7__71_72: Polygons are no lists of points (a corner",
        ),
        (
            change_phrasecut(Polygons=[[[[1, 2, 3], [4, 5, 6]]]]),
            "task 7__71_72: Polygons are no lists of points (a corner",
        ),
        (change_phrasecut(Polygons=[[[[1e9, 2]]]]), "task 7__71_72: Polygons are no lists of points (a corner"),
        (change_phrasecut(Polygons=7), "refer_test.json: task 7__71_72: Polygons are no lists of points"),
        (change_phrasecut(phrase=" "), "refer_test.json: task 7__71_72: image_id 7 must be a number and phrase ' '"),
        (change_phrasecut(image_id="../7"), "refer_test.json: task 7__71_72: image_id '../7' must be a number"),
    ],
)
def test_phrasecut(tmp_path: Path, change: Callable[[Path], Any], message: str) -> None:
    folder = tmp_path / "release"
    tasks = phrasecut.write(folder)["train"]
    releases.write_json(folder / "refer_test.json", tasks)
    change(folder)
    assert message in fault("phrasecut", folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda voc: (voc / "ImageSets/Segmentation/val.txt").unlink(), "ImageSets/Segmentation/val.txt: not found"),
        (lambda voc: (voc / "ImageSets/Segmentation/val.txt").write_text("\n"), "val.txt: no name in it"),
        (lambda voc: (voc / "ImageSets/Segmentation/val.txt").write_text("a\na\n"), "val.txt: a is there twice"),
        (lambda voc: (voc / "ImageSets/Segmentation/val.txt").write_bytes(b"\xff"), "val.txt: no list of images"),
        (lambda voc: (voc / "JPEGImages/2007_000042.jpg").unlink(), "JPEGImages/2007_000042.jpg: not found"),
        (lambda voc: (voc / "SegmentationClassAug/2007_000042.png").unlink(), "Aug/2007_000042.png: not found"),
        (lambda voc: (voc / "SegmentationClassAug").rename(voc / "other"), "SegmentationClassAug"),
        (
            lambda voc: photograph(voc / "SegmentationClassAug/2007_000042.png"),
            "2007_000042.png: no label map: its pixels",
        ),
        (
            lambda voc: save_map(voc / "SegmentationClassAug/2007_000042.png", np.zeros((9, 7), np.uint8)),
            "2007_000042.png: 7×9 pixels (width×height), its image has 100×100",
        ),
        (
            lambda voc: save_map(voc / "SegmentationClassAug/2007_000042.png", np.full((100, 100), 21, np.uint8)),
            "2007_000042.png: the number 21 is no class's",
        ),
        (lambda voc: (voc / "SegmentationClassAug/2007_000042.png").write_bytes(b"\x89PNG"), "2007_000042.png: "),
    ],
)
def test_voc(tmp_path: Path, change: Callable[[Path], Any], message: str) -> None:
    folder = tmp_path / "VOC2012"
    releases.voc(folder)
    change(folder)
    assert message in fault("voc", folder)


def change_coco(key: str, place: int, **changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        changed = {**content[key][place], **changes}
        content[key][place] = {name: value for name, value in changed.items() if value is not ...}

    return change


def rle_of(height: int, width: int) -> dict[str, Any]:
    return releases.runs(np.ones((height, width), bool), compressed=True)


NAME = "instances_val2017.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("annotations"), f"{NAME}: no instances as COCO has them"),
        (lambda content: content.update(images=[]), f"{NAME}: annotation 1: image_id 139 is none of the file's"),
        (lambda content: content.update(images=[], annotations=[]), f"{NAME}: no images"),
        (lambda content: content["images"].append(releases.image_of(139)), f"{NAME}: image 139 is there twice"),
        (lambda content: content["images"].append(7), f"{NAME}: image number 3 has no file_name, height, id, width"),
        (
            lambda content: content["images"].append(releases.image_of(8, file_name="000000000139.png")),
            "000000000139: two images of the release have this name",
        ),
        (change_coco("images", 0, file_name="../secret.jpg"), "'../secret.jpg': an image of the release is named by"),
        (change_coco("images", 0, file_name="/etc/passwd"), "'/etc/passwd': an image of the release is named by"),
        (change_coco("images", 0, file_name="http://a/b.jpg"), "'http://a/b.jpg': an image of the release is named by"),
        (change_coco("images", 0, file_name="none.jpg"), "val2017/none.jpg: not found"),
        (change_coco("images", 0, file_name="none"), "val2017/none: its name has none of the endings"),
        (change_coco("images", 0, height=61), "000000000139.jpg: 80×60 pixels (width×height), its annotations are for"),
        (change_coco("images", 0, height=...), f"{NAME}: image 139 has no height"),
        (change_coco("images", 0, id="139"), f"{NAME}: image number 0: id '139' is no whole number"),
        (change_coco("annotations", 1, category_id=[1]), f"{NAME}: annotation number 1: category_id [1] is no whole"),
        (change_coco("annotations", 1, image_id=1), f"{NAME}: annotation 2: image_id 1 is none of the file's"),
        (change_coco("annotations", 1, category_id=7), f"{NAME}: annotation 2: category_id 7 is none of the file's"),
        (change_coco("annotations", 1, segmentation=...), f"{NAME}: annotation 2 has no segmentation"),
        (change_coco("annotations", 1, segmentation=[]), f"{NAME}: annotation 2: segmentation is no list of polygons"),
        (change_coco("annotations", 1, segmentation=[[1, 2, 3, 4]]), f"{NAME}: annotation 2: segmentation is no list"),
        (change_coco("annotations", 1, segmentation=[[1] * 7]), f"{NAME}: annotation 2: segmentation is no list"),
        (change_coco("annotations", 1, segmentation=[[1e300] * 6]), f"{NAME}: annotation 2: segmentation is no list"),
        (change_coco("annotations", 1, segmentation="x"), f"{NAME}: annotation 2: segmentation is neither polygons"),
        (change_coco("annotations", 1, segmentation=rle_of(80, 60)), f"{NAME}: annotation 2: run lengths of [80, 60]"),
        (
            change_coco("annotations", 1, segmentation={"size": [HEIGHT, WIDTH], "counts": "0"}),
            f"{NAME}: annotation 2: run lengths that are none of 60×80",
        ),
        (
            change_coco("annotations", 1, segmentation={"size": [HEIGHT, WIDTH], "counts": [5, 5]}),
            f"{NAME}: annotation 2: run lengths that do not fill 60×80 pixels",
        ),
    ],
)
def test_coco(tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    folder = tmp_path / "coco"
    content = releases.coco_release(folder)
    change(content)
    releases.write_json(folder / "annotations" / NAME, content)
    assert message in fault("coco", folder)


def test_coco_without_its_file(tmp_path: Path) -> None:
    assert "annotations/instances_val2017.json: not found" in fault("coco", tmp_path / "coco")


def test_lvis(tmp_path: Path) -> None:
    folder = tmp_path / "lvis"
    assert "lvis_v1_val.json: not found" in fault("lvis", folder)
    content = releases.lvis_release(folder)
    content["images"][0]["neg_category_ids"] = [1]
    releases.write_json(folder / "lvis_v1_val.json", content)
    assert "lvis_v1_val.json: image 139: category 1 has instances and is said to be absent" in fault("lvis", folder)
    content["images"][0]["neg_category_ids"] = [77]
    releases.write_json(folder / "lvis_v1_val.json", content)
    assert "lvis_v1_val.json: image 139: neg_category_ids: 77 is no category of the file" in fault("lvis", folder)


@pytest.mark.parametrize(
    ("key", "changes", "message"),
    [
        ("images", {"neg_category_ids": 3}, "image 139: neg_category_ids 3 are no list of categories"),
        ("images", {"neg_category_ids": [[3]]}, "image 139: neg_category_ids: [3] is no category of the file"),
        ("images", {"coco_url": "http://images.cocodataset.org"}, "/images.cocodataset.org"),
        ("categories", {"synonyms": "chair"}, "category 1: synonyms 'chair' are no list of words"),
    ],
)
def test_lvis_entries(tmp_path: Path, key: str, changes: dict[str, Any], message: str) -> None:
    content = releases.lvis_release(tmp_path / "lvis")
    content[key][0].update(changes)
    releases.write_json(tmp_path / "lvis" / "lvis_v1_val.json", content)
    assert message in fault("lvis", tmp_path / "lvis")


def test_sa_co(tmp_path: Path) -> None:
    source = tmp_path / "gold" / "gold.json"
    assert "gold.json: not found" in fault("sa-co", source)
    content = releases.sa_co_release(tmp_path / "gold")
    content["images"][1]["text_input"] = " "
    releases.write_json(source, content)
    assert "gold.json: image 10000001: text_input is empty" in fault("sa-co", source)
    content["images"][1]["text_input"] = "chili"
    releases.write_json(source, content)
    assert "the phrase 'chili' is there in one pair and absent in another" in fault("sa-co", source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "classes.json").unlink(), "classes.json: not found"),
        (lambda folder: (folder / "classes.json").write_text("{"), "classes.json: no classes"),
        (lambda folder: (folder / "classes.json").write_text("3"), "classes.json: no classes"),
        (lambda folder: (folder / "classes.json").write_text("{}"), "classes.json: no classes"),
        (lambda folder: (folder / "classes.json").write_text('{"x": "bag"}'), "classes.json: no classes"),
        (
            lambda folder: (folder / "classes.json").write_text('["bag", "bag"]'),
            "classes.json: two classes have one name",
        ),
        (lambda folder: (folder / "labels" / "b.png").unlink(), "labels: no label map for b; 1 of 2 have none"),
        (
            lambda folder: (folder / "images" / "b.jpg").unlink(),
            "images: no image for the label map b; 1 of 2 have none",
        ),
        (lambda folder: (folder / "images").rename(folder / "pictures"), "images"),
        (lambda folder: (folder / "images" / "b.jpg").rename(folder / "images" / "a.png"), "a.png: "),
        (
            lambda folder: save_map(folder / "labels" / "b.png", np.full((HEIGHT, WIDTH), 9, np.uint8)),
            "b.png: the number 9",
        ),
    ],
)
def test_masks(tmp_path: Path, change: Callable[[Path], Any], message: str) -> None:
    folder = tmp_path / "set"
    for name in "ab":
        photograph(folder / "images" / f"{name}.jpg")
        save_map(folder / "labels" / f"{name}.png", np.ones((HEIGHT, WIDTH), np.uint8))
    releases.write_json(folder / "classes.json", ["null", "bag"])
    change(folder)
    assert message in fault("masks", folder)


def test_a_list_that_names_no_image(tmp_path: Path) -> None:
    photograph(tmp_path / "set" / "images" / "a.jpg")
    save_map(tmp_path / "set" / "labels" / "a.png", np.ones((HEIGHT, WIDTH), np.uint8))
    releases.write_json(tmp_path / "set" / "classes.json", ["null", "bag"])
    (tmp_path / "test.txt").write_text("a.jpg\nb.jpg\n")
    assert "test.txt: there is no image named b.jpg" in fault(
        "masks", tmp_path / "set", names=str(tmp_path / "test.txt")
    )


def test_a_folder_of_other_shards_is_left_alone(tmp_path: Path) -> None:
    releases.coco_release(tmp_path / "coco")
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.tar").write_bytes(b"mine")
    assert "out/mine.tar: it is none of this release's shards" in fault("coco", tmp_path / "coco")
    (out / "mine.tar").rename(out / "val2017-00000.tar")
    assert f"out: shards, but no {RECORD} that says of what" in fault("coco", tmp_path / "coco")
    assert [path.read_bytes() for path in out.iterdir()] == [b"mine"]


def test_a_release_that_changed_is_another(tmp_path: Path) -> None:
    content = releases.coco_release(tmp_path / "coco")
    write_truth("coco", str(tmp_path / "coco"), str(tmp_path / "out"), {})
    content["annotations"].pop()
    releases.write_json(tmp_path / "coco" / "annotations" / NAME, content)
    assert f"{RECORD}: the shards there were made from another release" in fault("coco", tmp_path / "coco")


def named(start: str, read: Callable[[], Any]) -> Any:
    """What is read; where it is refused, the line must begin so."""
    said = start
    try:
        return read()
    except UserError as error:
        said = str(error)
    finally:
        assert said.startswith(start)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-30, 110), st.floats(-30, 110)), min_size=3, max_size=8))
def test_polygons_are_pycocotools(points: list[tuple[float, float]]) -> None:
    polygon = [x for point in points for x in point]
    found = segmentation([polygon], (HEIGHT, WIDTH), "here")
    np.testing.assert_array_equal(found, coco.decode(coco.frPyObjects([polygon], HEIGHT, WIDTH))[..., 0])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.randoms(use_true_random=False), st.booleans())
def test_run_lengths_are_what_they_were(height: int, width: int, random: Any, compressed: bool) -> None:
    mask_hw = np.array([[random.random() < 0.5 for _ in range(width)] for _ in range(height)])
    value = releases.runs(mask_hw, compressed=compressed)
    np.testing.assert_array_equal(segmentation(value, (height, width), "here"), mask_hw)


@settings(max_examples=60, deadline=None)
@given(
    JSON | st.fixed_dictionaries({"size": st.just([HEIGHT, WIDTH]), "counts": JSON}) | st.lists(st.lists(st.floats()))
)
def test_any_segmentation_is_pixels_or_named(value: Any) -> None:
    mask_hw = named("annotation 5: ", lambda: segmentation(value, (HEIGHT, WIDTH), "annotation 5"))
    assert mask_hw is None or mask_hw.shape == (HEIGHT, WIDTH)


@settings(max_examples=60, deadline=None)
@given(JSON | st.lists(st.dictionaries(st.sampled_from(["image_id", "phrase", "phrase_structure", "Polygons"]), JSON)))
def test_any_tasks_are_tasks_or_named(value: Any) -> None:
    named("refer_test.json: ", lambda: tasks_by_image("refer_test.json", value))


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_any_classes_are_classes_or_named(value: Any) -> None:
    named("classes.json: ", lambda: any_masks._classes("classes.json", json.dumps(value).encode()))


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            name: JSON | st.lists(st.dictionaries(st.sampled_from(["id", "name", "image_id", "height", "width"]), JSON))
            for name in ("images", "annotations", "categories")
        }
    )
)
def test_any_instances_are_instances_or_named(value: dict[str, Any]) -> None:
    with patch("clipseg_ray.evaluation.releases.instances.load_json", return_value=(value, "")):
        named("instances.json: ", lambda: load_instances("instances.json", ()))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("a.%2E/", min_size=1, max_size=6), min_size=2, max_size=2, unique=True))
def test_no_two_names_become_one(names: list[str]) -> None:
    assert len({_key(name) for name in names}) == 2
    assert not any("." in _key(name) for name in names)


def test_pictures_that_are_cut_are_named(tmp_path: Path) -> None:
    releases.coco_release(tmp_path / "coco")
    path = tmp_path / "coco" / "val2017" / "000000000285.jpg"
    sink = io.BytesIO()
    Image.effect_noise((WIDTH, HEIGHT), 90).save(sink, "JPEG")
    path.write_bytes(sink.getvalue()[: len(sink.getvalue()) // 2])
    assert "val2017/000000000285.jpg: damaged picture" in fault("coco", tmp_path / "coco")
