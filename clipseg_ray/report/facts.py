"""What the card and the gallery say of a dataset, gathered in one go."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb

from clipseg_ray.addresses import absolute, protocol_of
from clipseg_ray.errors import UserError
from clipseg_ray.model import drawn_scenes
from clipseg_ray.report import asked, places, statistics
from clipseg_ray.report.asked import DescribedQuery
from clipseg_ray.report.statistics import NOTHING, Statistics
from clipseg_ray.results import backlog, inputs, layout, reading, record, runs, shard_records
from clipseg_ray.results.backlog import Backlog
from clipseg_ray.results.chunk_tables import ChunkTables
from clipseg_ray.results.parts import PartIndex
from clipseg_ray.results.record import DatasetRecord
from clipseg_ray.storage import Store, plain_errors

FAILURES_SHOWN = 12
MANY_CHUNKS, SAMPLED_CHUNKS = 10_000, 2_000
"""Of more chunks than that only so many are read: at a million chunks no driver could wait for the numbers of all."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A dataset in numbers.

    statuses: images by status, most frequent first. failures: (image_id, status, error) of the first images without
    masks. shards: listed. chunks: images parts. missing: what is not there yet, a phrase each; empty for a complete
    dataset. caution: what every reader must know of the model, in one line, else None. further: images in tars that
    were not taken. sampled: chunks that all numbers are of where not all were read, else None. last_run: the record of
    the last run, {} where none is left.
    """

    url: str
    record: DatasetRecord
    queries: tuple[DescribedQuery, ...]
    statistics: dict[str, Statistics]
    statuses: dict[str, int]
    failures: tuple[tuple[str, str, str | None], ...]
    shards: int
    chunks: int
    missing: list[str]
    caution: str | None
    sampled: int | None
    last_run: dict[str, Any]
    further: int = 0

    @property
    def name(self) -> str:
        """The dataset's name: the last two folders of its URL."""
        return "/".join(self.url.partition("://")[2 if "://" in self.url else 0].strip("/").split("/")[-2:])

    @property
    def model(self) -> str:
        """The checkpoint, without what lies above its folder on this machine."""
        return places.shown(self.record.model["checkpoint"], self.url)

    @property
    def input(self) -> str:
        """Where the images came from, without what lies above it on this machine."""
        return places.shown(self.record.input["root"], self.url)

    def said(self, text: str | None) -> str:
        """An error's text without the folders of this machine that the input and the dataset lie in."""
        local = [path for path in (self.record.input["root"], self.url) if protocol_of(path) == "file"]
        return places.without_folders(text or "", [os.path.dirname(absolute(path)) for path in local])  # noqa: PTH120

    @property
    def images(self) -> int:
        """Images in the table, whatever their status."""
        return sum(self.statuses.values())

    @property
    def masks(self) -> int:
        """Rows of ``masks``."""
        return sum(found.images for found in self.statistics.values())

    @property
    def found(self) -> int:
        """Masks that are not empty."""
        return sum(found.found for found in self.statistics.values())

    @property
    def note(self) -> str:
        """That the numbers are of a sample, where they are; else empty."""
        return f"Numbers are of a sample: {self.sampled:,} of {self.chunks:,} chunks." if self.sampled else ""

    def of(self, query: DescribedQuery) -> Statistics:
        """The statistics of one query."""
        return self.statistics.get(query.query_id, NOTHING)


@contextmanager
def gather(store: Store) -> Iterator[tuple[Facts, duckdb.DuckDBPyConnection]]:
    """The facts, and the connection they came from with the views of ``results.reading`` and ``answers``.

    Raises UserError where no dataset is, or one without images.
    """
    with plain_errors(store.url):
        made = record.require(store)
        queries = asked.described_queries(store)
        folders = _folders(queries)
        tables = ChunkTables(store, made)
        parts = tables.index(folders)
        chunks = parts.count(layout.IMAGES)
        if not queries or not chunks or not any(parts.count(folder) for folder in folders[1:]):
            raise UserError(f"{store.url}: nothing has been written yet; see clipseg-ray status {store.url}")
        some: dict[str, list[str]] = {}
        if chunks > MANY_CHUNKS:
            some["images"] = tables.sample(parts, folders[:1], SAMPLED_CHUNKS)
            some["masks"] = tables.sample(parts, folders[1:], SAMPLED_CHUNKS)
        behind = _behind(store, parts, queries)
        last_run = runs.last_record(store)
        further = sum(known.further for known in shard_records.counts(store).values())
    with plain_errors(store.url), reading.connect(store, some) as connection:
        statistics.view_answers(connection, queries)
        statuses = connection.execute("SELECT status, count(*) FROM images GROUP BY 1 ORDER BY 2 DESC, 1").fetchall()
        failures = connection.execute(
            f"SELECT image_id, status, error FROM images WHERE status <> 'ok' ORDER BY 1 LIMIT {FAILURES_SHOWN}"
        ).fetchall()
        yield (
            Facts(
                url=store.url,
                record=made,
                queries=tuple(queries),
                statistics=statistics.by_query(connection),
                statuses=dict(statuses),
                failures=tuple(failures),
                shards=behind.shards,
                chunks=chunks,
                missing=behind.lacks,
                caution=drawn_scenes.caution(made.model["checkpoint"], _paths(store)),
                sampled=SAMPLED_CHUNKS if some else None,
                last_run=last_run,
                further=further,
            ),
            connection,
        )


def missing(store: Store) -> list[str]:
    """What is not there yet, from listings alone: a phrase each."""
    made = record.require(store)
    queries = asked.described_queries(store)
    return _behind(store, ChunkTables(store, made).index(_folders(queries)), queries).lacks


def _paths(store: Store) -> Iterator[str]:
    """Where the input's shards lie, read once they are asked for."""
    for shard in inputs.read(store)[0]:
        yield shard.path


def _folders(queries: Sequence[DescribedQuery]) -> list[str]:
    return [layout.IMAGES, *dict.fromkeys(layout.masks_folder(query.prompt_set) for query in queries)]


def _behind(store: Store, parts: PartIndex, queries: Sequence[DescribedQuery]) -> Backlog:
    return backlog.of(store, parts, Counter(query.prompt_set for query in queries))
