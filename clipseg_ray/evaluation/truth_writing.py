"""Truth shards of a release: which there are, and how one is written."""

from __future__ import annotations

import json
import re
import tarfile
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from pycocotools import mask as coco

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.releases.release import Draw, Drawn, Picture, Release, Size, read
from clipseg_ray.evaluation.truth import Thing
from clipseg_ray.pixels.kinds import ENDINGS
from clipseg_ray.pixels.opening import ImageError, opened
from clipseg_ray.pixels.orientation import read_orientation, swaps_axes, upright
from clipseg_ray.storage import Store, plain_errors

IN_A_SHARD = 250
"""Images."""


@dataclass(frozen=True)
class Planned:
    """A shard to be written: its file's name and its images. Pickles to workers."""

    name: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Written:
    """What a shard has got; ``empty`` counts the masks left out because no pixel of the image is inside."""

    images: int
    masks: int
    empty: int


@dataclass(frozen=True)
class Spec:
    """All that writing a shard needs besides its images: where it goes, and who draws. Pickles to workers."""

    destination: str
    draw: Draw


def planned(release: Release) -> list[Planned]:
    """The shards of a release. Raises UserError for two images of one name, which a reader would take for one."""
    twice = [key for key, number in Counter(picture.key for picture in release.pictures).items() if number > 1]
    if twice:
        raise UserError(f"{twice[0]}: two images of the release have this name; rename one of them")
    name = release.name.lstrip("._") or "truth"  # files that begin so are passed over
    return [
        Planned(f"{name}-{number:05d}.tar", tuple(release.pictures[start : start + IN_A_SHARD]))
        for number, start in enumerate(range(0, len(release.pictures), IN_A_SHARD))
    ]


class Writer:
    """Writes one shard at a time, each whole or not at all."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._store = Store.of(spec.destination)

    def __call__(self, shard: Planned) -> Written:
        """Raises UserError, naming it, for an image that is not there or damaged, or a truth that cannot be drawn."""
        masks = empty = 0
        with tempfile.NamedTemporaryFile(suffix=".tar") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for picture in shard.pictures:
                    found = self._add(tar, picture)
                    masks += len(found)
                    empty += sum(not each for each in found)
            file.flush()
            with plain_errors(self._store.url_of(shard.name)):
                self._store.put_file(shard.name, Path(file.name))
        return Written(len(shard.pictures), masks - empty, empty)

    def _add(self, tar: tarfile.TarFile, picture: Picture) -> list[bool]:
        """Of each mask that was drawn whether it has a pixel."""
        data, drawn, size = drawn_truth(picture, self._spec.draw)
        key = _key(picture.key)
        _put(tar, f"{key}.{_ending(picture)}", data)
        _put(tar, f"{key}.json", json.dumps(sidecar(drawn, size), separators=(",", ":")).encode())
        return [bool(each.mask_hw.any()) for each in drawn.masks]


def drawn_truth(picture: Picture, draw: Draw) -> tuple[bytes, Drawn, Size]:
    """An image's bytes, its truth and its size, both upright. Raises UserError, naming it, as ``Writer`` does."""
    if _ending(picture) not in ENDINGS:
        raise UserError(f"{picture.image}: its name has none of the endings {', '.join(ENDINGS)}")
    data = read(picture.image)
    try:
        with opened(data) as image:
            image.load()
            stored, orientation = (image.height, image.width), read_orientation(image)
    except ImageError as error:
        raise UserError(f"{picture.image}: {error}") from error
    size = stored[::-1] if swaps_axes(orientation) else stored
    if picture.size in (None, stored):  # drawn on pixels as they are stored, while readers see them upright
        return data, _turned(draw(picture, stored), orientation), size
    if picture.size == size:
        return data, draw(picture, size), size
    raise UserError(
        f"{picture.image}: {size[1]}×{size[0]} pixels (width×height), its annotations are for "
        f"{picture.size[1]}×{picture.size[0]}; get the release's own image"
    )


def _ending(picture: Picture) -> str:
    return picture.image.rpartition(".")[2].lower()


def _turned(drawn: Drawn, orientation: int) -> Drawn:
    masks = [replace(each, mask_hw=upright(each.mask_hw, orientation)) for each in drawn.masks]
    ignore_hw = None if drawn.ignore_hw is None else upright(drawn.ignore_hw, orientation)
    return replace(drawn, masks=masks, ignore_hw=ignore_hw)


def sidecar(drawn: Drawn, size: Size) -> dict[str, Any]:
    """The JSON beside an image: its truth as a truth shard has it, masks without a pixel left out."""
    kept = [each for each in drawn.masks if each.mask_hw.any()]
    ignored = [] if drawn.ignore_hw is None or not drawn.ignore_hw.any() else [drawn.ignore_hw]
    counts = _counts([*(each.mask_hw for each in kept), *ignored])
    truth = [
        {
            **_named(each.thing),
            "counts": encoded,
            **({} if each.source_id is None else {"source_id": each.source_id}),
        }
        for each, encoded in zip(kept, counts[: len(kept)], strict=True)
    ]
    return {
        "truth": truth,
        "height": size[0],
        "width": size[1],
        **({} if drawn.absent is None else {"absent": [_named(thing) for thing in drawn.absent]}),
        **({"ignore": counts[-1]} if ignored else {}),
    }


def _named(thing: Thing) -> Mapping[str, Any]:
    return {"query_id": thing.query_id, "kind": thing.kind, "texts": list(thing.texts)}


def _counts(masks: Sequence[np.ndarray]) -> list[str]:
    return [coco.encode(np.asfortranarray(mask_hw, np.uint8))["counts"].decode() for mask_hw in masks]


def _key(name: str) -> str:
    """The name without dots, which would end a key; no two names become one."""
    return re.sub(r"[%.]", lambda found: f"%{ord(found[0]):02X}", name)


def _put(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    file: IO[bytes] = BytesIO(data)
    tar.addfile(info, file)
