"""Settling a plan in the dataset: the record of what may never change, the frozen listing, the claim on queries."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from clipseg_ray.errors import UserError
from clipseg_ray.model import folder
from clipseg_ray.pipeline import plan as planning
from clipseg_ray.pipeline.plan import Plan, Work
from clipseg_ray.pipeline.reader import Reader
from clipseg_ray.pipeline.segmenter import SegmenterSpec
from clipseg_ray.pixels.preprocessing import Preprocessing
from clipseg_ray.pixels.views import Views
from clipseg_ray.queries import phrases
from clipseg_ray.queries.inspection import count_tokens, warnings
from clipseg_ray.queries.naming import set_name
from clipseg_ray.queries.phrase_set import PhraseSet
from clipseg_ray.queries.prompt_set import PromptSet, embed
from clipseg_ray.queries.query import Query
from clipseg_ray.results import inputs, layout, optional_columns, record, sets
from clipseg_ray.results.foundation import Foundation
from clipseg_ray.results.record import DatasetRecord
from clipseg_ray.sources.base import Shard
from clipseg_ray.storage import Store, plain_errors
from clipseg_ray.tables import parquet_bytes, parquet_table

if TYPE_CHECKING:
    from clipseg_ray.model.checkpoint import Checkpoint


_OTHER_DRIVER_S = 120.0
"""How long to wait for the query table of a set that another driver has just claimed."""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A plan that can be executed: everything resolved, and recorded where another run will find it."""

    plan: Plan
    record: DatasetRecord
    shards: tuple[Shard, ...]
    prompt_sets: tuple[PromptSet | PhraseSet, ...]
    reader: Reader
    spec: SegmenterSpec
    foundation: Foundation
    warnings: tuple[str, ...] = ()

    def survey(self) -> Work:
        """What is left to do now, from a fresh listing."""
        folders = [layout.masks_folder(prompt_set.name) for prompt_set in self.prompt_sets]
        return planning.survey(self.plan.config, self.plan.store, self.shards, folders)

    def survey_again(self) -> Work:
        """The same once the run has worked. Raises OutputLost where the dataset has gone from under it."""
        work = self.survey()
        self.foundation.require(self.plan.store)
        return work


class Outpaced(Exception):
    """Another run made the dataset since this one was planned: plan again."""


