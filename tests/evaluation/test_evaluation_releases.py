"""Data sets in the layouts of their releases become truth shards: what is in them, held against other readings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools.coco import COCO

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation import truth_writing
from clipseg_ray.evaluation.truth import Scene, Thing, TruthSet, survey
from clipseg_ray.evaluation.truth_job import RECORD, write_truth
from clipseg_ray.queries.table import load_queries
from clipseg_ray.storage import Store
from tests.evaluation import releases
from tests.evaluation.releases import HEIGHT, WIDTH, label_map, photograph, save_map
from tests.training import release as phrasecut


def scenes_of(destination: Path) -> dict[str, Scene]:
    """The scenes of truth shards by key."""
    truth = TruthSet.of([str(destination)])
    found = [scene for shard in truth.shards for scenes in truth.scenes(shard) for scene in scenes]
    return {scene.image_id.partition(".tar/")[2]: scene for scene in found}


def masks_of(scene: Scene) -> dict[str, np.ndarray]:
    """bool [h, w] by query; each of them once."""
    return {query_id: plane_wh.T for query_id, (plane_wh,) in scene.planes().items()}


def made(form: str, source: Path, **options: Any) -> dict[str, Scene]:
    """The truth of a release, written twice: the second time nothing happens."""
    destination = source.parent / "truth"
    said = write_truth(form, str(source), str(destination), options)
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in destination.iterdir()}
    assert write_truth(form, str(source), str(destination), options).startswith(f"Nothing to do: {destination} has all")
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in destination.iterdir()} == before
    found = scenes_of(destination)
    assert f" {len(found)} images with {sum(len(scene.masks) for scene in found.values())} masks" in said
    return found


class TestPhraseCut:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "VGPhraseCut_v0"
        tasks = phrasecut.write(folder)["train"]
        again = phrasecut.task(7, [73], "white dog", "dog", [[phrasecut.square(40.5, 20, 9)]])
        releases.write_json(folder / "refer_test.json", [*tasks, again])
        return folder

    def test_every_task_but_those_of_excluded_images(self, folder: Path) -> None:
        found = made("phrasecut", folder)
        assert list(found) == ["3", "7", "9"]
        tasks = [task for task in json.loads((folder / "refer_test.json").read_text()) if task["image_id"] != 150417]
        assert sum(len(scene.masks) for scene in found.values()) == len(tasks) == 7
        for scene, key in zip(found.values(), found, strict=True):
            own = [task for task in tasks if task["image_id"] == int(key)]
            assert [mask.texts for mask in scene.masks] == [(task["phrase"],) for task in own]
            assert {mask.kind for mask in scene.masks} == {"phrase"}
            for plane_wh, task in zip(scene.mask_planes(), own, strict=True):
                np.testing.assert_array_equal(plane_wh.T, self.drawn(task, scene))
            assert scene.image == (folder / "images" / f"{key}.jpg").read_bytes()

    def test_two_tasks_with_one_phrase_are_both_there(self, folder: Path) -> None:
        scene = made("phrasecut", folder)["7"]
        dog = Thing("white dog", "phrase", ("white dog",))
        first, second = dog.labels(scene, scene.planes())
        assert (first.sum(), second.sum()) == (21 * 21, 10 * 10)  # borders included, corners cut to whole pixels

    def test_of_other_images_nothing_is_known(self, folder: Path) -> None:
        scene = made("phrasecut", folder)["9"]
        assert list(Thing("wheels", "phrase", ("wheels",)).labels(scene, scene.planes())) == []

    def test_what_is_left_out_is_said_and_ids_are_kept(self, folder: Path, tmp_path: Path) -> None:
        said = write_truth("phrasecut", str(folder), str(tmp_path / "out"), {})
        assert "; 1 images left out, whose annotations are for another size" in said
        truth = TruthSet.of([str(tmp_path / "out")])
        (sample, *_) = truth.source.samples(truth.shards[0])
        assert [entry["source_id"] for entry in sample.fields["truth"]] == ["3__30", "3__31"]

    @staticmethod
    def drawn(task: dict[str, Any], scene: Scene) -> np.ndarray:
        """As the release's own evaluation draws: each polygon on a layer of its own, whole numbers, added up."""
        total = np.zeros((scene.height, scene.width))
        for polygon in (polygon for instance in task["Polygons"] for polygon in instance):
            layer = Image.new("L", (scene.width, scene.height), 0)
            ImageDraw.Draw(layer).polygon([(int(x), int(y)) for x, y in polygon], outline=1, fill=1)
            total += np.array(layer)
        return total > 0


