"""LVIS v1 as it is released: ``lvis_v1_<split>.json`` over COCO's images, in the folders ``train2017`` and ``val2017``.

A category's name is its query ("car_(automobile)"), as the ``concept`` of a query table names it: generalised queries
(``protocol: table`` with ``builtin:affordances`` or ``builtin:properties``) have the union of their categories as
truth. Its wordings are the name and its synonyms, in words. LVIS looked for few categories in each image: those that it
verified not to be there (``neg_category_ids``) are absent, of others nothing is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.releases.instances import Instances, Record, UnionByThing, grouped, load_instances, size_of
from clipseg_ray.evaluation.releases.release import Picture, Release, first_of
from clipseg_ray.evaluation.truth import Thing
from clipseg_ray.storage import Store


def read(source: str, *, split: str = "val", images: str | None = None) -> Release:
    """``lvis_v1_<split>.json`` in the folder or in its ``annotations``; images lie in ``train2017`` and ``val2017`` of
    ``images``, default the same folder.

    Raises UserError for files that are not there or not as they should be.
    """
    release, name = Store.of(source), f"lvis_v1_{split}.json"
    keys = ("coco_url", "neg_category_ids")
    found = load_instances(first_of(release, (name, f"annotations/{name}")), keys)
    folder = Store.of(images or release.url)
    things = {number: _thing(category, found.url) for number, category in found.categories.items()}
    pictures = []
    for number, image in sorted(found.images.items()):
        path = "/".join(str(image["coco_url"]).split("/")[-2:])
        held = found.annotations.get(number, ())
        records = (grouped(held, things), _absent(image, held, things, found))
        pictures.append(Picture.at(folder, path, records, size_of(image)))
    return Release(name=split, pictures=pictures, draw=UnionByThing(found.url), sha256=found.sha256)


def _thing(category: Record, url: str) -> Thing:
    name, synonyms = str(category["name"]), category.get("synonyms", [])
    if not isinstance(synonyms, list) or not all(isinstance(each, str) for each in synonyms):
        raise UserError(f"{url}: category {category['id']}: synonyms {synonyms!r} are no list of words")
    return Thing(name, "object", tuple(dict.fromkeys(_in_words(each) for each in (name, *synonyms))))


def _in_words(name: str) -> str:
    """``car_(automobile)`` as it is said: "car"."""
    return re.sub(r"_\(.*\)$", "", name).replace("_", " ")


def _absent(image: Record, held: Iterable[Record], things: Mapping[int, Thing], found: Instances) -> list[Thing]:
    there, looked_for = {each["category_id"] for each in held}, image["neg_category_ids"]
    if not isinstance(looked_for, list):
        raise UserError(f"{found.url}: image {image['id']}: neg_category_ids {looked_for!r} are no list of categories")
    for number in looked_for:
        if not isinstance(number, int) or number not in things:
            raise UserError(f"{found.url}: image {image['id']}: neg_category_ids: {number} is no category of the file")
        if number in there:
            raise UserError(
                f"{found.url}: image {image['id']}: category {number} has instances and is said to be absent"
            )
    return [things[number] for number in dict.fromkeys(looked_for)]