class Model:
    """The checkpoint, loaded on the driver only if something needs it."""

    def __init__(self, name: str, revision: str | None, loaded: Checkpoint | None = None) -> None:
        self.name, self.revision = name, revision
        self._loaded = loaded
        self._embedded: tuple[Sequence[Query], np.ndarray] | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether anything needed it yet."""
        return self._loaded is not None

    @property
    def loaded(self) -> Checkpoint:
        if self._loaded is None:
            from clipseg_ray.model import checkpoint

            self._loaded = checkpoint.load(self.name, self.revision)
        return self._loaded

    def embed(self, queries: Sequence[Query]) -> np.ndarray:
        """``prompt_set.embed``; the last answer is kept."""
        if self._embedded is None or self._embedded[0] != queries:
            self._embedded = queries, embed(queries, self.loaded)
        return self._embedded[1]


def prepare(plan: Plan) -> Model:
    """What of settling needs no cluster and takes long: the model loaded and new queries embedded, where needed."""
    from clipseg_ray.model import checkpoint

    name = plan.config.model.checkpoint
    if plan.unchanged_model and plan.present is not None:
        model = Model(name, plan.present.model["revision"])
    else:
        revision = checkpoint.resolve_revision(name, plan.config.model.revision)
        model = Model(name, revision, checkpoint.load(name, revision))
    new = set(plan.assignment.new)
    if queries := sorted((query for query in plan.queries if query.query_id in new), key=lambda query: query.query_id):
        model.embed(queries)
    return model


def settle(plan: Plan, device: str, reader_threads: int, model: Model | None = None) -> Settled:
    """Write what the plan decides. Raises UserError when the dataset refuses it, also if another run was faster.

    ``model``: what ``prepare`` gave for this plan.
    """
    config, store = plan.config, plan.store
    model = model or prepare(plan)
    if plan.unchanged_model and plan.present is not None:
        settled_record = plan.present
    else:
        settled_record = _record(plan, model, device)
        if plan.present is not None:
            record.refuse_if_different(store, plan.present, settled_record)
        else:
            try:
                record.create(store, settled_record)
            except FileExistsError as error:
                raise Outpaced from error
    if settled_record.compute["device"] != device:
        raise UserError(
            f"{store.url}: the dataset was made on {settled_record.compute['device']}, this run would compute on "
            f"{device}; masks would differ at threshold ties. Set model.device: {settled_record.compute['device']} "
            "or choose another output.url"
        )
    shards = inputs.append(store, planning.unseen(config, plan.listing, plan.source))
    prompt_sets = _claim(store, planning.asked(plan.queries, plan.phrases), model)
    if plan.retry_failed:
        prompt_sets += _others(store, prompt_sets, model)
    warned = warnings(plan.queries, count_tokens(plan.queries, model.loaded)) if model.is_loaded else []
    preprocessing = Preprocessing.from_json(settled_record.model["preprocessing"])
    views = Views.from_record(settled_record.masks.get("views"))
    reader = Reader(
        source=plan.source,
        preprocessing=preprocessing,
        views=views,
        decode=settled_record.input["decode"],
        output=store.url,
        phrase_field=plan.phrases.field if plan.phrases else None,
        threads=reader_threads,
        give_up=plan.give_up,
    )
    spec = SegmenterSpec(
        output=store.url,
        checkpoint=config.model.checkpoint,
        revision=model.revision,
        weights_sha256=settled_record.model["weights_sha256"],
        preprocessing=preprocessing,
        views=views,
        compute=settled_record.compute,
        mask_size=settled_record.masks["size"],
        keep_empty=settled_record.masks["keep_empty"],
        optional=optional_columns.settings_of(settled_record.masks),
        refine=settled_record.masks.get("refine"),
        prompt_sets=prompt_sets,
        facts={"fingerprint": settled_record.fingerprint},
    )
    return Settled(
        plan=plan,
        record=settled_record,
        shards=tuple(shards),
        prompt_sets=prompt_sets,
        reader=reader,
        spec=spec,
        foundation=Foundation.of(store, settled_record, [prompt_set.name for prompt_set in prompt_sets]),
        warnings=tuple(warned),
    )


def _record(plan: Plan, model: Model, device: str) -> DatasetRecord:
    from clipseg_ray.model.precision import default_batching, resolve_precision

    config = plan.config
    loaded = model.loaded
    masks = {**planning.mask_settings(config), **plan.marks}
    for column in optional_columns.OPTIONAL:
        if (setting := masks.get(column.name)) and (why := column.refuse(setting, loaded.preprocessing.size)):
            raise UserError(f"{column.setting}: {why}")
    if "views" in masks and loaded.preprocessing.size % loaded.config.vision_config.patch_size:
        raise UserError("model.views: this model's masks are smaller than its input; leave model.views out")
    if plan.present is not None:
        compute = plan.present.compute
    else:
        precision, reason = resolve_precision(config.model.precision, device)
        batch, decode_chunk = default_batching(device, precision)
        compute = {
            "device": device,
            "precision": precision,
            "reason": reason,
            "compile": _compile(plan, loaded, device),
            "batch": config.pool.batch or batch,
            "decode_chunk": decode_chunk,
        }
    return DatasetRecord(
        input=planning.input_settings(config, plan.listing.format, plan.listing.root),
        model={
            "checkpoint": config.model.checkpoint,
            "revision": model.revision,
            "files": folder.files_digest(config.model.checkpoint),
            "weights_sha256": loaded.weights_sha256,
            "preprocessing": loaded.preprocessing.to_json(),
        },
        masks=masks,
        compute=compute,
    )


def _compile(plan: Plan, loaded: Checkpoint, device: str) -> bool:
    """``model.compile``, ``auto`` decided by the work of the first run, as far as it can be estimated."""
    from clipseg_ray.model import packed
    from clipseg_ray.model.flops import worth_compiling
    from clipseg_ray.model.precision import has_amx

    wish = plan.config.model.compile
    if wish != "auto":
        return wish == "on"
    if device == "cpu" and packed.pays() and not has_amx():
        return False  # packed layers are as fast as compiled ones there, from the first image on
    views = plan.config.model.views_of_images
    images = plan.work.images_estimate * (1 if views is None else views.passes(views.most)[0])
    masks = images * max(1, sum(query.is_prompt for query in plan.queries))
    actors = plan.config.pool.max or 1
    return worth_compiling(loaded.config, loaded.preprocessing.size, device, images=images, masks=masks, actors=actors)


def _claim(store: Store, asked: Sequence[sets.QueryLike], model: Model) -> tuple[PromptSet | PhraseSet, ...]:
    """The prompt sets that own what is asked; queries nobody owns become a new set, decided by exclusive create.

    The images' own phrases are a set by themselves.
    """
    by_id = {query.query_id: query for query in asked}
    while True:
        known = sets.read(store)
        assignment = sets.assign(known, asked)
        if not assignment.new:
            return tuple(_load(store, owner, by_id, model) for owner in assignment.present)
        queries = [query for query_id in assignment.new if isinstance(query := by_id[query_id], Query)]
        claimed: list[sets.QueryLike] = list(queries)
        if not queries:
            claimed = [by_id[query_id] for query_id in assignment.new]
        try:
            sets.claim(store, len(known), set_name(claimed), claimed)
        except FileExistsError:
            continue


def _others(store: Store, claimed: Sequence[PromptSet | PhraseSet], model: Model) -> tuple[PromptSet | PhraseSet, ...]:
    """The dataset's prompt sets besides these, as their tables have them."""
    names = {prompt_set.name for prompt_set in claimed}
    others = [owner for owner in sets.read(store) if owner.name not in names]
    return tuple(_load(store, owner, {}, model) for owner in others if store.exists(layout.queries_file(owner.name)))


