"""A dataset whose masks are those of another at other thresholds, made from the probability maps kept with them.

What it makes reads like any dataset, and is marked: its masks are near those of a run, not the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipseg_ray.errors import UserError
from clipseg_ray.masks import moving
from clipseg_ray.masks.arrow import BBOX, struct
from clipseg_ray.queries.naming import set_name
from clipseg_ray.queries.query import definition_digest
from clipseg_ray.results import layout, own_files, parts, record, schema, sets
from clipseg_ray.results.moved_thresholds import COMPETING
from clipseg_ray.storage import Store, plain_errors
from clipseg_ray.tables import parquet_bytes, parquet_table
from clipseg_ray.upkeep.copying import copy_folder


@dataclass(frozen=True)
class _Query:
    """A query as its set's record has it, at its new threshold."""

    query_id: str
    values: dict[str, Any]

    def definition(self) -> dict[str, Any]:
        return self.values

    def digest(self) -> str:
        return definition_digest(self.values)


def rethreshold(output: str, destination: str, thresholds: float | Mapping[str, float]) -> str:
    """Write ``output`` at other thresholds to ``destination``; say in one line what was done.

    thresholds: one for every query, or by query id; queries that are not named keep their masks. Run again, it goes on
    where it was stopped. Raises UserError where the maps to do it with were not kept (``masks.heat``), for an unknown
    query, for one that competes for pixels (``suppress``, ``group``), and where ``destination`` holds another dataset.
    """
    source, target = Store.of(output), Store.of(destination)
    with plain_errors(source.url):
        present, claimed = record.require(source), sets.read(source)
        record.refuse_if_changed(source, present)
        moved = {item.name: _moved(item, thresholds) for item in claimed}
        _refuse(source, present, claimed, thresholds)
        made = replace(present, masks={**present.masks, "rethresholded": {"from": present.fingerprint}})
        with plain_errors(target.url):
            _settle(target, made, claimed, moved)
            names = {item.name: set_name(moved[item.name]) for item in claimed}
            rows = 0
            for folder in (layout.INPUTS, layout.PAIRS, layout.SHARDS):
                copy_folder(source, target, folder)
            _move_images(source, target, made)
            for item in claimed:
                changed = {
                    query.query_id: query.values["threshold"]
                    for query in moved[item.name]
                    if query.values != item.definitions[query.query_id]
                }
                # A set of phrases is claimed under one id, which no mask has, and has one threshold.
                wanted = next(iter(changed.values())) if changed and item.query_ids is None else changed
                _move_queries(source, target, old=item.name, new=names[item.name], moved=moved[item.name])
                rows += _move_masks(source, target, old=item.name, new=names[item.name], thresholds=wanted, made=made)
    return f"{target.url}: {rows} masks at their new thresholds"


def _refuse(
    source: Store, present: record.DatasetRecord, claimed: list[sets.SetRecord], thresholds: float | Mapping[str, float]
) -> None:
    if "compacted" in present.masks:
        raise UserError(f"{source.url}: is compacted; move the thresholds of the dataset it was made from")
    if not present.masks.get("heat"):
        raise UserError(
            f"{source.url}: made without masks.heat, so there is nothing to move thresholds with; run it again"
        )
    definitions = {query: item.definitions[query] for item in claimed for query in item.written}
    before = {query: values["threshold"] for query, values in definitions.items()}
    wanted = dict(thresholds) if isinstance(thresholds, Mapping) else dict.fromkeys(before, thresholds)
    if unknown := sorted(wanted.keys() - before.keys()):
        raise UserError(f"{source.url}: no query {', '.join(unknown)}; it has {', '.join(sorted(before)[:10])}")
    competing = [
        query
        for query, threshold in wanted.items()
        if COMPETING & definitions[query].keys() and threshold != before[query]
    ]
    if competing:
        raise UserError(
            f"{source.url}: {', '.join(sorted(competing)[:10])}: competes with others for pixels, and the maps kept "
            "are too coarse to say whose they are; name other queries alone, or run these again under other ids"
        )
    for query, threshold in wanted.items():
        if not 0 < threshold < 1:
            raise UserError(f"threshold {threshold:g}: must lie strictly between 0 and 1")
        if not present.masks["keep_empty"] and threshold < before[query]:
            raise UserError(
                f"{query}: {threshold:g} is below {before[query]:g}, and masks.keep_empty: false left out rows that "
                "may not be empty at it; only a higher threshold can be had"
            )


def _moved(item: sets.SetRecord, thresholds: float | Mapping[str, float]) -> list[_Query]:
    found = []
    for query_id, definition in item.definitions.items():
        own = definition["threshold"]
        if isinstance(thresholds, Mapping):
            own = thresholds.get(query_id, own)
        elif query_id in item.written:
            own = thresholds
        found.append(_Query(query_id, {**definition, "threshold": own}))
    return found


