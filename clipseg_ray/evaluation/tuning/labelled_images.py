"""Images whose truth is known, wherever it is written: truth shards, COCO's instances, or label maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from clipseg_ray.addresses import absolute
from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.releases.formats import read_release
from clipseg_ray.evaluation.releases.release import Draw, Picture
from clipseg_ray.evaluation.truth import SCENES_AT_ONCE, Contents, Scene, TruthSet, scene_of, survey
from clipseg_ray.evaluation.truth_writing import drawn_truth, sidecar
from clipseg_ray.sources.base import Sample, Shard
from clipseg_ray.storage import Store, plain_errors

_AT_A_WORKER = 4 * SCENES_AT_ONCE
"""Images of a release that a worker is given at a time."""


class LabelledImages(Protocol):
    """Images with their truth, in lots that can be read apart. Pickles to workers."""

    @property
    def lots(self) -> Sequence[Any]:
        """What ``scenes`` takes, one after the other."""
        ...

    @property
    def contents(self) -> Contents:
        """How many there are, and what was looked for in them."""
        ...

    def scenes(self, lot: Any) -> Iterator[list[Scene]]:
        """The images of a lot, some at a time. Raises UserError, naming it, for one that cannot be read."""
        ...


@dataclass(frozen=True)
class _Shards:
    truth: TruthSet
    contents: Contents

    @property
    def lots(self) -> Sequence[Shard]:
        return self.truth.shards

    def scenes(self, lot: Shard) -> Iterator[list[Scene]]:
        return self.truth.scenes(lot)


@dataclass(frozen=True)
class _Drawn:
    """Images of a release, their truth drawn as it is needed."""

    lots: Sequence[Sequence[Picture]]
    draw: Draw
    contents: Contents

    def scenes(self, lot: Sequence[Picture]) -> Iterator[list[Scene]]:
        for start in range(0, len(lot), SCENES_AT_ONCE):
            yield [_scene(picture, self.draw) for picture in lot[start : start + SCENES_AT_ONCE]]


def labelled_images(urls: Sequence[str], options: Mapping[str, Any]) -> LabelledImages:
    """The images that ``--truth`` means: a file ``.json`` is COCO's instances, a folder with ``classes.json``, or with
    ``classes`` or ``labels`` among the options, holds label maps, and all else are truth shards.

    options: those of the readers of ``clipseg-ray truth``. Raises UserError for what is none of them.
    """
    format = _format_of(urls, options)
    if format is None:
        if options:
            name = next(iter(options)).replace("_", "-")
            raise UserError(f"--{name}: {urls[0]} are truth shards, which have all in them; leave it out")
        truth = TruthSet.of([absolute(url) for url in urls])
        return _Shards(truth, survey(truth))
    if len(urls) > 1:
        raise UserError(f"--truth {urls[1]}: one source of the format {format} is read; several may be truth shards")
    release = read_release(format, urls[0], options)
    lots = [release.pictures[start : start + _AT_A_WORKER] for start in range(0, len(release.pictures), _AT_A_WORKER)]
    vocabulary = {thing.query_id: thing for thing in release.things}
    return _Drawn(lots, release.draw, Contents(len(release.pictures), vocabulary))


def _format_of(urls: Sequence[str], options: Mapping[str, Any]) -> str | None:
    """The name of a release's format; None for truth shards."""
    if urls[0].lower().endswith(".json"):
        return "coco"
    if {"classes", "labels"} & set(options):
        return "masks"
    if len(urls) > 1 or "*" in urls[0] or urls[0].lower().endswith(".tar"):
        return None
    with plain_errors(urls[0]):
        return "masks" if Store.of(absolute(urls[0])).exists("classes.json") else None


def _scene(picture: Picture, draw: Draw) -> Scene:
    data, drawn, size = drawn_truth(picture, draw)
    fields = sidecar(drawn, size)
    return scene_of(Sample(image_id=picture.key, key=picture.key, source_url=picture.image, image=data, fields=fields))
