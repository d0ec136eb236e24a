"""Truth shards: WebDataset tars whose JSON sidecars list the queries that hold in each picture with their masks.

    {"truth": [{"query_id": "sit-on", "kind": "affordance", "texts": ["something to sit on", "sit on"],
                "counts": "<COCO compressed RLE at image size>"}, …], "height": 352, "width": 352}

Each tar is read once, front to back, for the sidecars and for where its pictures lie; pictures are read when wanted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from clipseg_ray.errors import UserError
from clipseg_ray.masks import rle
from clipseg_ray.queries.supports import decode_picture
from clipseg_ray.sources.base import Sample, Shard
from clipseg_ray.sources.listing import discover
from clipseg_ray.sources.webdataset import WebDataset
from clipseg_ray.storage import Store, plain_errors
from clipseg_ray.training.collection import Collection, Query, TruthBuilder, has_word


class TruthShards(Collection):
    """The samples of truth shards at any URLs, in listing order."""

    def __init__(self, urls: Sequence[str], held_out_words: Sequence[str] = (), limit: int | None = None) -> None:
        """Read every sidecar (of the first ``limit`` pictures). Texts with a word of ``held_out_words`` are left out.

        Raises UserError naming the sample where a sidecar is not as it should be.
        """
        listing = discover(urls, "webdataset")
        source = WebDataset(listing.root)
        builder = TruthBuilder()
        self._places: list[tuple[str, int, int]] = []
        self._sizes: list[tuple[int, int]] = []
        counts: list[str] = []
        known: dict[Any, Query] = {}
        for member in listing.objects:
            with plain_errors(source.url_of(member.path)):
                for sample in source.samples(Shard.of_object(member)):
                    if limit is not None and len(self._places) == limit:
                        break
                    rows, size = _sidecar(sample)
                    held = []
                    for row in rows:
                        query = _query(row, known, held_out_words)
                        if query is not None:
                            held.append(query)
                            counts.append(row["counts"])
                    builder.add_picture(held)
                    assert sample.offset is not None
                    assert sample.length is not None
                    self._places.append((sample.source_url, sample.offset, sample.length))
                    self._sizes.append(size)
        self.truth = builder.build()
        objects = [(member.path, member.size, member.etag) for member in listing.objects]
        self.fingerprint = hashlib.sha256(repr((objects, sorted(held_out_words), limit)).encode()).hexdigest()
        self._counts = pa.array(counts, pa.large_string())

    def encoded(self, picture: int) -> bytes:
        """The picture's file."""
        url, offset, length = self._places[picture]
        folder, _, name = url.rpartition("/")
        store = Store(folder)
        return bytes(store.fs.cat_file(store.full(name), start=offset, end=offset + length))

    def picture(self, picture: int) -> np.ndarray:
        """See ``Collection``."""
        return decode_picture(self.encoded(picture))

    def masks(self, truths: Sequence[int]) -> np.ndarray:
        """See ``Collection``."""
        height, width = self._sizes[int(self.truth.picture_t[truths[0]])]
        return rle.decode(self._counts.take(pa.array(truths)), height, width)


def _sidecar(sample: Sample) -> tuple[list[dict[str, Any]], tuple[int, int]]:
    """The rows of ``truth``, and height and width."""
    if sample.image is None:
        raise UserError(f"{sample.image_id}: {sample.error or 'it has no picture'}; write the shard again")
    if sample.offset is None:
        raise UserError(f"{sample.source_url}: compressed; training reads pictures out of order, so unpack it")
    rows = sample.fields.get("truth")
    size = (sample.fields.get("height"), sample.fields.get("width"))
    if not isinstance(rows, list) or not all(isinstance(side, int) for side in size):
        raise UserError(
            f"{sample.image_id}: its JSON has no truth, height and width; "
            "write shards with python -m clipseg_ray.demo.shards"
        )
    for row in rows:
        if not isinstance(row, dict) or not {"query_id", "kind", "texts", "counts"} <= row.keys() or not row["texts"]:
            raise UserError(f"{sample.image_id}: a truth needs query_id, kind, texts and counts; it has {row!r:.200}")
    return rows, size  # type: ignore[return-value]


def _query(row: dict[str, Any], known: dict[Any, Query], held_out_words: Sequence[str]) -> Query | None:
    """The row's query, None where no text of it may be used."""
    key = (row["query_id"], *row["texts"])
    if key not in known:
        texts = tuple(text for text in row["texts"] if not has_word(text, held_out_words))
        known[key] = Query(row["query_id"], row["kind"], texts, frozenset(row["texts"]))
    return known[key] if known[key].texts else None