class TestVoc:
    def test_classes_unsure_pixels_and_the_rule_of_2048_pixels(self, tmp_path: Path) -> None:
        maps = releases.voc(tmp_path / "VOC2012")
        found = made("voc", tmp_path / "VOC2012")
        assert list(found) == list(maps)
        plane, dog, empty = found.values()
        assert {name: mask.sum() for name, mask in masks_of(plane).items()} == {"aeroplane": 50 * 55}
        np.testing.assert_array_equal(masks_of(plane)["aeroplane"], maps["2007_000033"] == 1)
        ignored = plane.ignored()
        assert ignored is not None
        np.testing.assert_array_equal(ignored.T, maps["2007_000033"] == 255)
        assert dog.ignored() is None
        assert list(masks_of(dog)) == ["dog"]
        sheep, cat = (Thing(name, "object", (name,)) for name in ("sheep", "cat"))
        assert list(sheep.labels(dog, dog.planes())) == []  # there, but too small to be asked for
        assert list(cat.labels(dog, dog.planes())) == [None]
        assert list(sheep.labels(empty, empty.planes())) == [None]

    def test_pfenets_list_and_all_classes(self, tmp_path: Path) -> None:
        releases.voc(tmp_path / "VOC2012")
        names = str(tmp_path / "VOC2012" / "val_fixed.txt")
        found = made("voc", tmp_path / "VOC2012", names=names, smallest=1)
        assert list(found) == ["2007_000033", "2007_000042"]
        assert {name: mask.sum() for name, mask in masks_of(found["2007_000042"]).items()} == {
            "dog": 2500,
            "sheep": 100,
        }

    def test_words_for_classes_are_words(self, tmp_path: Path) -> None:
        releases.voc(tmp_path / "VOC2012")
        save_map(tmp_path / "VOC2012" / "SegmentationClassAug" / "2007_000061.png", np.full((100, 100), 20, np.uint8))
        (mask,) = made("voc", tmp_path / "VOC2012")["2007_000061"].masks
        assert (mask.query_id, mask.texts) == ("tvmonitor", ("tv monitor", "tvmonitor"))


class TestCoco:
    def test_unions_of_a_category_are_pycocotools(self, tmp_path: Path) -> None:
        releases.coco_release(tmp_path / "coco")
        found = made("coco", tmp_path / "coco")
        assert list(found) == ["000000000139", "000000000285", "000000000632"]
        other = COCO(str(tmp_path / "coco" / "annotations" / "instances_val2017.json"))
        ids = {1: "person", 10: "traffic-light"}
        for number, scene in zip((139, 285, 632), found.values(), strict=True):
            expected: dict[str, np.ndarray] = {}
            for each in other.loadAnns(other.getAnnIds(number)):
                name, mask_hw = ids[each["category_id"]], other.annToMask(each).astype(bool)
                expected[name] = expected.get(name, np.zeros_like(mask_hw)) | mask_hw
            masks = masks_of(scene)
            assert masks.keys() == expected.keys()
            for name, mask_hw in expected.items():
                np.testing.assert_array_equal(masks[name], mask_hw)
        np.testing.assert_array_equal(masks_of(found["000000000285"])["person"], releases.disc(40, 30, 15))

    def test_queries_are_those_of_the_shipped_table(self, tmp_path: Path) -> None:
        releases.coco_release(tmp_path / "coco")
        made("coco", tmp_path / "coco")
        shipped = {query.query_id: query for query in load_queries("builtin:coco_objects", None, 0.5)}
        for thing in survey(TruthSet.of([str(tmp_path / "truth")])).vocabulary.values():
            assert (thing.kind, thing.texts) == (shipped[thing.query_id].kind, shipped[thing.query_id].texts)

    @pytest.mark.parametrize("upright", [False, True])
    def test_masks_follow_a_photograph_that_is_turned(self, tmp_path: Path, upright: bool) -> None:
        """Whether it was annotated as stored, or as it is shown; a reader sees it upright."""
        content = releases.instances()
        content["images"] = [releases.image_of(139)]
        content["annotations"] = content["annotations"][:1]
        releases.write_json(tmp_path / "coco" / "instances_val2017.json", content)
        stored = (HEIGHT, WIDTH) if upright else (WIDTH, HEIGHT)
        exif = Image.Exif()
        exif[0x0112] = 6
        photograph(tmp_path / "coco" / "val2017" / "000000000139.jpg", size=stored, exif=exif)
        (scene,) = made("coco", tmp_path / "coco").values()
        mask_hw = COCO(str(tmp_path / "coco" / "instances_val2017.json")).annToMask(content["annotations"][0])
        expected = mask_hw if upright else np.rot90(mask_hw, -1)
        assert (scene.height, scene.width) == expected.shape
        np.testing.assert_array_equal(masks_of(scene)["person"], expected)


