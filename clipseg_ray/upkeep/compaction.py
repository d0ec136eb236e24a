"""Compacting: a dataset of few large files beside one of many small parts, for readers that pay for every file.

``prepare`` decides what is to be done and writes it down, ``Compactor`` makes one file. Readers of the result need
know nothing: its tables have the same rows, its masks are sorted by query in row groups of 32 to 64 thousand rows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipseg_ray.errors import UserError
from clipseg_ray.results import backlog, compact_groups, inputs, layout, own_files, parts, record, schema, sets
from clipseg_ray.results.compact_groups import Group, Part
from clipseg_ray.results.parts import PartIndex
from clipseg_ray.results.record import DatasetRecord
from clipseg_ray.results.sets import SetRecord
from clipseg_ray.storage import Store, get_all, plain_errors
from clipseg_ray.tables import opened, parquet_table, read_parquet
from clipseg_ray.upkeep.copying import copy_folder

FILE_ROWS = 2**19
"""Rows of a file where they are as small as masks are."""
LEAST_ROWS = 3 * 2**15
"""Rows of a file however large they are; by samples, so that nearly every file has two thirds of it."""
FILE_BYTES = 128 * 2**20
GROUP_ROWS = 2**16
"""Rows of a row group at most."""
_SAMPLED = 16
_AT_ONCE = 64


@dataclass(frozen=True)
class Spec:
    """From where to where; ``fingerprint`` is that of the compacted dataset, ``source_fingerprint`` of the other."""

    output: str
    destination: str
    fingerprint: str
    source_fingerprint: str


@dataclass(frozen=True)
class Compaction:
    """What is to be done: ``todo`` of ``files`` there will be. ``lacks``: what is not there yet of the dataset that is
    compacted, a phrase each."""

    spec: Spec
    todo: tuple[Group, ...]
    files: int
    lacks: tuple[str, ...]


@dataclass(frozen=True)
class Written:
    """One file as it was written and checked."""

    path: str
    rows: int
    bytes: int
    seconds: float


def prepare(output: str, destination: str) -> Compaction:
    """Hold ``output`` against what ``destination`` has, freeze which parts go into which new file, and copy the rest.

    Files of parts that have changed since are removed. Raises UserError where no dataset is, and where ``destination``
    holds another one or more than ``output`` has.
    """
    source, target = Store.of(output), Store.of(destination)
    with plain_errors(source.url):
        present = record.require(source)
        record.refuse_if_changed(source, present)
        if "compacted" in present.masks:
            raise UserError(f"{source.url}: is compacted already; compact the dataset it was made from")
        if f"{target.url}/".startswith(f"{source.url}/"):
            raise UserError(f"{target.url}: lies in the dataset itself; choose a place beside it")
        claimed = sets.read(source)
        listed = _listed(source, claimed)
        if not listed[layout.IMAGES]:
            raise UserError(f"{source.url}: nothing has been written yet; see clipseg-ray status {source.url}")
        places = ((folder, *part.place) for folder, found in listed.items() for part in found.values())
        lacks = backlog.of(source, PartIndex.of(places), {item.name: len(item.written) for item in claimed}).lacks
        made = compacted_record(present)
        with plain_errors(target.url):
            _settle(source, target, made)
            live = _frozen(source, target, listed)
            files = _files(target, list(listed))
            wanted = {group.path: group for group in live}
            for path in files - wanted.keys():
                target.delete(path)
    todo = tuple(group for path, group in wanted.items() if path not in files)
    return Compaction(
        Spec(source.url, target.url, made.fingerprint, present.fingerprint), todo, len(wanted), tuple(lacks)
    )


def compacted_record(present: DatasetRecord) -> DatasetRecord:
    """The record of a compacted dataset: no run takes it for its own."""
    return replace(present, masks={**present.masks, "compacted": {"from": present.fingerprint}})


def _listed(source: Store, claimed: Sequence[SetRecord]) -> dict[str, dict[str, Part]]:
    """The parts of each folder by path, ``images`` first.

    Runs put a chunk's images before its masks, so masks are listed before images: each has its images listed too.
    """
    folders = [layout.masks_folder(item.name) for item in claimed]
    found = {folder: _parts(source, folder) for folder in (*folders, layout.IMAGES)}
    return {folder: found[folder] for folder in (layout.IMAGES, *folders)}


def _parts(source: Store, folder: str) -> dict[str, Part]:
    return {entry.path: Part.of(entry) for entry in own_files.listed(source, folder)}


def _files(target: Store, folders: Sequence[str]) -> set[str]:
    return {entry.path for folder in folders for entry in own_files.compacted(target, folder)}


def _settle(source: Store, target: Store, made: DatasetRecord) -> None:
    """Put the record, and what readers need beside the tables; refuse a place that holds another dataset."""
    there = record.read(target)
    if there is not None:
        record.refuse_if_different(target, there, made)
        for path in [*own_files.names(target, layout.INPUTS), *own_files.names(target, layout.SETS)]:
            if not source.exists(path) or source.get(path) != target.get(path):
                raise UserError(
                    f"{target.url}: holds another dataset than {source.url}, compacted; choose another DEST"
                )
    else:
        try:
            record.create(target, made)
        except FileExistsError:
            return _settle(source, target, made)
    for folder in (layout.INPUTS, layout.PAIRS, layout.SETS, layout.QUERIES, layout.SHARDS):
        copy_folder(source, target, folder)
    return None


def _frozen(source: Store, target: Store, listed: dict[str, dict[str, Part]]) -> list[Group]:
    """The groups that count after those of new and changed parts were added, decided by exclusive create.

    Parts that another compaction has frozen meanwhile are added to ``listed``.
    """
    order = {shard.shard_id: place for place, shard in enumerate(inputs.read(source)[0])}
    while True:
        live, number = compact_groups.read(target)
        _look_again(source, target, live, listed)
        stale = [group for group in live if any(listed[group.folder][part.path] != part for part in group.parts)]
        dropped = set(stale)
        kept = {part.path for group in live if group not in dropped for part in group.parts}
        new: list[Group] = []
        for folder, found in listed.items():
            free = [part for path, part in found.items() if path not in kept]
            free.sort(key=lambda part: (order.get(part.place[0], len(order)), part.place))
            new += compact_groups.cut(folder, free, _group_bytes(source, free)) if free else []
        if not new:
            return live
        try:
            compact_groups.freeze(target, number, new, stale)
        except FileExistsError:
            continue
        return [group for group in live if group not in dropped] + new


def _look_again(source: Store, target: Store, live: Sequence[Group], listed: dict[str, dict[str, Part]]) -> None:
    """Bring ``listed`` up to date in the parts of groups that it lacks or has otherwise.

    Another compaction may have frozen what came after the listing was made, and one made while parts are put need not
    have all. Raises UserError for parts that are gone.
    """
    doubtful: dict[str, list[str]] = {}
    for group in live:
        known = listed.get(group.folder, {})
        doubtful.setdefault(group.folder, []).extend(part.path for part in group.parts if known.get(part.path) != part)
    gone = []
    for folder, paths in doubtful.items():
        now = _parts(source, folder) if paths else {}
        for path in paths:
            if path not in now and source.exists(path):
                now[path] = Part.of(source.entry(path))
            if path in now:
                listed.setdefault(folder, {})[path] = now[path]
            else:
                gone.append(path)
    if gone:
        raise UserError(
            f"{source.url}: {len(gone)} of the parts in {target.url} are gone from it, {min(gone)} first; run the "
            "job again to put them back, or choose another DEST"
        )


def _group_bytes(source: Store, found: Sequence[Part]) -> float:
    """The size of parts that make a file of the wanted rows, by the rows of some of them."""
    some = found[:: -(-len(found) // _SAMPLED)]
    rows = 0
    for body in get_all([source.url_of(part.path) for part in some]):
        rows += opened(body).metadata.num_rows
    row_bytes = sum(part.size for part in some) / max(1, rows)
    return row_bytes * min(max(FILE_BYTES / row_bytes, LEAST_ROWS), FILE_ROWS)


class Compactor:
    """Makes the file of one group; holds no open file, so that it can be made anywhere."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._source, self._target = Store.of(spec.output), Store.of(spec.destination)

    def __call__(self, group: Group) -> Written:
        """Read the parts, write the file, read it back and compare, and only then put it. Raises UserError."""
        started = time.perf_counter()
        is_images = group.folder == layout.IMAGES
        with plain_errors(self._source.url):
            tables = self._tables(group)
        hashes = [schema.facts_of(each.schema)[parts.IMAGES_HASH] for each in tables]
        tables = [each.replace_schema_metadata(None) for each in tables]
        expected = _sums(tables, is_images)
        table = pa.concat_tables(tables)
        del tables
        facts = {
            "fingerprint": self._spec.fingerprint,
            "parts": len(group.parts),
            parts.IMAGES_HASH: hashes[0] if len(hashes) == 1 else parts.joined_hash(hashes),
        }
        if not is_images:
            facts["prompt_set"] = layout.set_of_folder(group.folder)
            table = parts.in_order(table)
        groups = max(1, -(-table.num_rows // GROUP_ROWS))
        rows = max(1, -(-table.num_rows // groups))
        body = (parts.images_bytes if is_images else parts.masks_bytes)(table, facts, rows)
        again = read_parquet(body).replace_schema_metadata(None)
        if not again.equals(table.cast(again.schema)) or not _agree(_sums([again], is_images), expected):
            raise UserError(f"{group.path}: what was written is not what its {len(group.parts)} parts hold; run again")
        with plain_errors(self._target.url):
            parts.put(self._target, group.path, body)
            if self._target.entry(group.path).size != len(body):
                self._target.delete(group.path)
                raise UserError(f"{group.path}: arrived with another size than {len(body)} bytes; run again")
        return Written(group.path, table.num_rows, len(body), time.perf_counter() - started)

    def _tables(self, group: Group) -> list[pa.Table]:
        tables = []
        for start in range(0, len(group.parts), _AT_ONCE):
            near = group.parts[start : start + _AT_ONCE]
            for part, data in zip(near, get_all([self._source.url_of(part.path) for part in near]), strict=True):
                if len(data) != part.size:
                    raise UserError(f"{part.path}: changed since it was listed; run again")
                table = parquet_table(data, self._source.url_of(part.path))
                facts = schema.facts_of(table.schema)
                if facts.get("fingerprint") != self._spec.source_fingerprint or parts.IMAGES_HASH not in facts:
                    raise UserError(
                        f"{part.path}: is no part of this dataset; see clipseg-ray verify {self._spec.output}"
                    )
                tables.append(table)
        return tables


def _sums(tables: Sequence[pa.Table], is_images: bool) -> pa.Table:
    """Per query (per shard for images) rows and sums over columns, each table by itself first."""
    key, texts, numbers = ("shard", "image_id", ["chunk"]) if is_images else ("query_id", "counts", ["area", "score"])
    found = []
    for table in tables:
        columns = {name: table.column(name).cast(pa.float64() if name == "score" else pa.int64()) for name in numbers}
        columns |= {key: table.column(key), "text": pc.binary_length(table.column(texts)).cast(pa.int64())}
        columns["rows"] = pa.array(np.ones(table.num_rows, np.int64))
        found.append(pa.table(columns))
    names = [*numbers, "text", "rows"]
    summed = pa.concat_tables(found).group_by(key).aggregate([(name, "sum") for name in names])
    return summed.sort_by(key).select([key, *(f"{name}_sum" for name in names)])


def _agree(a: pa.Table, b: pa.Table) -> bool:
    """Equal, sums of scores up to the order of adding."""
    exact = [name for name in a.column_names if name != "score_sum"]
    if a.num_rows != b.num_rows or not a.select(exact).equals(b.select(exact)):
        return False
    if "score_sum" not in a.column_names:
        return True
    return bool(np.allclose(a["score_sum"].to_numpy(), b["score_sum"].to_numpy(), rtol=1e-9, atol=1e-6))
