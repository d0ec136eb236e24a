"""A dataset image by image, a chunk at a time: every image with all its masks, under numbers that stay.

The numbers: an image's is its place in the frozen listing (shards in the order they were first listed, then their
images in order), a query's is ``DescribedQuery.number``. Runs that add images or queries add numbers and change none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipseg_ray.errors import UserError
from clipseg_ray.report import asked
from clipseg_ray.report.asked import DescribedQuery
from clipseg_ray.results import backlog, inputs, layout, optional_columns, record
from clipseg_ray.results.chunk_tables import ChunkTables
from clipseg_ray.results.record import DatasetRecord
from clipseg_ray.storage import Store, plain_errors

PHRASES_FROM = 1_000_001
"""The first number of a phrase that came with the images; they are numbered as they first appear."""

PHRASES_MOST = 8_999_999

_MASK_COLUMNS = [
    "image_id", "query_id", "query_text", "score", "score_mean", "area", "height", "width", "counts",
]  # fmt: skip


@dataclass(frozen=True)
class Category:
    """One thing that masks are of: a query, or one phrase that came with the images, whose ``query_id`` is a hash."""

    number: int
    query_id: str
    words: str
    kind: str

    @property
    def name(self) -> str:
        """The query's id, or the phrase."""
        return self.query_id if self.number < PHRASES_FROM else self.words


@dataclass(frozen=True)
class ExportChunk:
    """Images in order and what was found in them.

    images: rows of the images table with status ok, and ``number``. masks: rows of the masks table whose area is not
    0, and ``image`` (index in ``images``) and ``category`` (number), sorted by these two, each pair once. absent: for
    each image the ids of the queries whose mask is empty, as far as the dataset keeps empty masks.
    """

    images: pa.Table
    masks: pa.Table
    absent: list[list[str]]


@dataclass
class Walk:
    """One pass over the chosen queries of a dataset. Raises UserError where there is none.

    ``where`` is a SQL condition over the query table's columns; ``allow_source``: see :func:`clipseg_ray.open`;
    ``heat``: whether masks come with theirs. Raises UserError too where a dataset without heat is asked for it.
    ``categories`` holds the chosen queries in the order of their numbers, and gains phrases as they appear.
    """

    store: Store
    where: str | None = None
    allow_source: Sequence[str] = ()
    heat: bool = False
    record: DatasetRecord = field(init=False)
    categories: dict[str, Category] = field(init=False)
    total: int = field(init=False)
    """Chunks there are."""
    has_phrases: bool = field(init=False)
    missing: list[str] = field(init=False)
    """What of it is not there yet, a phrase each; empty where the chosen queries are complete."""

    def __post_init__(self) -> None:
        self.record = record.require(self.store)
        if self.heat and not self.record.masks.get("heat"):
            raise UserError(
                f"{self.store.url}: made without masks.heat, so nothing softer than masks is kept; run it again"
            )
        self._columns = [*_MASK_COLUMNS, *(["heat"] if self.heat else [])]
        queries = asked.chosen(asked.described_queries(self.store), self.where)
        self._folders = _folders(queries)
        with plain_errors(self.store.url):
            self._tables = ChunkTables(self.store, self.record)
            self._index = self._tables.index([layout.IMAGES, *self._folders])
            self.missing = backlog.of(self.store, self._index, Counter(query.prompt_set for query in queries)).lacks
            self._shards, _ = inputs.read(self.store)
        self.total = self._index.count(layout.IMAGES)
        self.categories = {
            query.query_id: Category(query.number, query.query_id, query.words, query.kind)
            for query in queries
            if not query.from_images
        }
        self.has_phrases = any(query.from_images for query in queries)
        self._phrases = 0

    def __iter__(self) -> Iterator[ExportChunk]:
        number = 1
        for shard in self._shards:
            bits = self._index.bits(layout.IMAGES, shard.shard_id)
            for chunk in (place for place in range(bits.bit_length()) if bits >> place & 1):
                images, masks = self._read(shard.shard_id, chunk)
                numbered = images.append_column("number", pa.array(range(number, number + len(images)), pa.int64()))
                number += len(images)
                yield self._chunk(numbered.filter(pc.equal(numbered["status"], "ok")), masks)

    def _read(self, shard_id: str, chunk: int) -> tuple[pa.Table, pa.Table]:
        """A chunk's images, and its masks of all chosen queries."""
        images, *found = self._tables.read(shard_id, chunk, list(self._folders), self._columns)
        for folder, part in zip((layout.IMAGES, *self._folders), (images, *found), strict=True):
            if part is None and self._index.bits(folder, shard_id) >> chunk & 1:
                name = layout.part_name(shard_id, chunk)
                raise UserError(f"{self.store.url}: chunk {name} vanished while it was read; export again")
        masks = [
            part if ids is None else part.filter(pc.is_in(part["query_id"], pa.array(ids, pa.string())))
            for part, ids in zip(found, self._folders.values(), strict=True)
            if part is not None
        ]
        nothing = optional_columns.masks_schema(self._columns).empty_table().select(self._columns)
        return images, pa.concat_tables([*masks, nothing])

    def _chunk(self, images: pa.Table, masks: pa.Table) -> ExportChunk:
        place = pc.index_in(masks["image_id"], images["image_id"].combine_chunks())
        masks = masks.append_column("image", place).filter(pc.is_valid(place))
        masks = masks.sort_by([("image", "ascending"), ("query_id", "ascending")])
        self._add_phrases(masks)
        numbers = {query_id: category.number for query_id, category in self.categories.items()}
        ids = masks["query_id"].combine_chunks().dictionary_encode()
        own = pa.array([numbers[query_id] for query_id in ids.dictionary.to_pylist()], pa.int64())
        masks = masks.append_column("category", own.take(ids.indices))
        empty = pc.equal(masks["area"], 0)
        absent: list[list[str]] = [[] for _ in range(len(images))]
        without = masks.filter(empty)
        for image, query_id in zip(without["image"].to_pylist(), without["query_id"].to_pylist(), strict=True):
            absent[image].append(query_id)
        masks = masks.filter(pc.invert(empty)).sort_by([("image", "ascending"), ("category", "ascending")])
        keys = np.stack([masks[name].to_numpy() for name in ("image", "category")])
        first = np.ones(len(masks), np.bool_)
        first[1:] = (np.diff(keys) != 0).any(0)
        return ExportChunk(images, masks.filter(pa.array(first)), absent)

    def _add_phrases(self, masks: pa.Table) -> None:
        if not self.has_phrases:
            return
        phrases = masks.filter(pc.is_valid(masks["query_text"]))
        for query_id, text in zip(phrases["query_id"].to_pylist(), phrases["query_text"].to_pylist(), strict=True):
            if query_id not in self.categories:
                if self._phrases == PHRASES_MOST:
                    raise UserError(
                        f"{self.store.url}: more than {PHRASES_MOST:,} phrases; choose queries with --where"
                    )
                self.categories[query_id] = Category(PHRASES_FROM + self._phrases, query_id, text, "phrase")
                self._phrases += 1


def _folders(queries: list[DescribedQuery]) -> dict[str, list[str] | None]:
    """For each folder of masks the ids wanted from it; None for all."""
    found: dict[str, list[DescribedQuery]] = defaultdict(list)
    for query in queries:
        found[layout.masks_folder(query.prompt_set)].append(query)
    return {
        folder: None if any(query.from_images for query in own) else [query.query_id for query in own]
        for folder, own in found.items()
    }
