"""Instances as COCO's JSON has them: ``images``, ``annotations`` with polygons or run lengths, ``categories``.

The pixels of a segmentation are those of pycocotools.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.releases.release import FAR, Drawn, DrawnMask, Picture, Size, load_json
from clipseg_ray.evaluation.truth import Thing
from clipseg_ray.masks import rle

Record = dict[str, Any]
_IDS = ("id", "image_id", "category_id")


@dataclass(frozen=True, kw_only=True)
class Instances:
    """A file of instances: ``images`` and ``categories`` by id, ``annotations`` by the id of their image."""

    url: str
    images: Mapping[int, Record]
    annotations: Mapping[int, Sequence[Record]]
    categories: Mapping[int, Record]
    sha256: str


def load_instances(url: str, image_keys: Iterable[str]) -> Instances:
    """Read a file of instances whose images have ``image_keys``.

    Raises UserError for a file that is not there or none, for what lacks a key, and for an annotation of an image or
    category that the file does not have.
    """
    content, sha256 = load_json(url)
    lists = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(name), list) for name in lists):
        raise UserError(f"{url}: no instances as COCO has them: an object with the lists {', '.join(lists)}")
    images = _by_id(content["images"], url, "image", ("height", "width", *image_keys))
    categories = _by_id(content["categories"], url, "category", ("name",))
    annotations = defaultdict[int, list[Record]](list)
    keys = ("image_id", "category_id", "segmentation")
    for each in _checked(content["annotations"], url, "annotation", keys):
        for key, known in (("image_id", images), ("category_id", categories)):
            if each[key] not in known:
                raise UserError(f"{url}: annotation {each['id']}: {key} {each[key]} is none of the file's")
        annotations[each["image_id"]].append(each)
    if not images:
        raise UserError(f"{url}: no images")
    return Instances(url=url, images=images, annotations=annotations, categories=categories, sha256=sha256)


def segmentation(value: Any, size: Size, where: str) -> np.ndarray:
    """The pixels of one ``segmentation``: bool [height, width].

    where: names the annotation in the UserError raised for what is neither polygons nor run lengths of that size.
    """
    height, width = size
    if isinstance(value, list):
        if not value or not all(map(_is_polygon, value)):
            raise UserError(f"{where}: segmentation is no list of polygons [x1, y1, x2, y2, x3, y3, …]")
        return _pixels(coco.merge(coco.frPyObjects([[float(x) for x in polygon] for polygon in value], height, width)))
    if not isinstance(value, dict) or "counts" not in value:
        raise UserError(f"{where}: segmentation is neither polygons nor run lengths")
    if list(value.get("size", ())) != [height, width]:
        raise UserError(f"{where}: run lengths of {value.get('size')}, the image is {[height, width]} (height, width)")
    counts = value["counts"]
    if isinstance(counts, list):
        if not all(isinstance(run, int) and run >= 0 for run in counts) or sum(counts) != height * width:
            raise UserError(f"{where}: run lengths that do not fill {height}×{width} pixels")
        return _pixels(coco.frPyObjects({"size": [height, width], "counts": counts}, height, width))
    try:
        return rle.decode([counts], height, width)[0]
    except (UserError, AttributeError, TypeError) as error:
        raise UserError(f"{where}: run lengths that are none of {height}×{width} pixels") from error


class UnionByThing:
    """Draws for each thing the union of its segmentations, those of crowds included.

    A picture's records: (things with (annotation id, segmentation) pairs, absent things or None).
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def __call__(self, picture: Picture, size: Size) -> Drawn:
        found, absent = picture.records
        masks = []
        for thing, parts in found:
            mask_hw = np.zeros(size, np.bool_)
            for annotation_id, value in parts:
                mask_hw |= segmentation(value, size, f"{self._url}: annotation {annotation_id}")
            masks.append(DrawnMask(thing, mask_hw))
        return Drawn(masks, absent)


def grouped(annotations: Iterable[Record], things: Mapping[Any, Thing]) -> list[tuple[Thing, list[tuple[Any, Any]]]]:
    """An image's annotations by thing, as UnionByThing takes them; ``things`` by category id."""
    found = defaultdict[Thing, list[tuple[Any, Any]]](list)
    for each in annotations:
        found[things[each["category_id"]]].append((each["id"], each["segmentation"]))
    return list(found.items())


def size_of(image: Record) -> Size:
    """Height and width, as the file says them."""
    return image["height"], image["width"]


def _by_id(records: Sequence[Any], url: str, noun: str, keys: Iterable[str]) -> dict[int, Record]:
    found: dict[int, Record] = {}
    for record in _checked(records, url, noun, keys):
        if record["id"] in found:
            raise UserError(f"{url}: {noun} {record['id']} is there twice; an id names one")
        found[record["id"]] = record
    return found


def _checked(records: Sequence[Any], url: str, noun: str, keys: Iterable[str]) -> Iterator[Record]:
    wanted = {"id", *keys}
    for number, record in enumerate(records):
        held = record if isinstance(record, dict) else {}
        if lacking := sorted(wanted - held.keys()):
            raise UserError(f"{url}: {noun} {held.get('id', f'number {number}')} has no {', '.join(lacking)}")
        if strange := [key for key in _IDS if not isinstance(held.get(key, 0), int)]:
            raise UserError(f"{url}: {noun} number {number}: {strange[0]} {held[strange[0]]!r} is no whole number")
        yield held


def _is_polygon(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= 6
        and len(value) % 2 == 0
        and all(isinstance(x, int | float) and math.isfinite(x) and abs(x) < FAR for x in value)
    )


def _pixels(found: dict[str, Any]) -> np.ndarray:
    return rle.decode([found["counts"]], *found["size"])[0]
