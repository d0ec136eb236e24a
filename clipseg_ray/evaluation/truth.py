"""Truth shards: WebDataset tars whose JSON sidecar says which pixels are right, for every query that holds there.

    {"truth": [{"query_id": "sit-on", "kind": "affordance", "texts": ["something to sit on"], "counts": "<RLE>"}, …],
     "height": 352, "width": 352}

``counts`` is COCO's compressed RLE at the image's size. ``truth`` lists each query with a true pixel, one with two
masks of its own (a phrase that two tasks ask for) twice. A query not listed is absent from the image; where only a few
were looked for, ``"absent": [{"query_id", "kind", "texts"}, …]`` lists those that were not found, and nothing is known
of others. An optional ``"ignore": "<RLE>"`` marks pixels that count for nothing.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from pycocotools import mask as coco

from clipseg_ray.errors import UserError
from clipseg_ray.masks.rle import decode
from clipseg_ray.plain_text import Unread, value_of
from clipseg_ray.sources.base import Sample, Shard, Source
from clipseg_ray.sources.chunking import Chunking
from clipseg_ray.sources.chunks import Chunk, read_chunks
from clipseg_ray.sources.listing import append_shards, discover
from clipseg_ray.sources.webdataset import WebDataset
from clipseg_ray.storage import plain_errors

SCENES_AT_ONCE = 16
"""Images of a shard in memory together."""


@dataclass(frozen=True)
class TrueMask:
    """One query that holds in an image: ``counts`` is the RLE of its true pixels."""

    query_id: str
    kind: str
    texts: tuple[str, ...]
    counts: str


@dataclass(frozen=True, kw_only=True)
class Scene:
    """An image (encoded bytes) and its truth; height and width in pixels; ``ignore`` an RLE or None.

    absent: the queries known not to hold, by id; None where these are all that ``masks`` does not have.
    """

    image_id: str
    image: bytes
    height: int
    width: int
    masks: tuple[TrueMask, ...]
    ignore: str | None = None
    absent: Mapping[str, Thing] | None = None

    @property
    def sha256(self) -> str:
        """Hex digest of the image's bytes: what distinguishes an image from every other, wherever it lies."""
        return hashlib.sha256(self.image).hexdigest()

    def planes(self) -> dict[str, list[np.ndarray]]:
        """The masks of each query that holds: bool [width, height], column-major as RLE has them."""
        found = defaultdict[str, list[np.ndarray]](list)
        for mask, plane_wh in zip(self.masks, self.mask_planes(), strict=True):
            found[mask.query_id].append(plane_wh)
        return found

    def mask_planes(self) -> np.ndarray:
        """The true pixels of each of ``masks``: bool [m, width, height]."""
        return self._decoded([mask.counts for mask in self.masks])

    @cached_property
    def absent_names(self) -> frozenset[str]:
        """Ids and wordings of ``absent``."""
        return frozenset(name for thing in (self.absent or {}).values() for name in (thing.query_id, *thing.texts))

    def ignored(self) -> np.ndarray | None:
        """The pixels that count for nothing: bool [width, height]; None where all count."""
        return None if self.ignore is None else self._decoded([self.ignore])[0]

    def squashed(self, side: int) -> Scene:
        """The scene with its truth resized to ``side``² by nearest neighbour from the corner, as CLIPSeg's authors
        resize labels; the image stays as it is."""
        columns, rows = (np.arange(side) * size // side for size in (self.width, self.height))

        def resized(counts: str) -> str:
            plane_wh = self._decoded([counts])[0][columns[:, None], rows]
            encoded: str = coco.encode(np.asfortranarray(plane_wh.T, np.uint8))["counts"].decode()
            return encoded

        return replace(
            self,
            height=side,
            width=side,
            masks=tuple(replace(mask, counts=resized(mask.counts)) for mask in self.masks),
            ignore=None if self.ignore is None else resized(self.ignore),
        )

    def _decoded(self, counts: Sequence[str]) -> np.ndarray:
        try:
            return decode(counts, self.height, self.width).transpose(0, 2, 1)
        except UserError as error:
            raise UserError(f"{self.image_id}: truth: {error}") from error


@dataclass(frozen=True)
class Thing:
    """What can be asked for: a query of the truth, or one whose truth is the union over ``concept``.

    ``concept`` names queries of the truth by id or by wording (a generalised query: "sit on" is chair or sofa or …);
    empty for a query of the truth itself.
    """

    query_id: str
    kind: str
    texts: tuple[str, ...]
    concept: tuple[str, ...] = ()

    def labels(self, scene: Scene, planes: Mapping[str, Sequence[np.ndarray]]) -> Sequence[np.ndarray | None]:
        """How a scene whose ``planes`` are given answers each time it is asked: true pixels, bool [width, height].

        As often as the truth has the query; [None] where it is absent, nothing where that is not known. Of a
        ``concept`` the union, absent where all that it names is.
        """
        if not self.concept:
            if found := planes.get(self.query_id):
                return found
            return [None] if scene.absent is None or self.query_id in scene.absent else ()
        held = {mask.query_id for mask in scene.masks if {mask.query_id, *mask.texts} & set(self.concept)}
        if held:
            return [np.logical_or.reduce([plane_wh for query_id in held for plane_wh in planes[query_id]])]
        return [None] if scene.absent is None or scene.absent_names.issuperset(self.concept) else ()


@dataclass(frozen=True)
class TruthSet:
    """A set of truth shards: where they are read from, and the shards in order. Pickles to workers."""

    source: Source
    shards: tuple[Shard, ...]

    @classmethod
    def of(cls, urls: Sequence[str], root: str | None = None, id_field: str | None = None) -> TruthSet:
        """The tars that the URLs name. root, id_field: what makes image ids, as a run's input has them.

        Raises UserError for URLs that name nothing.
        """
        with plain_errors(urls[0]):
            listing = discover(urls, WebDataset.name, root)
            source = WebDataset(listing.root, id_field=id_field)
            return cls(source, tuple(append_shards([], listing, source, slice_images=1)))

    def scenes(self, shard: Shard) -> Iterator[list[Scene]]:
        """A shard's scenes in order, SCENES_AT_ONCE at a time. Raises UserError for a sample that is none."""
        with plain_errors(self.source.url_of(shard.path)):
            for item in read_chunks(self.source, shard, Chunking(SCENES_AT_ONCE), lambda chunk: True):
                if isinstance(item, Chunk):
                    yield [scene_of(sample) for sample in item.samples]


@dataclass(frozen=True)
class Contents:
    """What a truth set holds. vocabulary: by id every query that holds in some image, or was looked for in one."""

    images: int
    vocabulary: dict[str, Thing]


def survey(truth: TruthSet) -> Contents:
    """Read all shards once, without decoding anything.

    Raises UserError where one query_id has several kinds or wordings.
    """
    images, found = 0, dict[str, Thing]()
    for scene in (scene for shard in truth.shards for scenes in truth.scenes(shard) for scene in scenes):
        images += 1
        looked_for = [Thing(mask.query_id, mask.kind, mask.texts) for mask in scene.masks]
        for thing in (*looked_for, *(scene.absent or {}).values()):
            known = found.setdefault(thing.query_id, thing)
            if known != thing:
                raise UserError(
                    f"{scene.image_id}: the query {thing.query_id!r} is {thing.kind} {list(thing.texts)} here and "
                    f"{known.kind} {list(known.texts)} in an image before; give each meaning an id of its own"
                )
    return Contents(images, found)


def scene_of(sample: Sample) -> Scene:
    """The scene a sample of a truth shard is. Raises UserError, naming it, for a sample that is none."""
    if sample.image is None:
        raise UserError(f"{sample.image_id}: {sample.error or 'no image'}; a truth shard has one for each sample")
    fields = sample.fields
    if isinstance(unread := value_of(fields, "truth"), Unread):
        raise UserError(f"{sample.image_id}: {unread}")
    try:
        masks = tuple(_mask(entry) for entry in fields["truth"])
        height, width, ignore = int(fields["height"]), int(fields["width"]), fields.get("ignore")
        absent = None
        if fields.get("absent") is not None:
            absent = {thing.query_id: thing for thing in map(_thing, fields["absent"])}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{sample.image_id}: no truth in its JSON ({type(error).__name__}: {error}); a truth shard has "
            '{"truth": [{"query_id", "kind", "texts", "counts"}, …], "height", "width"}'
        ) from error
    if both := sorted((absent or {}).keys() & {mask.query_id for mask in masks}):
        raise UserError(
            f"{sample.image_id}: {both[0]!r} has a mask in truth and stands in absent; leave out one of them"
        )
    return Scene(
        image_id=sample.image_id,
        image=sample.image,
        height=height,
        width=width,
        masks=masks,
        ignore=ignore,
        absent=absent,
    )


def _mask(entry: dict[str, Any]) -> TrueMask:
    thing = _thing(entry)
    return TrueMask(thing.query_id, thing.kind, thing.texts, str(entry["counts"]))


def _thing(entry: dict[str, Any]) -> Thing:
    if not entry["texts"] or isinstance(entry["texts"], str):
        raise ValueError(f"texts of {entry['query_id']!r} must be a list of at least one wording")
    return Thing(str(entry["query_id"]), str(entry["kind"]), tuple(entry["texts"]))
