"""Settling a plan in the dataset: the record of what may never change, the frozen listing, the claim on queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from clipseg_ray.errors import UserError
from clipseg_ray.pipeline import plan as planning
from clipseg_ray.pipeline.plan import Plan, Work
from clipseg_ray.pipeline.reader import Reader
from clipseg_ray.pipeline.segmenter import SegmenterSpec
from clipseg_ray.pixels.preprocessing import Preprocessing
from clipseg_ray.queries.prompt_set import PromptSet, embed
from clipseg_ray.queries.query import Query
from clipseg_ray.results import inputs, layout, record, sets
from clipseg_ray.results.record import DatasetRecord
from clipseg_ray.sources.base import Shard
from clipseg_ray.sources.chunks import Chunking
from clipseg_ray.storage import Store, plain_errors

if TYPE_CHECKING:
    from clipseg_ray.model.checkpoint import Checkpoint


@dataclass(frozen=True)
class Settled:
    """A plan that can be executed: everything resolved, and recorded where another run will find it."""

    plan: Plan
    record: DatasetRecord
    shards: tuple[Shard, ...]
    prompt_sets: tuple[PromptSet, ...]
    reader: Reader
    spec: SegmenterSpec

    def survey(self) -> Work:
        """What is left to do now, from a fresh listing."""
        folders = [layout.masks_folder(prompt_set.name) for prompt_set in self.prompt_sets]
        return planning.survey(self.plan.config, self.plan.store, self.shards, folders)


class _Model:
    """The checkpoint, loaded on the driver only if something needs it."""

    def __init__(self, name: str, revision: str | None) -> None:
        self.name, self.revision = name, revision
        self._loaded: Checkpoint | None = None

    @property
    def loaded(self) -> Checkpoint:
        if self._loaded is None:
            from clipseg_ray.model import checkpoint

            self._loaded = checkpoint.load(self.name, self.revision)
        return self._loaded


def settle(plan: Plan, device: str, reader_threads: int) -> Settled:
    """Write what the plan decides. Raises UserError when the dataset refuses it, also if another run was faster."""
    from clipseg_ray.model import checkpoint

    config, store = plan.config, plan.store
    if plan.unchanged_model and plan.present is not None:
        settled_record = plan.present
        model = _Model(config.model.checkpoint, plan.present.model["revision"])
    else:
        revision = checkpoint.resolve_revision(config.model.checkpoint, config.model.revision)
        model = _Model(config.model.checkpoint, revision)
        settled_record = record.write(store, _record(plan, model, device))
    if settled_record.compute["device"] != device:
        raise UserError(
            f"{store.url}: the dataset was made on {settled_record.compute['device']}, this run would compute on "
            f"{device}; masks would differ at threshold ties. Set model.device: {settled_record.compute['device']} "
            "or choose another output.url"
        )
    shards = inputs.append(store, planning.unseen(config, plan.listing, plan.source))
    prompt_sets = _claim(store, plan.queries, model)
    preprocessing = Preprocessing.from_json(settled_record.model["preprocessing"])
    compute = settled_record.compute
    reader = Reader(
        plan.source,
        Chunking(settled_record.input["chunk_images"], settled_record.input["chunk_bytes"]),
        preprocessing,
        settled_record.input["decode"],
        store.url,
        reader_threads,
    )
    spec = SegmenterSpec(
        store.url,
        config.model.checkpoint,
        model.revision,
        settled_record.model["weights_sha256"],
        preprocessing,
        compute,
        settled_record.masks["size"],
        settled_record.masks["keep_empty"],
        prompt_sets,
        {"fingerprint": settled_record.fingerprint},
    )
    return Settled(plan, settled_record, tuple(shards), prompt_sets, reader, spec)


def _record(plan: Plan, model: _Model, device: str) -> DatasetRecord:
    from clipseg_ray.model.precision import default_batching, resolve_precision

    config = plan.config
    loaded = model.loaded
    if plan.present is not None:
        compute = plan.present.compute
    else:
        precision, reason = resolve_precision(config.model.precision, device)
        batch, decode_chunk = default_batching(device, precision)
        compute = {
            "device": device,
            "precision": precision,
            "reason": reason,
            "compile": config.model.compile == "on",
            "batch": config.pool.batch or batch,
            "decode_chunk": decode_chunk,
        }
    return DatasetRecord(
        input=planning.input_settings(config, plan.listing.format, plan.listing.root),
        model={
            "checkpoint": config.model.checkpoint,
            "revision": model.revision,
            "files": planning.checkpoint_files(config.model.checkpoint),
            "weights_sha256": loaded.weights_sha256,
            "preprocessing": loaded.preprocessing.to_json(),
        },
        masks=planning.mask_settings(config),
        compute=compute,
    )


def _claim(store: Store, queries: Sequence[Query], model: _Model) -> tuple[PromptSet, ...]:
    """The prompt sets that own the queries; those nobody owns become a new set, decided by exclusive create."""
    by_id = {query.query_id: query for query in queries}
    while True:
        known = sets.read(store)
        assignment = sets.assign(known, queries)
        if not assignment.new:
            return tuple(_load(store, owner, by_id, model) for owner in assignment.present)
        new = [by_id[query_id] for query_id in assignment.new]
        prompt_set = PromptSet.of(new, embed(new, model.loaded))
        try:
            sets.claim(store, len(known), prompt_set.name, new)
        except FileExistsError:
            continue
        _put(store, prompt_set)
        present = tuple(_load(store, owner, by_id, model) for owner in assignment.present)
        return (*present, prompt_set)


def _load(store: Store, owner: sets.SetRecord, by_id: dict[str, Query], model: _Model) -> PromptSet:
    """A claimed set's prompts. A driver that died between claim and table left no table: it is made again."""
    path = layout.queries_file(owner.name)
    with plain_errors(store.url):
        if store.exists(path):
            with store.open(path) as file:
                return PromptSet.from_table(pq.read_table(file))
    missing = sorted(owner.digests.keys() - by_id.keys())
    if missing:
        raise UserError(
            f"{store.url_of(path)}: missing, and this run's table does not hold the set's queries "
            f"{', '.join(missing[:5])}; run once with the table that made the set"
        )
    queries = [by_id[query_id] for query_id in sorted(owner.digests)]
    prompt_set = PromptSet.of(queries, embed(queries, model.loaded))
    _put(store, prompt_set)
    return prompt_set


def _put(store: Store, prompt_set: PromptSet) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(prompt_set.to_table(), sink, compression="zstd")
    with plain_errors(store.url):
        store.put(layout.queries_file(prompt_set.name), bytes(sink.getvalue()))
