"""Files made of images: an image's own ending gives way, and no two images share a name."""

import re
from pathlib import Path

import pytest

from clipseg_ray.report.export import Form, command
from clipseg_ray.report.export.names import Names
from clipseg_ray.storage import Store
from tests.report import world
from tests.report.world import Answer, Picture


def names_of(folder: Path, ids: list[str], extension: str) -> dict[str, str]:
    pictures = [Picture(image_id, answers={"dog": Answer(world.empty(), 0.1)}) for image_id in ids]
    names = Names(Store(world.write(folder, [world.query("dog")], [pictures])))
    place = {"source_url": "s-000.tar", "key": "0000", "offset": 512}
    return {image_id: names.of({"image_id": image_id, **place}, extension) for image_id in ids}


def test_an_images_own_ending_gives_way(tmp_path: Path) -> None:
    assert names_of(
        tmp_path, ["0001.jpg", "b/0002.JPEG", "c.d.png", "t.tar/0003", "v1.5", ".jpg", "x/.png"], ".jpg"
    ) == {
        "0001.jpg": "0001.jpg",
        "b/0002.JPEG": "b/0002.jpg",
        "c.d.png": "c.d.jpg",
        "t.tar/0003": "t.tar/0003.jpg",
        "v1.5": "v1.5.jpg",
        ".jpg": ".jpg.jpg",
        "x/.png": "x/.png.jpg",
    }


@pytest.mark.parametrize(
    "ids",
    [
        ["a.jpg", "a.png"],
        ["a.jpg", "a"],
        ["a.jpg", "a.png", "a.jpg.png", "a.jpg.png.png", "a"],
        ["a.jpg", "a.JPG", "a.Jpg"],
        ["a.png.jpg", "a.png"],
        ["a.jpg\n", "a.jpg", "a.jpg\n.jpg"],
        ["a/b/c.jpg", "a/B/C.png", "A/b/c"],
    ],
)
@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_images_that_would_share_a_name_keep_their_endings(tmp_path: Path, ids: list[str], extension: str) -> None:
    names = names_of(tmp_path, ids, extension)
    assert len({name.lower() for name in names.values()}) == len(ids), names


def test_a_file_gives_way_to_a_folder_of_its_name(tmp_path: Path) -> None:
    names = names_of(tmp_path, ["x/a.jpg", "x/a.png/b/c.jpg", "x/b.jpg"], ".png")
    assert names["x/b.jpg"] == "x/b.png"
    assert names["x/a.png/b/c.jpg"] == "x/a.png/b/c.png"
    assert re.fullmatch(r"x/a-[0-9a-f]{16}\.png", names["x/a.jpg"])


def test_images_of_one_id_have_names_of_their_own(tmp_path: Path) -> None:
    picture = Picture("a.jpg", answers={"dog": Answer(world.ellipse(0.5, 0.5, 0.25, 0.25), 0.9)})
    output = world.write(tmp_path, [world.query("dog")], [[picture], [picture]])
    command.export(output, str(tmp_path / "maps"), Form.LABEL_MAPS, None)
    assert len(list((tmp_path / "maps/labels").iterdir())) == 2


def test_a_path_that_no_file_system_takes_is_named_by_a_hash(tmp_path: Path) -> None:
    ids = [f"{'folder/' * 600}{number}.jpg" for number in range(2)]
    names = names_of(tmp_path, [*ids, "ü" * 90], ".png")
    assert re.fullmatch(r"0-[0-9a-f]{16}\.png", names[ids[0]])
    assert re.fullmatch(r"1-[0-9a-f]{16}\.png", names[ids[1]])
    assert len(names["ü" * 90]) == 204


def test_overlays_and_label_maps_are_called_so(tmp_path: Path) -> None:
    answers = {"dog": Answer(world.ellipse(0.5, 0.5, 0.25, 0.25), 0.87)}
    pictures = [Picture("photos/0001.jpg", answers=answers), Picture("photos/0002.png", answers=answers)]
    output = world.write(tmp_path, [world.query("dog")], [pictures])
    command.export(output, str(tmp_path / "over"), Form.OVERLAYS, None)
    command.export(output, str(tmp_path / "maps"), Form.LABEL_MAPS, None)
    assert sorted(path.name for path in (tmp_path / "over/photos").iterdir()) == ["0001.jpg", "0002.jpg"]
    assert sorted(path.name for path in (tmp_path / "maps/labels/photos").iterdir()) == ["0001.png", "0002.png"]
