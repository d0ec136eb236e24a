"""Truth shards (see ``clipseg_ray.evaluation.truth``) as a collection.

Each tar is read once, front to back, for its sidecars and for where its images lie; images are read when wanted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.truth import TrueMask, scene_of
from clipseg_ray.masks import rle
from clipseg_ray.queries.supports import decode_picture
from clipseg_ray.sources.base import Sample, Shard
from clipseg_ray.sources.listing import discover
from clipseg_ray.sources.webdataset import WebDataset
from clipseg_ray.storage import Store, plain_errors
from clipseg_ray.training.collection import Collection, TrainingQuery, TruthBuilder
from clipseg_ray.training.held_out import HeldOut


class TruthShards(Collection):
    """The samples of truth shards at any URLs, in listing order."""

    def __init__(self, urls: Sequence[str], held_out: Sequence[str] = (), limit: int | None = None) -> None:
        """Read every sidecar (of the first ``limit`` images). Texts of ``held_out`` (see `HeldOut`) are left out.

        Raises UserError naming the sample where a sidecar is not as it should be.
        """
        listing = discover(urls, WebDataset.name)
        source = WebDataset(listing.root)
        builder, held = TruthBuilder(), HeldOut(held_out)
        self._places: list[tuple[str, int, int]] = []
        self._sizes: list[tuple[int, int]] = []
        counts: list[str] = []
        known: dict[tuple[str, ...], TrainingQuery] = {}
        for member in listing.objects:
            with plain_errors(source.url_of(member.path)):
                for sample in source.samples(Shard.of_object(member)):
                    if limit is not None and len(self._places) == limit:
                        break
                    scene = scene_of(sample)
                    asked = [(mask, _query(mask, known, held)) for mask in scene.masks]
                    builder.add_image([query for _, query in asked if query.texts])
                    counts += [mask.counts for mask, query in asked if query.texts]
                    self._places.append(_place(sample))
                    self._sizes.append((scene.height, scene.width))
        self.truth = builder.build()
        self.left_out = held.left_out
        objects = [(member.path, member.size, member.etag) for member in listing.objects]
        self.fingerprint = hashlib.sha256(repr((objects, held.identity, limit)).encode()).hexdigest()
        self._counts = pa.array(counts, pa.large_string())

    def encoded(self, image: int) -> bytes:
        """The image's file."""
        url, offset, length = self._places[image]
        folder, _, name = url.rpartition("/")
        store = Store(folder)
        return bytes(store.fs.cat_file(store.full(name), start=offset, end=offset + length))

    def image(self, image: int) -> np.ndarray:
        """See ``Collection``."""
        return decode_picture(self.encoded(image))

    def masks(self, truths: Sequence[int]) -> np.ndarray:
        """See ``Collection``."""
        height, width = self._sizes[int(self.truth.image_t[truths[0]])]
        return rle.decode(self._counts.take(pa.array(truths)), height, width)


def _place(sample: Sample) -> tuple[str, int, int]:
    """URL of the tar, offset and length in bytes of the image's file."""
    if sample.offset is None or sample.length is None:
        raise UserError(f"{sample.source_url}: compressed; training reads images in no order, so unpack it")
    return sample.source_url, sample.offset, sample.length


def _query(mask: TrueMask, known: dict[tuple[str, ...], TrainingQuery], held: HeldOut) -> TrainingQuery:
    """The query of a true mask; without texts where none may be used."""
    key = (mask.query_id, *mask.texts)
    if key not in known:
        texts = tuple(text for text in mask.texts if text not in held)
        known[key] = TrainingQuery(mask.query_id, mask.kind, texts, labels=frozenset(mask.texts))
    return known[key]
