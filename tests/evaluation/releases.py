"""Small data sets in the exact layouts of their releases: files, names and fields; drawn images for photographs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as coco

HEIGHT, WIDTH = 60, 80


def photograph(path: Path, seed: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT), **how: Any) -> None:
    """A picture of soft noise, in the format of its name."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path, **how)


def label_map(seed: int, numbers: Sequence[int], size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    """uint8 [h, w]: the first number everywhere, the others in discs that overlap."""
    rng = np.random.default_rng(seed)
    image = Image.new("L", size, numbers[0])
    for number in numbers[1:]:
        x, y = rng.integers(10, size[0] - 10), rng.integers(10, size[1] - 10)
        radius = rng.integers(5, 12)
        ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=number)
    return np.array(image)


def save_map(path: Path, label_hw: np.ndarray, mode: str = "L") -> None:
    """An index PNG, as numbers (L, I;16) or with a palette (P)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == "I;16":
        Image.fromarray(label_hw.astype(np.uint16)).save(path)
        return
    image = Image.fromarray(label_hw)
    if mode == "P":
        image.putpalette([(37 * n) % 256 for n in range(768)])
    image.save(path)


def voc(folder: Path) -> dict[str, np.ndarray]:
    """VOCdevkit/VOC2012 with SegmentationClassAug, a list of its own and one of PFENet's; the label maps by name.

    The sheep (17) of 2007_000042 is under 2,048 pixels, everything in 2007_000033 is over them.
    """
    side = 100
    first, second, third = (np.zeros((side, side), np.uint8) for _ in range(3))
    first[10:60, 5:60], first[60:62, 5:60] = 1, 255  # an aeroplane with an unsure border below
    second[:50, :50], second[90:, 90:] = 12, 17  # a dog, and a small sheep
    maps = {"2007_000033": first, "2007_000042": second, "2007_000061": third}
    for number, (name, label_hw) in enumerate(maps.items()):
        photograph(folder / "JPEGImages" / f"{name}.jpg", number, (side, side))
        save_map(folder / "SegmentationClassAug" / f"{name}.png", label_hw, "P" if number else "L")
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("".join(f"{name}\n" for name in maps))
    pairs = [f"JPEGImages/{name}.jpg /cephfs/person/data/voc2012/new_cls/{name}.png\n" for name in list(maps)[:2]]
    (folder / "val_fixed.txt").write_text("".join(pairs))
    return maps


def image_of(number: int, **more: Any) -> dict[str, Any]:
    """An entry of ``images`` as COCO has it."""
    name = f"{number:012d}.jpg"
    url = f"http://images.cocodataset.org/val2017/{name}"
    return {"id": number, "file_name": name, "coco_url": url, "height": HEIGHT, "width": WIDTH, **more}


def annotation(number: int, image: int, category: int, segmentation: Any, **more: Any) -> dict[str, Any]:
    """An entry of ``annotations``; its box and area are not looked at."""
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "bbox": [0, 0, 1, 1],
        "area": 1.0,
        "iscrowd": 0,
        **more,
    }


def runs(mask_hw: np.ndarray, *, compressed: bool) -> dict[str, Any]:
    """``segmentation`` as run lengths: compressed as SA-Co has them, or the lists of COCO's crowds."""
    size = list(mask_hw.shape)
    if compressed:
        found = coco.encode(np.asfortranarray(mask_hw.astype(np.uint8)))["counts"].decode()
        return {"size": size, "counts": found}
    flat = mask_hw.T.reshape(-1).astype(np.int8)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat]))).tolist()
    counts = np.diff([0, *edges, len(flat)]).tolist()
    return {"size": size, "counts": counts}


POLYGONS = [[10.5, 8.25, 40.0, 8.0, 40.0, 30.5, 11.0, 31.0], [50.0, 40.0, 70.0, 41.0, 60.0, 55.0]]
TRIANGLE = [[5.0, 5.0, 30.0, 5.0, 5.0, 50.0]]


