"""Pascal VOC 2012 with the labels of SBD: ``JPEGImages``, ``SegmentationClassAug`` and a list of images.

    VOCdevkit/VOC2012/
      JPEGImages/2007_000033.jpg
      SegmentationClassAug/2007_000033.png     0 background, 1…20 the classes, 255 counts for nothing
      ImageSets/Segmentation/val.txt           2007_000033

A list may be PFENet's too (``lists/pascal/val_fixed.txt``), with image and label in a line; of both only the image's
name is used, since the label's path there is one on its author's machine.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.releases.label_maps import LabelMaps, digest
from clipseg_ray.evaluation.releases.names import read_names
from clipseg_ray.evaluation.releases.release import Picture, Release
from clipseg_ray.evaluation.splits import PASCAL
from clipseg_ray.evaluation.truth import Thing
from clipseg_ray.sources.matching import match
from clipseg_ray.storage import Store

_WORDS = {"diningtable": "dining table", "pottedplant": "potted plant", "tvmonitor": "tv monitor"}
SMALLEST = 2 * 32 * 32
"""Pixels of a class for it to be asked of an image, in one-shot protocols (Shaban et al. 2017; PFENet). PFENet asks an
image with one such class for any of its classes; here each is asked for by itself."""


def read(
    source: str, *, split: str = "val", names: str | None = None, labels: str | None = None, smallest: int = SMALLEST
) -> Release:
    """The images of ``ImageSets/Segmentation/<split>.txt`` or of the list ``names``.

    labels: the folder of label maps, default ``SegmentationClassAug``. smallest: pixels of a class for it to be asked
    of an image; 1 for protocols that ask all. Raises UserError for files that are not there.
    """
    release = Store.of(source)
    url = names or release.url_of(f"ImageSets/Segmentation/{split}.txt")
    keys = [PurePosixPath(name).stem for name in read_names(url)]
    if smallest < 1:
        raise UserError(f"--smallest {smallest}: a class that is asked has at least 1 pixel")
    maps, photographs = Store.of(labels or release.url_of("SegmentationClassAug")), release.child("JPEGImages")
    sizes = {path: entry.size for path, entry in match(maps.url + "/").objects}
    pictures = [Picture(key, photographs.url_of(f"{key}.jpg"), maps.url_of(f"{key}.png")) for key in keys]
    things = {
        number: Thing(name, "object", tuple(dict.fromkeys((_WORDS.get(name, name), name))))
        for number, name in enumerate(PASCAL, 1)
    }
    return Release(
        name=PurePosixPath(url).stem,
        pictures=pictures,
        draw=LabelMaps(things=things, background=frozenset({0}), smallest=smallest),
        sha256=digest(pictures, [sizes.get(picture.records, 0) for picture in pictures]),
    )