class TestLvis:
    def test_categories_and_what_is_known_to_be_absent(self, tmp_path: Path) -> None:
        releases.lvis_release(tmp_path / "lvis")
        found = made("lvis", tmp_path / "lvis")
        assert list(found) == ["val2017/000000000007", "val2017/000000000139", "train2017/000000000285"]
        seats, car = found["val2017/000000000139"], found["train2017/000000000285"]
        assert {mask.query_id: mask.texts for mask in car.masks} == {
            "car_(automobile)": ("car", "auto"),
            "lamp": ("lamp",),
        }
        assert (sorted(seats.absent or ()), sorted(car.absent or ())) == (
            ["car_(automobile)", "horse"],
            ["armchair", "chair"],
        )
        lamp = Thing("lamp", "object", ("lamp",))
        assert list(lamp.labels(seats, seats.planes())) == []

    def test_affordances_are_unions_of_their_categories(self, tmp_path: Path) -> None:
        content = releases.lvis_release(tmp_path / "lvis")
        scene = made("lvis", tmp_path / "lvis")["val2017/000000000139"]
        tables = ("builtin:affordances", "builtin:properties")
        paper = {query.query_id: query for table in tables for query in load_queries(table, "source = 'paper'", 0.5)}
        sit, ride, wheels = (
            Thing(query.query_id, query.kind, query.texts, query.concept)
            for query in (paper["paper-sit-on"], paper["paper-ride-on"], paper["paper-has-wheels"])
        )
        (label_wh,) = sit.labels(scene, scene.planes())
        other = COCO(str(tmp_path / "lvis" / "lvis_v1_val.json"))
        expected = [other.annToMask(each) for each in content["annotations"][:2]]
        assert label_wh is not None
        np.testing.assert_array_equal(label_wh.T, np.logical_or(*expected))
        assert list(ride.labels(scene, scene.planes())) == []  # no horse for certain, of ponies nothing is known
        car = scenes_of(tmp_path / "truth")["train2017/000000000285"]
        (on_wheels,) = wheels.labels(car, car.planes())
        assert on_wheels is not None
        assert on_wheels.sum() == 10 * 15