def disc(x: int, y: int, radius: int) -> np.ndarray:
    """bool [HEIGHT, WIDTH]."""
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def instances() -> dict[str, Any]:
    """``instances_val2017.json``: a person in two pieces and another, a crowd of them, a traffic light over one; an
    image with nothing in it."""
    return {
        "info": {"year": 2017},
        "licenses": [],
        "images": [image_of(139), image_of(285), image_of(632)],
        "annotations": [
            annotation(1, 139, 1, POLYGONS),
            annotation(2, 139, 1, TRIANGLE),
            annotation(3, 139, 10, [[20.0, 10.0, 30.0, 10.0, 30.0, 25.0, 20.0, 25.0]]),
            annotation(900100, 285, 1, runs(disc(40, 30, 15), compressed=False), iscrowd=1),
        ],
        "categories": [
            {"supercategory": "person", "id": 1, "name": "person"},
            {"supercategory": "outdoor", "id": 10, "name": "traffic light"},
        ],
    }


def coco_release(folder: Path) -> dict[str, Any]:
    """annotations/instances_val2017.json and val2017/."""
    content = instances()
    for image in content["images"]:
        photograph(folder / "val2017" / image["file_name"], image["id"])
    write_json(folder / "annotations" / "instances_val2017.json", content)
    return content


def lvis_release(folder: Path) -> dict[str, Any]:
    """lvis_v1_val.json over images of val2017 and train2017; ``file_name`` is not there, as in v1."""

    def image(number: int, part: str, absent: list[int], partly: list[int]) -> dict[str, Any]:
        url = f"http://images.cocodataset.org/{part}/{number:012d}.jpg"
        found = image_of(number, coco_url=url, neg_category_ids=absent, not_exhaustive_category_ids=partly)
        del found["file_name"]
        return found

    names = ["armchair", "chair", "car_(automobile)", "horse", "lamp"]
    content = {
        "info": {"version": "v1"},
        "images": [
            image(139, "val2017", [3, 4], []),
            image(285, "train2017", [1, 2], [5]),
            image(7, "val2017", [], []),
        ],
        "annotations": [
            annotation(1, 139, 1, POLYGONS),
            annotation(2, 139, 2, TRIANGLE),
            annotation(3, 285, 3, [[20.0, 10.0, 30.0, 10.0, 30.0, 25.0, 20.0, 25.0]]),
            annotation(4, 285, 5, TRIANGLE),
        ],
        "categories": [
            {
                "id": n,
                "name": name,
                "synset": f"{name}.n.01",
                "synonyms": [name, "auto"] if n == 3 else [name],
                "def": "",
            }
            for n, name in enumerate(names, 1)
        ],
    }
    for number, part in ((139, "val2017"), (285, "train2017"), (7, "val2017")):
        photograph(folder / part / f"{number:012d}.jpg", number)
    write_json(folder / "lvis_v1_val.json", content)
    return content


def sa_co_release(folder: Path) -> dict[str, Any]:
    """A subset's JSON beside its images: two phrases there, one absent, one of which the masks do not cover all."""
    paths = ["1/1001/metaclip_1_1001_c122868928880ae52b33fae1.jpeg", "1/1002/metaclip_1_1002_a0.b1.jpeg"]

    def pair(number: int, path: str, phrase: str, whole: int = 1) -> dict[str, Any]:
        return {
            "id": number,
            "file_name": path,
            "text_input": phrase,
            "width": WIDTH,
            "height": HEIGHT,
            "queried_category": "0",
            "is_instance_exhaustive": whole,
            "is_pixel_exhaustive": whole,
        }

    content = {
        "info": {"version": "v1", "description": "SA-Co"},
        "images": [
            pair(10000000, paths[0], "chili"),
            pair(10000001, paths[0], "the fish ball"),
            pair(10000002, paths[1], "the fish ball"),
            pair(10000003, paths[1], "chili", whole=0),
        ],
        "annotations": [
            annotation(1, 10000000, 1, runs(disc(20, 20, 8), compressed=True), source="manual"),
            annotation(2, 10000000, 1, runs(disc(60, 40, 8), compressed=True), source="manual"),
            annotation(3, 10000002, 1, runs(disc(40, 30, 20), compressed=True), source="manual"),
            annotation(4, 10000003, 1, runs(disc(10, 10, 5), compressed=True), source="manual"),
        ],
        "categories": [{"id": 1, "name": "object"}],
    }
    for number, path in enumerate(paths):
        photograph(folder / path, number, format="JPEG")
    write_json(folder / "gold_fg_food_merged_a_release_test.json", content)
    return content


def write_json(path: Path, content: Any) -> None:
    """A JSON file, its folder made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
