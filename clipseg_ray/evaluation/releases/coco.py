"""COCO's instances as they are released: ``annotations/instances_<split>.json`` beside ``<split>/<file_name>``; or any
file of that form.

A category of COCO's eighty is the query of ``builtin:coco_objects``, so that ``coco-20i/0`` … ``/3`` name HSNet's
folds; one of another file of this form has its name as query and wording. Pixels of several categories count for each
of them; crowds are pixels of their category.
"""

from __future__ import annotations

from clipseg_ray.evaluation.releases.instances import UnionByThing, grouped, load_instances, size_of
from clipseg_ray.evaluation.releases.release import Picture, Release, first_of
from clipseg_ray.evaluation.truth import Thing
from clipseg_ray.queries.table import load_queries
from clipseg_ray.storage import Store


def read(source: str, *, split: str = "val2017", images: str | None = None) -> Release:
    """``instances_<split>.json`` in the folder ``annotations`` or in ``source``; images lie in ``images``, default the
    folder ``<split>``. Where ``source`` is a file, ``<anything>.json``, it is that one, and images lie beside it by
    default.

    Raises UserError for files that are not there or not as they should be.
    """
    if source.lower().endswith(".json"):
        beside, _, file = source.rpartition("/")
        split = file[: -len(".json")]
        url, folder = source, Store.of(images or beside)
    else:
        release, name = Store.of(source), f"instances_{split}.json"
        url, folder = first_of(release, (f"annotations/{name}", name)), Store.of(images or release.url_of(split))
    found = load_instances(url, ("file_name",))
    known = {query.texts[0]: query for query in load_queries("builtin:coco_objects", None, 0.5)}
    things = {
        number: Thing(known[name].query_id, known[name].kind, known[name].texts)
        if (name := str(category["name"])) in known
        else Thing(name, "object", (name,))
        for number, category in found.categories.items()
    }
    pictures = [
        Picture.at(
            folder,
            str(image["file_name"]),
            (grouped(found.annotations.get(number, ()), things), None),
            size_of(image),
        )
        for number, image in sorted(found.images.items())
    ]
    return Release(
        name=split, pictures=pictures, draw=UnionByThing(found.url), sha256=found.sha256, things=tuple(things.values())
    )
