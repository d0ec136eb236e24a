"""Exports in the hands of the tools they are for, with the images beside them and only the masks that were wanted."""

from __future__ import annotations

import glob
import io
import json
import re
import shlex
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import datasets
import numpy as np
import PIL
import pycocotools.mask
import pytest
import webdataset
import yaml
from PIL import Image
from pycocotools.coco import COCO
from scipy import ndimage

from clipseg_ray.cli import app
from clipseg_ray.errors import UserError
from clipseg_ray.report.export import Form, Images, command, label_studio
from clipseg_ray.report.export import webdataset as webdataset_form
from clipseg_ray.report.export.selection import Selection
from tests.report import world
from tests.report.test_report_export import at_size, found
from tests.report.world import Answer, Picture
from tests.rle_pack import decoded

NAMES = ["zebra", "cup", "dog"]  # not the alphabet's order, which no table need have
TOOLS = {each.__name__: each for each in (datasets, glob, json, np, PIL, pycocotools, webdataset)}
QUERIES = [world.query(name) for name in NAMES]


@pytest.fixture
def pictures() -> list[list[Picture]]:
    """Masks of one, of two and of no region; ids with folders, dots and an ending."""
    made = world.scattered(2, 3, NAMES, seed=3)
    two = world.ellipse(0.2, 0.3, 0.15, 0.2) | world.ellipse(0.75, 0.7, 0.1, 0.1)
    two[10, 10] = False  # a hole
    made[0][1].answers["dog"] = Answer(two, 0.8, 0.7)
    made[0][1].answers["cup"] = Answer(world.ellipse(0.4, 0.4, 0.2, 0.2), 0.6, 0.55)
    made[1][0].image_id = "images/v1.5/images/cat & co.png"
    return made


@pytest.fixture
def output(tmp_path: Path, pictures: list[list[Picture]]) -> str:
    return world.write(tmp_path, QUERIES, pictures, chunk_images=2)


@pytest.fixture
def masks(pictures: list[list[Picture]]) -> dict[tuple[str, str], np.ndarray]:
    """bool [height, width] by image and query, at image size, those that are not empty."""
    return {
        (picture.image_id, name): mask
        for picture in found(pictures).values()
        for name, answer in picture.answers.items()
        if (mask := at_size(answer.mask, picture.height, picture.width)).any()
    }


def pixels(encoded: bytes | Path) -> np.ndarray:
    with Image.open(encoded if isinstance(encoded, Path) else io.BytesIO(encoded)) as image:
        return np.asarray(image.convert("RGB"))


def originals(pictures: list[list[Picture]]) -> dict[str, np.ndarray]:
    return {
        picture.image_id: pixels(picture.encoded(1000 * number + i))
        for number, shard in enumerate(pictures)
        for i, picture in enumerate(shard)
    }


def test_coco_names_the_copies_beside_it(
    tmp_path: Path, output: str, pictures: list[list[Picture]], capsys: pytest.CaptureFixture[str]
) -> None:
    said = command.export(output, str(tmp_path / "coco"), Form.COCO, None, images=Images.COPY)
    assert said.endswith(f"; the images are in {tmp_path}/coco/images")
    loaded = COCO(str(tmp_path / "coco" / "instances.json"))
    capsys.readouterr()
    assert [each["name"] for each in loaded.loadCats(loaded.getCatIds())] == NAMES
    of = originals(pictures)
    assert {each["image_id"] for each in loaded.imgs.values()} == of.keys()
    for image in loaded.imgs.values():
        copy = tmp_path / "coco" / "images" / image["file_name"]
        assert copy.suffix == ".png"
        np.testing.assert_array_equal(pixels(copy), of[image["image_id"]])
    said = command.export(output, str(tmp_path / "x.json"), Form.COCO, None)
    assert "--images copy writes them beside it" in said


