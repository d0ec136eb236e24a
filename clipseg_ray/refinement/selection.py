"""Which (image, query) pairs of a dataset an SQL condition selects, frozen in another before anything is computed.

The pairs of each chunk become one file of ``_pairs/`` under the name of its bytes; the frozen listing, put last and by
exclusive create, says which of the files count. What is put before it, an interrupted or slower call puts again.
"""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from clipseg_ray.boundary import Boundary
from clipseg_ray.errors import UserError
from clipseg_ray.results import inputs, layout, own_files, reading
from clipseg_ray.results.chunk_tables import ChunkTables
from clipseg_ray.results.completeness import check_ids
from clipseg_ray.results.record import DatasetRecord
from clipseg_ray.sources import pairs
from clipseg_ray.sources.base import Shard
from clipseg_ray.sources.chunking import Chunking
from clipseg_ray.storage import Store, plain_errors

_ROWS_AT_ONCE = 100_000
_AT_ONCE = 16
"""Chunks whose files are read and put side by side."""


@dataclass(frozen=True)
class Selection:
    """``where``: the condition, over the columns of ``masks``. ``origin``: the fingerprint of the dataset it is put
    to."""

    where: str
    origin: str

    @property
    def marks(self) -> dict[str, Any]:
        """What the record of the refined dataset says of it."""
        return {"pairs": self._values}

    def refuse_another(self, target: Store) -> None:
        """Raise UserError where another selection is, a dataset that is not of pairs, or nothing can be written."""
        with plain_errors(target.url):
            if target.exists(layout.SELECTION):
                url = target.url_of(layout.SELECTION)
                there = own_files.json_object(target.get(layout.SELECTION), url, ("from", "where"))
                if there != self._values:
                    raise UserError(
                        f"{target.url}: holds the pairs of {there['from']} where {there['where']}; choose another DEST"
                    )
            elif target.exists(layout.DATASET):
                raise UserError(f"{target.url}: holds a dataset already; choose another DEST")
            elif (refusal := target.refusal()) is not None:
                raise UserError(f"{target.url}: {refusal}")

    def settle(self, target: Store) -> None:
        """Put it, where none is. Raises UserError as ``refuse_another``, also where another call was faster."""
        with plain_errors(target.url), contextlib.suppress(FileExistsError):
            target.create(layout.SELECTION, json.dumps(self._values).encode())
        self.refuse_another(target)

    @property
    def _values(self) -> dict[str, str]:
        return {"from": self.origin, "where": self.where}


@dataclass(frozen=True)
class Frozen:
    """``images`` and ``pairs`` that were selected; ``sets``: names of the prompt sets these are of."""

    shards: tuple[Shard, ...]
    images: int
    pairs: int
    sets: frozenset[str]


def is_frozen(target: Store) -> bool:
    """Whether a selection has been frozen there."""
    with plain_errors(target.url):
        return bool(own_files.names(target, layout.INPUTS))


def put_pairs(
    source: Store, made: DatasetRecord, target: Store, where: str, *, boundary: Boundary, chunking: Chunking
) -> Frozen:
    """Select, and put the files of pairs. ``chunking``: the most that a chunk of the refined dataset may hold.

    Raises UserError for a condition that means nothing, or selects nothing, and for images that lie outside of the
    boundary.
    """
    with plain_errors(source.url):
        if repeated := check_ids(source):
            raise UserError(f"{source.url}: {repeated}")
        tables = ChunkTables(source, made)
        origin = {shard.shard_id: shard for shard in inputs.read(source)[0]}

    def put(place: tuple[str, int], asked: Sequence[Mapping[str, Any]]) -> Shard:
        (found,) = tables.read(*place, (), ())
        table = _table(found, asked)
        _refuse_outside(table, boundary)
        name, body = pairs.to_parquet(table)
        with plain_errors(target.url):
            target.put(layout.pairs_file(name), body)
        return _shard(origin[place[0]], name, table, chunking)

    shards: list[Shard] = []
    count, sets = 0, set[str]()
    waiting: deque[Future[Shard]] = deque()
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for place, asked in _by_chunk(source, where):
            waiting.append(threads.submit(put, place, asked))
            count += len(asked)
            sets |= {row["prompt_set"] for row in asked}
            if len(waiting) > _AT_ONCE:
                shards.append(waiting.popleft().result())
        shards += [each.result() for each in waiting]
    if not shards:
        raise UserError(f"--where {where}: selects no row of masks in {source.url}; try it with clipseg-ray query")
    images = sum(shard.images or 0 for shard in shards)
    return Frozen(tuple(shards), images, count, frozenset(sets))


def freeze(target: Store, shards: Sequence[Shard]) -> None:
    """Make these the shards of the refined dataset, unless another call has done so with its own."""
    inputs.append(target, lambda frozen: [] if frozen else list(shards))


def _by_chunk(source: Store, where: str) -> Iterator[tuple[tuple[str, int], list[dict[str, Any]]]]:
    """(shard, chunk) and the rows of ``masks`` that are selected in it: image_id, query_id, query_text, prompt_set."""
    statement = (
        "SELECT shard, chunk, found.* FROM (SELECT image_id, query_id, query_text, prompt_set FROM masks "
        f"WHERE ({where}\n)) AS found JOIN images USING (image_id) ORDER BY ALL"
    )
    with plain_errors(source.url), contextlib.closing(reading.connect(source)) as connection:
        try:
            batches = connection.sql(statement).to_arrow_reader(_ROWS_AT_ONCE)
            rows = (row for batch in batches for row in batch.to_pylist())
            for place, own in groupby(rows, lambda row: (row["shard"], row["chunk"])):
                yield place, list(own)
        except duckdb.Error as error:
            raise reading.explain(error, connection) from error


def _table(images: pa.Table | None, asked: Iterable[Mapping[str, Any]]) -> pa.Table:
    """A chunk's images that are asked anything, in their order, as ``pairs.SCHEMA`` has them."""
    assert images is not None, "rows of masks were joined with it"
    queries: dict[str, list[str]] = {}
    phrases: dict[str, list[str]] = {}
    for row in asked:
        own = queries if row["query_text"] is None else phrases
        own.setdefault(row["image_id"], []).append(row["query_id"] if own is queries else row["query_text"])
    kept = images.filter(pc.is_in(images.column("image_id"), pa.array(queries.keys() | phrases.keys(), pa.string())))
    ids = kept.column("image_id").to_pylist()
    return pa.table(
        {
            **{name: kept.column(name) for name in pairs.SCHEMA.names if name in kept.column_names},
            "queries": pa.array([queries.get(each, []) for each in ids], pairs.SCHEMA.field("queries").type),
            "phrases": pa.array([phrases.get(each, []) for each in ids], pairs.SCHEMA.field("phrases").type),
        }
    )


def _refuse_outside(table: pa.Table, boundary: Boundary) -> None:
    for url in table.column("source_url").unique().to_pylist():
        if not boundary.allows(url):
            raise UserError(str(boundary.refusal(url)))


def _shard(origin: Shard, name: str, table: pa.Table, chunking: Chunking) -> Shard:
    """The shard that is a file of pairs, of images in ``origin``: one chunk again, unless decoded it is too large."""
    own = replace(origin, shard_id=name, size=pc.sum(table.column("length")).as_py() or 0, chunking=chunking)
    if origin.members is None:
        return replace(own, take=table.num_rows)
    by_path = {member.path: member for member in origin.members}
    members = tuple(by_path[key] for key in table.column("key").to_pylist())
    return replace(own, path=members[0].path, members=members)
