"""A small PhraseCut release: the files, names and fields of VGPhraseCut_v0, drawn images in place of photographs."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image, ImageDraw


def task(image_id: int, ann_ids: list[int], phrase: str, name: str, instances: list[list[list[list[float]]]]) -> dict:
    """One entry of ``refer_*.json``; ``instances`` are lists of polygons."""
    boxes = []
    for polygons in instances:
        xs, ys = zip(*(point for polygon in polygons for point in polygon), strict=True)
        boxes.append([min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1])
    return {
        "task_id": f"{image_id}__{'_'.join(map(str, ann_ids))}",
        "image_id": image_id,
        "ann_ids": ann_ids,
        "instance_boxes": boxes,
        "Polygons": instances,
        "phrase": phrase,
        "phrase_structure": {
            "name": name,
            "attributes": phrase.removesuffix(name).split(),
            "relation_ids": [],
            "relation_descriptions": [],
            "type": "attribute" if phrase != name else "name",
        },
    }


def square(x: float, y: float, side: float) -> list[list[float]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side]]


def write(folder: Path) -> dict[str, list[dict]]:
    """Write train and miniv splits with their images; returns the tasks by split."""
    (folder / "images").mkdir(parents=True)
    train = [
        task(7, [70], "white dog", "dog", [[square(4.6, 6.2, 20)]]),
        task(7, [71, 72], "wheels", "wheels", [[square(40, 8, 6), square(50, 8, 6)], [square(70, 30, 9)]]),
        task(3, [30], "white dog", "dog", [[square(30, 10, 25)]]),
        task(3, [31], "man riding horse", "man", [[[[60.0, 5.0], [79.0, 5.0], [70.0, 39.0]]]]),
        task(9, [90], "black cat", "cat", [[square(1, 1, 30)]]),
        task(150417, [91], "black cat", "cat", [[square(1, 1, 30)]]),  # of the 17
        {**task(9, [92], "unclear", "unclear", [[square(1, 1, 3)]]), "phrase_structure": {}},
    ]
    splits = {"train": train, "miniv": [task(8, [80], "tree", "tree", [[square(2, 2, 10)]])]}
    sizes = {7: (80, 48), 3: (80, 40), 9: (40, 60), 150417: (40, 60), 8: (30, 30)}
    for image_id, size in sizes.items():
        image = Image.new("RGB" if image_id != 9 else "L", size, "grey")
        for each in (each for tasks in splits.values() for each in tasks if each["image_id"] == image_id):
            for polygon in (polygon for polygons in each["Polygons"] for polygon in polygons):
                ImageDraw.Draw(image).polygon([(x, y) for x, y in polygon], fill="white")
        image.save(folder / "images" / f"{image_id}.jpg", quality=95)
    info = [
        {
            "image_id": image_id,
            "coco_id": None,
            "flickr_id": None,
            "width": width,
            "height": height,
            "url": f"https://cs.stanford.edu/people/rak248/VG_100K/{image_id}.jpg",
            "split": "miniv" if image_id == 8 else "train",
        }
        for image_id, (width, height) in sizes.items()
    ]
    (folder / "image_data_split.json").write_text(json.dumps(info))
    for split, tasks in splits.items():
        (folder / f"refer_{split}.json").write_text(json.dumps(tasks))
    return splits