def test_coco_leaves_out_images_that_cannot_be_had(tmp_path: Path, pictures: list[list[Picture]]) -> None:
    pictures[0][1].data = b"not an image any more"
    output = world.write(tmp_path, QUERIES, pictures)
    said = command.export(output, str(tmp_path / "coco"), Form.COCO, None, images=Images.COPY)
    assert "; 1 images could not be had and were left out" in said
    document = json.loads((tmp_path / "coco" / "instances.json").read_text())
    listed = {each["id"] for each in document["images"]}
    assert len(listed) == 5
    assert {each["image_id"] for each in document["annotations"]} <= listed


def test_polygons_are_the_masks_to_the_pixel(
    tmp_path: Path, output: str, masks: dict[tuple[str, str], np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    command.export(output, str(tmp_path / "x.json"), Form.COCO, None, polygons=True)
    loaded = COCO(str(tmp_path / "x.json"))
    capsys.readouterr()
    assert len(loaded.anns) == len(masks)
    for annotation in loaded.anns.values():
        assert isinstance(annotation["segmentation"], list)
        key = (loaded.imgs[annotation["image_id"]]["image_id"], loaded.cats[annotation["category_id"]]["name"])
        np.testing.assert_array_equal(loaded.annToMask(annotation).astype(bool), masks[key])


def test_instances_of_enough_score_and_pixels(
    tmp_path: Path, output: str, pictures: list[list[Picture]], capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = Selection(instances=True, min_score=0.7, min_area=30)
    command.export(output, str(tmp_path / "x.json"), Form.COCO, None, selection=chosen)
    loaded = COCO(str(tmp_path / "x.json"))
    capsys.readouterr()
    expected = []
    for picture in found(pictures).values():
        for name, answer in picture.answers.items():
            if answer.score >= 0.7 and answer.mask.any():
                labels, number = ndimage.label(answer.mask, np.ones((3, 3)))
                regions = [at_size(labels == label, picture.height, picture.width) for label in range(1, number + 1)]
                expected += [(picture.image_id, name, region.tobytes()) for region in regions if region.sum() >= 30]
    assert len({key[:2] for key in expected}) < len(expected), "a mask of two regions"
    made = [
        (
            loaded.imgs[each["image_id"]]["image_id"],
            loaded.cats[each["category_id"]]["name"],
            loaded.annToMask(each).astype(bool).tobytes(),
        )
        for each in loaded.anns.values()
    ]
    assert sorted(made) == sorted(expected)
    assert sorted(loaded.anns) == list(range(1, len(expected) + 1))


def test_yolo_finds_the_labels_of_every_image(
    tmp_path: Path, output: str, pictures: list[list[Picture]], masks: dict[tuple[str, str], np.ndarray]
) -> None:
    said = command.export(output, str(tmp_path / "yolo"), Form.YOLO, None)
    assert f"6 label files, {len(masks)} masks, 3 classes" in said
    data = yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())
    assert data == {"train": "images", "val": "images", "names": dict(enumerate(NAMES))}
    of = {array.tobytes(): image_id for image_id, array in originals(pictures).items()}
    files = [path for path in (tmp_path / "yolo" / "images").rglob("*") if path.is_file()]
    assert len(files) == len(of)
    seen: dict[tuple[str, str], np.ndarray] = {}
    for file in files:
        image_id = of[pixels(file).tobytes()]
        for name, mask in yolo_labels(file, data["names"]):
            seen[image_id, name] = mask
    assert seen.keys() == masks.keys()
    for key, mask in masks.items():
        np.testing.assert_array_equal(seen[key], mask)


@pytest.mark.parametrize(("form", "ending"), [(Form.YOLO, ".txt"), (Form.SA_1B, ".json")])
def test_without_images_the_names_are_those_of_the_copies(tmp_path: Path, output: str, form: Form, ending: str) -> None:
    for images in Images:
        command.export(output, str(tmp_path / images), form, None, images=images)
    names = {images: [*(tmp_path / images).rglob("*")] for images in Images}
    of = {
        images: {str(path.relative_to(tmp_path / images)) for path in found if path.suffix == ending}
        for images, found in names.items()
    }
    assert of[Images.COPY] == of[Images.NONE]
    assert len(of[Images.NONE]) == 6
    assert not [path for path in names[Images.NONE] if path.suffix == ".png"]


def test_images_that_are_files_go_by_their_own_names(tmp_path: Path, pictures: list[list[Picture]]) -> None:
    output = world.write(tmp_path / "ä b", QUERIES, pictures, input_format="images")
    said = command.export(output, str(tmp_path / "x.json"), Form.COCO, None)
    assert "archives" not in said
    document = json.loads((tmp_path / "x.json").read_text())
    assert document["images"][0]["file_name"] == "0000", "the key, which is a file's path below the input's root"
    command.export(output, str(tmp_path / "ls"), Form.LABEL_STUDIO, None)
    assert not (tmp_path / "ls" / "images").exists()
    (file,) = (tmp_path / "ls").glob("tasks-*.json")
    root, _, path = json.loads(file.read_text())[0]["data"]["image"].partition("?d=")
    assert root == "/data/local-files/"
    assert Path(f"/{unquote(path)}") == tmp_path / "ä b" / "in" / "s-000.tar"


def yolo_labels(image: Path, names: dict[int, str]) -> list[tuple[str, np.ndarray]]:
    """The masks of an image by the rules of ``ultralytics.data.utils``: img2label_paths, verify_image_label."""
    labels = "/labels/".join(str(image).rsplit("/images/", 1)).rsplit(".", 1)[0] + ".txt"
    with Image.open(image) as opened:
        width, height = opened.size
    lines = [line.split() for line in Path(labels).read_text().strip().splitlines() if line]
    made = []
    for line in lines:
        assert len(line) > 6, "a segment, no box"
        segment_p2 = np.array(line[1:], np.float32).reshape(-1, 2)
        assert segment_p2.min() >= 0
        assert segment_p2.max() <= 1
        ring = (segment_p2.astype(float) * (width, height)).reshape(-1).tolist()
        (rle,) = pycocotools.mask.frPyObjects([ring], height, width)
        made.append((names[int(line[0])], pycocotools.mask.decode(rle).astype(bool)))
    return made


def test_label_studio_s_decoder_reads_the_masks(
    tmp_path: Path,
    output: str,
    pictures: list[list[Picture]],
    masks: dict[tuple[str, str], np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(label_studio, "FILE_BYTES", 2_000)
    command.export(output, str(tmp_path / "ls"), Form.LABEL_STUDIO, None)
    files = sorted((tmp_path / "ls").glob("tasks-*.json"))
    assert len(files) > 1
    config = ElementTree.parse(tmp_path / "ls" / "config.xml").getroot()
    assert [label.get("value") for label in config.iter("Label")] == NAMES
    (image,), (brush,) = config.iter("Image"), config.iter("BrushLabels")
    tasks = [task for file in files for task in json.loads(file.read_text())]
    of = originals(pictures)
    assert [task["data"]["image_id"] for task in tasks] == list(of)
    seen = {}
    for task in tasks:
        root, _, path = task["data"][image.get("value").removeprefix("$")].partition("?d=")
        assert root == "/data/local-files/"
        image_id = task["data"]["image_id"]
        np.testing.assert_array_equal(pixels(tmp_path / "ls" / unquote(path)), of[image_id])
        for prediction in task.get("predictions", ()):
            results = prediction["result"]
            assert prediction["score"] == pytest.approx(np.mean([result["score"] for result in results]), abs=1e-6)
            for result in results:
                assert (result["from_name"], result["to_name"]) == (brush.get("name"), image.get("name"))
                size = (result["original_height"], result["original_width"])
                (name,) = result["value"]["brushlabels"]
                seen[image_id, name] = decoded(result["value"]["rle"], *size)
    assert seen.keys() == masks.keys()
    for key, mask in masks.items():
        np.testing.assert_array_equal(seen[key], mask)
    with pytest.raises(UserError, match="lie in archives; leave out --images none"):
        command.export(output, str(tmp_path / "no"), Form.LABEL_STUDIO, None, images=Images.NONE)


def test_sa_1b_has_a_json_beside_each_image(
    tmp_path: Path, output: str, pictures: list[list[Picture]], masks: dict[tuple[str, str], np.ndarray]
) -> None:
    command.export(output, str(tmp_path / "sa"), Form.SA_1B, None)
    files = sorted((tmp_path / "sa").rglob("*.json"))
    of = originals(pictures)
    assert len(files) == len(of)
    seen = {}
    for file in files:
        document = json.loads(file.read_text())
        image_id = document["image"]["source_id"]
        np.testing.assert_array_equal(pixels(file.with_name(document["image"]["file_name"])), of[image_id])
        for each in document["annotations"]:
            assert each.keys() >= {"id", "bbox", "area", "predicted_iou", "stability_score", "crop_box", "point_coords"}
            seen[image_id, each["name"]] = mask = pycocotools.mask.decode(each["segmentation"]).astype(bool)
            assert each["area"] == mask.sum()
    assert seen.keys() == masks.keys()
    for key, mask in masks.items():
        np.testing.assert_array_equal(seen[key], mask)


def test_webdataset_loads_images_with_their_masks(
    tmp_path: Path,
    output: str,
    pictures: list[list[Picture]],
    masks: dict[tuple[str, str], np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webdataset_form, "SHARD_BYTES", 20_000)
    said = command.export(output, str(tmp_path / "wds"), Form.WEBDATASET, None)
    shards = sorted(str(path) for path in (tmp_path / "wds").glob("train-*.tar"))
    assert len(shards) > 1
    assert f"6 samples, {len(masks)} masks in {len(shards)} shard(s)" in said
    names = [each["name"] for each in json.loads((tmp_path / "wds" / "names.json").read_text())]
    assert names == NAMES
    of = originals(pictures)
    keys = []
    for sample in webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8"):
        about, arrays = sample["json"], sample["masks.npz"]
        np.testing.assert_array_equal(sample["png"], of[about["image_id"]])
        assert arrays["masks"].shape == (len(about["objects"]), about["height"], about["width"])
        for each, label, mask in zip(about["objects"], arrays["labels"], arrays["masks"], strict=True):
            keys.append((about["image_id"], names[label]))
            assert each["query_id"] == names[label]
            np.testing.assert_array_equal(mask.astype(bool), masks[keys[-1]])
        assert {*about["absent"]} == {*NAMES} - {name for image_id, name in keys if image_id == about["image_id"]}
    assert sorted(keys) == sorted(masks)


def test_soft_masks_are_the_kept_maps_at_image_size(tmp_path: Path) -> None:
    ramp = np.repeat(np.linspace(20, 235, 8).astype(np.uint8)[None], 8, 0)  # rises from left to right
    mask = world.ellipse(0.7, 0.5, 0.3, 0.4)
    pictures = [
        Picture("a.jpg", 90, 30, answers={"dog": Answer(mask, 0.9, 0.8, heat=ramp)}),
        Picture("b.jpg", 40, 60, answers={"dog": Answer(world.empty(), 0.4, heat=ramp // 3)}),
    ]
    output = world.write(tmp_path, [world.query("dog")], [pictures], heat=8)
    said = command.export(output, str(tmp_path / "soft"), Form.SOFT, None)
    assert "1 soft masks of 1 queries" in said
    with Image.open(tmp_path / "soft" / "dog" / "a.png") as image:
        assert (image.mode, image.size) == ("L", (90, 30))
        grey = np.asarray(image).astype(int)
    assert (grey == grey[:1]).all(), "the same in every row"
    assert (np.diff(grey[0]) >= 0).all()
    logit = np.log(ramp[0] / (255 - ramp[0].astype(float)))
    at = (np.arange(90) + 0.5) * 8 / 90 - 0.5
    expected = 255 / (1 + np.exp(-np.interp(at, np.arange(8), logit)))
    assert abs(grey[0] - expected).max() < 0.51
    with pytest.raises(UserError, match="--instances: soft"):
        command.export(output, str(tmp_path / "no"), Form.SOFT, None, selection=Selection(instances=True))
    other = world.write(tmp_path / "cold", [world.query("dog")], [pictures])
    with pytest.raises(UserError, match=r"without masks\.heat"):
        command.export(other, str(tmp_path / "no"), Form.SOFT, None)


def test_pictures_that_exif_turns_are_copied_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    sink = io.BytesIO()
    stripes = np.zeros((40, 64, 3), np.uint8)
    stripes[:, :32] = 255
    Image.fromarray(stripes).save(sink, "JPEG", exif=exif)
    answers = {"dog": Answer(world.ellipse(0.5, 0.2, 0.3, 0.1), 0.9)}
    picture = Picture("a.jpg", 40, 64, data=sink.getvalue(), orientation=6, answers=answers)
    output = world.write(tmp_path, [world.query("dog")], [[picture]])
    command.export(output, str(tmp_path / "coco"), Form.COCO, None, images=Images.COPY)
    with Image.open(tmp_path / "coco" / "images" / "a.jpg") as copy:
        assert copy.size == (40, 64)
        assert copy.getexif().get(0x0112, 1) == 1
        turned = np.asarray(copy)
    assert turned[:30].min() > 240
    assert turned[34:].max() < 15


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "yolo", "--polygons"], "--polygons: yolo does not have it, only coco"),
        (["--format", "huggingface", "--images", "copy"], "only coco, yolo, label-studio, sa-1b"),
    ],
)
def test_an_option_that_a_form_has_not_is_refused(
    tmp_path: Path, output: str, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["clipseg-ray", "export", output, str(tmp_path / "x"), *arguments])
    with pytest.raises(UserError, match=re.escape(said)):
        app(standalone_mode=False)


def test_label_maps_have_only_what_was_wanted(tmp_path: Path, output: str, pictures: list[list[Picture]]) -> None:
    picture = pictures[0][1]
    labels, number = ndimage.label(picture.answers["dog"].mask, np.ones((3, 3)))
    regions = [at_size(labels == label, picture.height, picture.width) for label in range(1, number + 1)]
    assert len({region.sum() for region in regions}) > 1
    largest = max(regions, key=np.sum)
    chosen = Selection(min_score=0.7, min_area=int(largest.sum()), instances=True)
    command.export(output, str(tmp_path / "maps"), Form.LABEL_MAPS, "query_id = 'dog'", selection=chosen)
    with Image.open(tmp_path / "maps" / "labels" / f"{picture.image_id}.png") as image:
        np.testing.assert_array_equal(np.asarray(image) == 1, largest)


def test_the_lines_of_the_page_work(
    tmp_path: Path, pictures: list[list[Picture]], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "exports.md").read_text()
    sections = re.findall(r"^### (\S+)\n\n```sh\n(.*?)\n```\n```python\n(.*?)\n```$", text, re.M | re.S)
    assert [form for form, _, _ in sections] == [*Form]
    for shard in pictures:
        for picture in shard:
            for answer in picture.answers.values():
                answer.heat = np.full((8, 8), 99, np.uint8)
    output = world.write(tmp_path, QUERIES, pictures, heat=8)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for _, command_line, line in sections:
        monkeypatch.setattr("sys.argv", shlex.split(re.sub(r"\S+/masks", output, command_line)))
        app(standalone_mode=False)
        if not line.startswith(("ultralytics.", "label_studio_sdk.")):
            made = eval(line, TOOLS)
            assert made is not None
            assert not isinstance(made, list) or made
