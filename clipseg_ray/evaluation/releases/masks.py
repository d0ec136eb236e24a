"""Any folder of images and label maps: ``images/``, ``labels/`` with index PNGs of the same names, ``classes.json``.

``classes.json`` is {"1": "bag", …} or a list, whose places are the numbers. "null", "background" and the like name
what is no thing. ADE20K's ``objectInfo150.txt`` is read too: tab-separated, with the columns Idx and Name ("wall",
"car, auto").
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.releases.label_maps import LabelMaps, digest
from clipseg_ray.evaluation.releases.names import read_names
from clipseg_ray.evaluation.releases.release import Picture, Release
from clipseg_ray.evaluation.releases.release import read as read_file
from clipseg_ray.evaluation.truth import Thing
from clipseg_ray.sources.images import Images
from clipseg_ray.sources.matching import match
from clipseg_ray.storage import Store

BACKGROUND = frozenset({"", "null", "none", "void", "background", "_background_", "__background__"})
"""Names, in any case, of what is no thing."""


def read(
    source: str,
    *,
    images: str | None = None,
    labels: str | None = None,
    classes: str | None = None,
    names: str | None = None,
    ignore_unnamed: bool = False,
) -> Release:
    """The images of a folder or glob with the label maps of the same names; of the list ``names`` only those in it.

    images, labels: folders or globs, default ``images`` and ``labels`` in ``source``. A name is what is left of a path
    without the folder and, of a glob, without what follows its last star: ``leftImg8bit/val/*/*_leftImg8bit.png`` and
    ``gtFine/val/*/*_gtFine_labelIds.png`` have the same names. ignore_unnamed: pixels of no class count for nothing.
    Raises UserError for files that are not there or not as they should be.
    """
    release = Store.of(source)
    photographs = _by_name(images or release.url_of("images"), Images.endings)
    maps = _by_name(labels or release.url_of("labels"), (".png",))
    wanted = sorted(photographs) if names is None else [_known(name, photographs, names) for name in read_names(names)]
    url = classes or release.url_of("classes.json")
    named = _classes(url, read_file(url))
    _match(wanted, maps, f"{labels or release.url_of('labels')}: no label map for")
    if names is None:
        _match(sorted(maps), photographs, f"{images or release.url_of('images')}: no image for the label map")
    pictures = [Picture(name, photographs[name].url, maps[name].url) for name in wanted]
    background = frozenset(number for number, words in named.items() if words[0].casefold() in BACKGROUND)
    things = {number: Thing(words[0], "object", words) for number, words in named.items() if number not in background}
    if len({thing.query_id for thing in things.values()}) < len(things):
        raise UserError(f"{url}: two classes have one name; give each its own")
    return Release(
        name="masks" if names is None else PurePosixPath(names).stem,
        pictures=pictures,
        draw=LabelMaps(things=things, background=background, ignore_unnamed=ignore_unnamed),
        sha256=digest(pictures, [maps[name].size for name in wanted], repr(sorted(named.items()))),
        things=tuple(things.values()),
    )


class _File(NamedTuple):
    url: str
    size: int


def _by_name(url: str, endings: tuple[str, ...]) -> dict[str, _File]:
    """The files of a folder or glob by name."""
    found = match(url)
    files: dict[str, _File] = {}
    after_star = url.rpartition("*")[2] if "*" in url else None
    for path, entry in sorted(found.objects):
        if not path.lower().endswith(endings):
            continue
        name = path.removeprefix(found.root.rstrip("/") + "/")
        name = name.removesuffix(after_star) if after_star else name.rpartition(".")[0]
        if name in files:
            raise UserError(f"{path}: {files[name].url} has the same name; each image has its own")
        files[name] = _File(path, entry.size)
    if not files:
        raise UserError(f"{url}: no file there ends in {', '.join(endings)}")
    return files


def _match(names: Sequence[str], files: Mapping[str, _File], message: str) -> None:
    """Raise UserError, beginning with ``message``, unless there is a file for each name."""
    if lacking := [name for name in names if name not in files]:
        raise UserError(f"{message} {lacking[0]}; {len(lacking)} of {len(names)} have none")


def _known(name: str, photographs: dict[str, _File], url: str) -> str:
    """The name a line of a list means: as it is, or with its ending."""
    for each in (name, name.rpartition(".")[0]):
        if each in photographs:
            return each
    raise UserError(f"{url}: there is no image named {name}")


def _classes(url: str, data: bytes) -> dict[int, tuple[str, ...]]:
    """The wordings of each number."""
    try:
        text = data.decode()
        rows = _of_table(text) if url.endswith(".txt") else _of_json(json.loads(text))
        named = {int(number): tuple(dict.fromkeys(word.strip() for word in words)) for number, words in rows}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'{url}: no classes ({type(error).__name__}: {error}); give {{"1": "bag", …}} or a list of names'
        ) from error
    if not named:
        raise UserError(f"{url}: no classes")
    return named


def _of_json(value: Any) -> Any:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if pairs is None:
        raise TypeError("neither an object nor a list")
    return [(number, ((name or "").strip(),)) for number, name in pairs]


def _of_table(text: str) -> Any:
    return [(row["Idx"], row["Name"].split(",")) for row in csv.DictReader(text.splitlines(), delimiter="\t")]
