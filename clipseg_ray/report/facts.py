"""What the card and the gallery say of a dataset, gathered in one go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb

from clipseg_ray.errors import UserError
from clipseg_ray.report import asked, statistics
from clipseg_ray.report.asked import Asked
from clipseg_ray.report.statistics import NOTHING, Statistics
from clipseg_ray.results import inputs, layout, reading, record, runs
from clipseg_ray.results import shards as shard_records
from clipseg_ray.results.chunk_tables import ChunkTables
from clipseg_ray.results.record import DatasetRecord
from clipseg_ray.storage import Store, plain_errors

FAILURES_SHOWN = 12


@dataclass(frozen=True)
class Facts:
    """A dataset in numbers.

    statuses: images by status, most frequent first. failures: (image_id, status, error) of the first images without
    masks. shards, shards_read: listed, and read to their end. chunks: images parts. lacking: chunks without masks, by
    prompt set, where there are any. last_run: the record of the last run, {} where none is left.
    """

    url: str
    record: DatasetRecord
    queries: tuple[Asked, ...]
    statistics: dict[str, Statistics]
    statuses: dict[str, int]
    failures: tuple[tuple[str, str, str | None], ...]
    shards: int
    shards_read: int
    chunks: int
    lacking: dict[str, int]
    last_run: dict[str, Any]

    @property
    def name(self) -> str:
        """The dataset's name: the last two folders of its URL."""
        return "/".join(self.url.partition("://")[2 if "://" in self.url else 0].strip("/").split("/")[-2:])

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
    def missing(self) -> list[str]:
        """What is not there yet, a phrase each; empty for a complete dataset."""
        phrases = []
        if self.shards_read < self.shards:
            phrases.append(f"{self.shards - self.shards_read} of {self.shards} shards are not read to their end")
        phrases += [f"{chunks} of {self.chunks} chunks lack {name}" for name, chunks in self.lacking.items()]
        return phrases

    def of(self, query: Asked) -> Statistics:
        """The statistics of one query."""
        return self.statistics.get(query.query_id, NOTHING)


@contextmanager
def gather(store: Store) -> Iterator[tuple[Facts, duckdb.DuckDBPyConnection]]:
    """The facts, and the connection they came from with the views of ``results.reading`` and ``answers``.

    Raises UserError where no dataset is, or one without images.
    """
    with plain_errors(store.url), reading.connect(store) as connection:
        made = record.read(store)
        queries = asked.read(store)
        folders = [layout.IMAGES, *dict.fromkeys(layout.masks_folder(query.prompt_set) for query in queries)]
        assert made is not None  # or there would be no connection
        parts = ChunkTables(store, made).index(folders)
        chunks = parts.count(layout.IMAGES)
        if not queries or not chunks or not any(parts.count(folder) for folder in folders[1:]):
            raise UserError(f"{store.url}: nothing has been written yet; see clipseg-ray status {store.url}")
        shards, _ = inputs.read(store)
        statistics.view_answers(connection, queries)
        statuses = connection.execute("SELECT status, count(*) FROM images GROUP BY 1 ORDER BY 2 DESC, 1").fetchall()
        failures = connection.execute(
            f"SELECT image_id, status, error FROM images WHERE status <> 'ok' ORDER BY 1 LIMIT {FAILURES_SHOWN}"
        ).fetchall()
        history = [run for _, run, _ in runs.read_all(store) if run is not None]
        yield (
            Facts(
                url=store.url,
                record=made,
                queries=tuple(queries),
                statistics=statistics.by_query(connection),
                statuses=dict(statuses),
                failures=tuple(failures),
                shards=len(shards),
                shards_read=len(shard_records.counts(store)),
                chunks=chunks,
                lacking={
                    folder.partition("=")[2]: chunks - parts.count(folder)
                    for folder in folders[1:]
                    if parts.count(folder) < chunks
                },
                last_run=history[-1] if history else {},
            ),
            connection,
        )
