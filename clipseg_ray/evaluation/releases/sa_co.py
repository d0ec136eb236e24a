"""SA-Co as Meta releases it: pairs of an image and a noun phrase, those without a mask included.

    <subset>.json    {"images": [{"id", "file_name", "text_input", "is_pixel_exhaustive"}, …],
                      "annotations": [{"id", "image_id", "category_id", "segmentation": {"size", "counts"}}, …],
                      "categories": [one]}

Each entry of ``images`` is a pair; one without annotations is negative: the phrase is known to be absent. A pair
that is not pixel-exhaustive says nothing certain of its pixels and is left out.
"""

from __future__ import annotations

from collections import defaultdict

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.releases.instances import Record, UnionByThing, load_instances, size_of
from clipseg_ray.evaluation.releases.release import Picture, Release
from clipseg_ray.evaluation.truth import Thing
from clipseg_ray.storage import Store

KIND = "phrase"


def read(source: str, *, images: str | None = None) -> Release:
    """The file ``source``; images lie in ``images``, default its folder.

    Raises UserError for files that are not there or not as they should be.
    """
    url = Store.of(source).url
    found = load_instances(url, ("file_name", "text_input"))
    above, _, name = url.rpartition("/")
    folder = Store.of(images or above)
    pairs = defaultdict[str, list[Record]](list)
    unsure = 0
    for _, pair in sorted(found.images.items()):
        if not pair.get("is_pixel_exhaustive", 1):
            unsure += 1
        else:
            pairs[str(pair["file_name"])].append(pair)
    pictures = []
    for path in sorted(pairs):
        held, absent = [], dict[str, Thing]()
        for pair in pairs[path]:
            phrase = str(pair["text_input"]).strip()
            if not phrase:
                raise UserError(f"{url}: image {pair['id']}: text_input is empty; a pair has a phrase")
            parts = [(each["id"], each["segmentation"]) for each in found.annotations.get(pair["id"], ())]
            if parts:
                held.append((Thing(phrase, KIND, (phrase,)), parts))
            else:
                absent[phrase] = Thing(phrase, KIND, (phrase,))
        if both := [thing.query_id for thing, _ in held if thing.query_id in absent]:
            raise UserError(f"{url}: {path}: the phrase {both[0]!r} is there in one pair and absent in another")
        pictures.append(Picture.at(folder, path, (held, list(absent.values())), size_of(pairs[path][0])))
    return Release(
        name=name.removesuffix(".json"),
        pictures=pictures,
        draw=UnionByThing(url),
        sha256=found.sha256,
        remarks=[f"{unsure} pairs left out, whose masks may not cover all of the thing"] if unsure else [],
    )