def _settle(
    target: Store, made: record.DatasetRecord, claimed: list[sets.SetRecord], moved: Mapping[str, list[_Query]]
) -> None:
    """Put the record and the claims; refuse a place that holds others."""
    there = record.read(target)
    if there is None:
        record.create(target, made)
    else:
        record.refuse_if_different(target, there, made)
    for present, item in zip(sets.read(target), claimed, strict=False):
        if present.name != set_name(moved[item.name]):
            raise UserError(f"{target.url}: holds these masks at other thresholds; choose another place")
    for number, item in enumerate(claimed[len(sets.read(target)) :], len(sets.read(target))):
        sets.claim(target, number, set_name(moved[item.name]), moved[item.name])


def _move_queries(source: Store, target: Store, old: str, new: str, moved: list[_Query]) -> None:
    path = layout.queries_file(old)
    table = parquet_table(source.get(path), source.url_of(path))
    by_id = {query.query_id: query for query in moved}
    own = [by_id[query_id] for query_id in table.column("query_id").to_pylist()]
    for name, values in (
        ("prompt_set", [new] * len(own)),
        ("threshold", [query.values["threshold"] for query in own]),
        ("digest", [query.digest() for query in own]),
    ):
        index = table.column_names.index(name)
        table = table.set_column(index, table.schema.field(index), pa.array(values, table.schema.field(index).type))
    target.put(layout.queries_file(new), parquet_bytes(table))


def _lacking(source: Store, target: Store, old: str, new: str) -> Iterator[tuple[str, str]]:
    """The parts of a folder that ``target`` lacks, and where each belongs in it."""
    present = set(own_files.names(target, new))
    for before in own_files.names(source, old):
        path = f"{new}/{before.rpartition('/')[2]}"
        if path not in present:
            yield before, path


def _move_images(source: Store, target: Store, made: record.DatasetRecord) -> None:
    """Put the images parts that are not there yet: the same rows, of the new dataset."""
    for before, path in _lacking(source, target, layout.IMAGES, layout.IMAGES):
        table = parquet_table(source.get(before), source.url_of(before))
        facts = {**schema.facts_of(table.schema), "fingerprint": made.fingerprint}
        parts.put(target, path, parts.images_bytes(table, facts))


def _move_masks(
    source: Store,
    target: Store,
    *,
    old: str,
    new: str,
    thresholds: float | Mapping[str, float],
    made: record.DatasetRecord,
) -> int:
    """Put the parts that are not there yet; return how many masks they hold that ``thresholds`` is for."""
    rows = 0
    for before, path in _lacking(source, target, layout.masks_folder(old), layout.masks_folder(new)):
        table = parquet_table(source.get(before), source.url_of(before))
        changed = _is_changed(table, thresholds)
        moved = moved_rows(table.filter(changed), thresholds)
        if not made.masks["keep_empty"]:
            moved = moved.filter(pc.greater(moved.column("area"), 0))
        table = _of_set(pa.concat_tables([table.filter(pc.invert(changed)), moved]), new)
        facts = {**schema.facts_of(table.schema), "fingerprint": made.fingerprint, "prompt_set": new}
        parts.put(target, path, parts.masks_bytes(table, facts))
        rows += moved.num_rows
    return rows


def _of_set(table: pa.Table, prompt_set: str) -> pa.Table:
    index = table.column_names.index("prompt_set")
    return table.set_column(index, table.schema.field(index), pa.repeat(prompt_set, table.num_rows))


def _is_changed(table: pa.Table, thresholds: float | Mapping[str, float]) -> pa.Array:
    if not isinstance(thresholds, Mapping):
        return pa.repeat(True, table.num_rows)
    return pc.is_in(table.column("query_id"), pa.array(thresholds.keys(), pa.string()))


def moved_rows(table: pa.Table, thresholds: float | Mapping[str, float]) -> pa.Table:
    """Rows of ``masks`` with a column ``heat``, at another threshold: their area, coverage, box, counts, score_mean.

    thresholds: one for all, or by query id. A mask whose score is not above its threshold
    is empty, as in a run; ``score_mean`` is that of the map's cells.
    """
    if "heat" not in table.column_names:
        raise UserError("the rows have no column heat (masks.heat), so their thresholds cannot be moved")
    threshold_p = _threshold_of_rows(table, thresholds)
    height_p, width_p = (table.column(name).to_numpy() for name in ("height", "width"))
    heat = table.column("heat").combine_chunks()
    found_p = table.column("score").to_numpy() > threshold_p
    heat = pc.if_else(pa.array(found_p), heat, pa.scalar(None, heat.type))
    rles = moving.masks_at(heat, height_p, width_p, threshold_p)
    coverage_p = (rles.area / (height_p.astype(np.int64) * width_p)).astype(np.float32)
    means = pc.if_else(pa.array(rles.area > 0), moving.means_inside(heat, threshold_p), pa.scalar(None, pa.float32()))
    new = {
        "score_mean": means,
        "area": pa.array(rles.area),
        "coverage": pa.array(coverage_p),
        "bbox": struct(BBOX, rles.bbox),
        "counts": rles.counts,
    }
    for name, column in new.items():
        index = table.column_names.index(name)
        table = table.set_column(index, table.schema.field(index), column)
    return table


def _threshold_of_rows(table: pa.Table, thresholds: float | Mapping[str, float]) -> np.ndarray:
    if not isinstance(thresholds, Mapping):
        return np.full(table.num_rows, thresholds)
    return np.array([thresholds[query] for query in table.column("query_id").to_pylist()], np.float64)