class TestMasks:
    def test_a_folder_as_it_lies(self, tmp_path: Path) -> None:
        classes = {"0": "null", "1": "bag", "2": "belt", "3": "shoes"}
        maps = {}
        for number, mode in enumerate(("L", "P", "I;16"), 1):
            maps[f"000{number}"] = label_map(number, [0, 1, 2, 3])
            photograph(tmp_path / "set" / "images" / f"000{number}.jpg", number)
            save_map(tmp_path / "set" / "labels" / f"000{number}.png", maps[f"000{number}"], mode)
        releases.write_json(tmp_path / "set" / "classes.json", classes)
        found = made("masks", tmp_path / "set")
        assert list(found) == list(maps)
        for name, scene in found.items():
            assert scene.absent is None
            assert scene.ignored() is None
            masks = masks_of(scene)
            assert sorted(masks) == ["bag", "belt", "shoes"]
            for number, query in ((1, "bag"), (2, "belt"), (3, "shoes")):
                np.testing.assert_array_equal(masks[query], maps[name] == number)

    def test_ade20k(self, tmp_path: Path) -> None:
        folder = tmp_path / "ADEChallengeData2016"
        name, label_hw = "ADE_val_00000001", label_map(5, [0, 1, 2, 150])
        photograph(folder / "images" / "validation" / f"{name}.jpg")
        save_map(folder / "annotations" / "validation" / f"{name}.png", label_hw)
        rows = [("1", "0.1576", "wall"), ("2", "0.1072", "building, edifice"), ("150", "0.0002", "flag")]
        table = [
            "Idx\tRatio\tTrain\tVal\tStuff\tName",
            *(f"{n}\t{share}\t9\t1\t1\t{words}" for n, share, words in rows),
        ]
        (folder / "objectInfo150.txt").write_text("\n".join(table) + "\n")
        (scene,) = made(
            "masks",
            folder,
            images=str(folder / "images" / "validation"),
            labels=str(folder / "annotations" / "validation"),
            classes=str(folder / "objectInfo150.txt"),
            ignore_unnamed=True,
        ).values()
        masks, ignored = masks_of(scene), scene.ignored()
        assert [mask.texts for mask in scene.masks] == [("wall",), ("building", "edifice"), ("flag",)]
        np.testing.assert_array_equal(masks["flag"], label_hw == 150)
        assert ignored is not None
        np.testing.assert_array_equal(ignored.T, label_hw == 0)

    def test_cityscapes(self, tmp_path: Path) -> None:
        folder, towns = tmp_path / "cityscapes", {}
        for town, number in (("frankfurt", 294), ("lindau", 5)):
            name = f"{town}_000000_{number:06d}"
            towns[f"{town}/{name}"] = label_map(number, [7, 26, 3])
            photograph(folder / "leftImg8bit" / "val" / town / f"{name}_leftImg8bit.png", number)
            fine = folder / "gtFine" / "val" / town
            save_map(fine / f"{name}_gtFine_labelIds.png", towns[f"{town}/{name}"])
            photograph(fine / f"{name}_gtFine_color.png")
            save_map(fine / f"{name}_gtFine_instanceIds.png", label_map(number, [7, 200]))
        releases.write_json(tmp_path / "cityscapes.json", {"7": "road", "26": "car"})
        found = made(
            "masks",
            folder,
            images=str(folder / "leftImg8bit" / "val" / "*" / "*_leftImg8bit.png"),
            labels=str(folder / "gtFine" / "val" / "*" / "*_gtFine_labelIds.png"),
            classes=str(tmp_path / "cityscapes.json"),
            ignore_unnamed=True,
        )
        assert list(found) == list(towns)
        for name, scene in found.items():
            np.testing.assert_array_equal(masks_of(scene)["car"], towns[name] == 26)

    def test_a_written_split_and_names_with_dots(self, tmp_path: Path) -> None:
        for number, name in enumerate(("a.b", "a.c", "a%2Eb")):
            photograph(tmp_path / "set" / "images" / f"{name}.png", number)
            save_map(tmp_path / "set" / "labels" / f"{name}.png", np.full((HEIGHT, WIDTH), number, np.uint8))
        releases.write_json(tmp_path / "set" / "classes.json", ["zero", "one", "two"])
        (tmp_path / "_test.txt").write_text("a.c.png\n\na%2Eb\n")
        found = made("masks", tmp_path / "set", names=str(tmp_path / "_test.txt"))
        assert {key: list(masks_of(scene)) for key, scene in found.items()} == {"a%2Ec": ["one"], "a%252Eb": ["two"]}
        assert [path.name for path in sorted((tmp_path / "truth").iterdir())] == [RECORD, "test-00000.tar"]


class TestSaCo:
    def test_pairs_with_negatives(self, tmp_path: Path) -> None:
        releases.sa_co_release(tmp_path / "gold")
        found = made(
            "sa-co", tmp_path / "gold" / "gold_fg_food_merged_a_release_test.json", images=str(tmp_path / "gold")
        )
        dish, ball = found.values()
        assert list(found)[1] == "1/1002/metaclip_1_1002_a0%2Eb1"
        np.testing.assert_array_equal(masks_of(dish)["chili"], releases.disc(20, 20, 8) | releases.disc(60, 40, 8))
        np.testing.assert_array_equal(masks_of(ball)["the fish ball"], releases.disc(40, 30, 20))
        chili, fish = (Thing(phrase, "phrase", (phrase,)) for phrase in ("chili", "the fish ball"))
        assert list(fish.labels(dish, dish.planes())) == [None]
        assert list(chili.labels(ball, ball.planes())) == []  # its masks may not cover all of it

    def test_what_is_left_out_is_said(self, tmp_path: Path) -> None:
        releases.sa_co_release(tmp_path)
        source = str(tmp_path / "gold_fg_food_merged_a_release_test.json")
        assert "; 1 pairs left out, whose masks may not cover all" in write_truth(
            "sa-co", source, str(tmp_path / "t"), {}
        )