def _load(store: Store, owner: sets.SetRecord, by_id: dict[str, sets.QueryLike], model: Model) -> PromptSet | PhraseSet:
    """A claimed set's prompts. The table is put right after the claim; where it is not there yet it is made."""
    path = layout.queries_file(owner.name)
    phrase_sets = [PhraseSet.from_definition(item) for item in owner.definitions.values() if "from" in item]
    same = {query_id for query_id, query in by_id.items() if query.digest() == owner.digests.get(query_id)}
    missing = sorted(owner.digests.keys() - same)
    with plain_errors(store.url):
        if not store.exists(path) and phrase_sets:
            _put(store, owner.name, phrases.to_table(phrase_sets[0]))
        elif not store.exists(path) and not missing:
            queries = [query for query_id in sorted(owner.digests) if isinstance(query := by_id[query_id], Query)]
            _put(store, owner.name, PromptSet.of(queries, model.embed(queries)).to_table())
        if phrase_sets:
            return phrase_sets[0]
        deadline = time.monotonic() + _OTHER_DRIVER_S
        while not store.exists(path):
            # The driver that claimed the set is embedding it now, or died before it had.
            if time.monotonic() > deadline:
                raise UserError(
                    f"{store.url_of(path)}: missing, and this run's table does not hold the set's queries "
                    f"{', '.join(missing[:5])}; run once with the table that made the set"
                )
            time.sleep(1)
        return PromptSet.from_table(parquet_table(store.get(path), store.url_of(path)))


def _put(store: Store, name: str, table: pa.Table) -> None:
    # Whoever was first has written what every part is made from.
    with contextlib.suppress(FileExistsError):
        store.create(layout.queries_file(name), parquet_bytes(table))
