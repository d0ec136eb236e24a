"""A folder of releases, each small and in its layout, with all that ``configs/paper`` needs: what DATA is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.evaluation import releases
from tests.training.release import square, task

SIDE, QUARTER = 120, 58
CORNERS = [(0, 0), (0, 60), (60, 0), (60, 60)]
"""Of four things of QUARTER² pixels, more than Pascal-5i's least."""

PASCAL = [1, 6, 12, 17]
COCO = ["person", "bicycle", "car", "motorcycle"]
LVIS = ["armchair", "horse", "car_(automobile)", "duck", "bottle"]


def write(folder: Path) -> Path:
    """Three images of each release. Pascal's and COCO's have a class of every fold, each in all of them."""
    _phrasecut(folder / "VGPhraseCut_v0")
    _voc(folder / "VOCdevkit" / "VOC2012", folder / "PFENet" / "lists" / "pascal" / "val_fixed.txt")
    _coco(folder / "coco")
    _lvis(folder / "lvis", folder / "coco")
    return folder


def _phrasecut(folder: Path) -> None:
    tasks = [
        task(number, [10 * number + place], phrase, phrase, [[square(10 + 40 * place, 12, 30)]])
        for number in (2, 3, 5)
        for place, phrase in enumerate(("dog", "wooden table"))
    ]
    for number in (2, 3, 5):
        releases.photograph(folder / "images" / f"{number}.jpg", number)
    releases.write_json(folder / "refer_test.json", tasks)


def _voc(folder: Path, names: Path) -> None:
    keys = ["2007_000033", "2007_000042", "2007_000061"]
    for turn, key in enumerate(keys):
        label_hw = np.zeros((SIDE, SIDE), np.uint8)
        for place, (y, x) in enumerate(CORNERS):
            label_hw[y : y + QUARTER, x : x + QUARTER] = PASCAL[(place + turn) % 4]
        label_hw[58:60] = 255
        releases.photograph(folder / "JPEGImages" / f"{key}.jpg", 10 + turn, (SIDE, SIDE))
        releases.save_map(folder / "SegmentationClassAug" / f"{key}.png", label_hw)
    for path, line in (
        (folder / "ImageSets" / "Segmentation" / "val.txt", "{0}\n"),
        (names, "JPEGImages/{0}.jpg SegmentationClassAug/{0}.png\n"),
    ):
        path.parent.mkdir(parents=True)
        path.write_text("".join(line.format(key) for key in keys))


def _rectangle(place: int, turn: int) -> list[list[float]]:
    y, x = CORNERS[(place + turn) % 4]
    left, top = x / 120 * releases.WIDTH, y / 120 * releases.HEIGHT
    return [[left, top, left + 30.0, top, left + 30.0, top + 25.0, left, top + 25.0]]


def _coco(folder: Path) -> None:
    content = {
        "images": [releases.image_of(number) for number in (139, 285, 632)],
        "annotations": [
            releases.annotation(10 * number + place, number, place + 1, _rectangle(place, turn))
            for turn, number in enumerate((139, 285, 632))
            for place in range(4)
        ],
        "categories": [{"id": place, "name": name} for place, name in enumerate(COCO, 1)],
    }
    for number in (139, 285, 632):
        releases.photograph(folder / "val2014" / f"{number:012d}.jpg", number)
    releases.write_json(folder / "annotations" / "instances_val2014.json", content)


def _lvis(folder: Path, images: Path) -> None:
    found = []
    for number, part in ((139, "val2017"), (285, "train2017"), (632, "val2017")):
        url = f"http://images.cocodataset.org/{part}/{number:012d}.jpg"
        found.append(releases.image_of(number, coco_url=url, neg_category_ids=[], not_exhaustive_category_ids=[]))
        releases.photograph(images / part / f"{number:012d}.jpg", number)
    content = {
        "images": found,
        "annotations": [
            releases.annotation(10 * number + place, number, (place + turn) % 5 + 1, _rectangle(place, turn))
            for turn, number in enumerate((139, 285, 632))
            for place in range(3)
        ],
        "categories": [{"id": place, "name": name, "synonyms": [name]} for place, name in enumerate(LVIS, 1)],
    }
    releases.write_json(folder / "lvis_v1_val.json", content)