def test_a_phrase_that_is_absent_everywhere_is_in_the_vocabulary(tmp_path: Path) -> None:
    content = releases.sa_co_release(tmp_path / "gold")
    content["annotations"] = content["annotations"][:1]
    releases.write_json(tmp_path / "gold" / "gold.json", content)
    write_truth("sa-co", str(tmp_path / "gold" / "gold.json"), str(tmp_path / "truth"), {})
    assert sorted(survey(TruthSet.of([str(tmp_path / "truth")])).vocabulary) == ["chili", "the fish ball"]


@pytest.mark.parametrize("form", ["phrasecut", "masks"])
def test_releases_and_shards_may_lie_on_s3(form: str, tmp_path: Path, bucket: str) -> None:
    if form == "phrasecut":
        phrasecut.write(tmp_path / "release")
    else:
        photograph(tmp_path / "release" / "images" / "a.jpg")
        save_map(tmp_path / "release" / "labels" / "a.png", label_map(1, [0, 1]))
        releases.write_json(tmp_path / "release" / "classes.json", ["null", "bag"])
    options = {"split": "train"} if form == "phrasecut" else {}
    there, here = Store.of(f"{bucket}/release"), Store.of(str(tmp_path / "release"))
    for entry in here.list():
        there.put(entry.path, here.get(entry.path))
    said = write_truth(form, there.url, f"{bucket}/truth", options)
    assert said.startswith(f"{bucket}/truth: 1 of 1 shard(s) written")
    assert "Nothing to do" in write_truth(form, there.url, f"{bucket}/truth", options)
    write_truth(form, here.url, str(tmp_path / "truth"), options)
    shards = [Store.of(url) for url in (f"{bucket}/truth", str(tmp_path / "truth"))]
    (name,) = [entry.path for entry in shards[0].list() if entry.path.endswith(".tar")]
    assert shards[0].get(name) == shards[1].get(name)
    there.delete("images/7.jpg" if form == "phrasecut" else "labels/a.png")
    with pytest.raises(UserError, match=r"images/7\.jpg: not found" if form == "phrasecut" else r"labels: no"):
        write_truth(form, there.url, f"{bucket}/other", options)


def test_it_goes_on_with_the_shards_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth_writing, "IN_A_SHARD", 2)
    releases.coco_release(tmp_path / "coco")
    whole = tmp_path / "whole"
    for number in (0, 1):  # one at a time, as after two interruptions
        monkeypatch.setattr("clipseg_ray.evaluation.truth_job._written", first_only)
        said = write_truth("coco", str(tmp_path / "coco"), str(whole), {})
        assert f": 1 of 2 shard(s) written, {2 - number} images" in said or number == 0
    assert sorted(path.name for path in whole.iterdir()) == [RECORD, "val2017-00000.tar", "val2017-00001.tar"]
    assert len(scenes_of(whole)) == 3
    (whole / "val2017-00000.tar").write_bytes(b"")  # cut off by a lost machine
    monkeypatch.undo()
    monkeypatch.setattr(truth_writing, "IN_A_SHARD", 2)
    assert ": 1 of 2 shard(s) written, 2 images" in write_truth("coco", str(tmp_path / "coco"), str(whole), {})
    assert len(scenes_of(whole)) == 3


def first_only(spec: truth_writing.Spec, shards: list[truth_writing.Planned]) -> list[truth_writing.Written]:
    """One shard is written, then the machine is gone."""
    return [truth_writing.Writer(spec)(shards[0])]


def test_masks_without_a_pixel_are_said(tmp_path: Path) -> None:
    content = releases.coco_release(tmp_path / "coco")
    content["annotations"].append(releases.annotation(8, 632, 10, [[500.0, 500.0, 510.0, 500.0, 505.0, 510.0]]))
    releases.write_json(tmp_path / "coco" / "annotations" / "instances_val2017.json", content)
    said = write_truth("coco", str(tmp_path / "coco"), str(tmp_path / "truth"), {})
    assert said.endswith("3 images with 3 masks; 1 masks without a pixel left out")
    assert scenes_of(tmp_path / "truth")["000000000632"].masks == ()
