"""What a run would do: shards, chunks and queries held against what the dataset already has. No Ray, no GPU.

``look`` only reads; ``settle`` writes what a plan decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any

from clipseg_ray.boundary import Boundary
from clipseg_ray.config import RunConfig
from clipseg_ray.errors import UserError
from clipseg_ray.model import checkpoint, drawn_scenes, identity
from clipseg_ray.pipeline import retry
from clipseg_ray.pipeline.reader import READER_VERSION
from clipseg_ray.pipeline.work import ShardWork, Work
from clipseg_ray.queries.phrase_set import PhraseSet
from clipseg_ray.queries.query import Query
from clipseg_ray.queries.table import load_queries
from clipseg_ray.queries.templates import resolve_templates
from clipseg_ray.results import inputs, layout, moved_thresholds, optional_columns, record, sets
from clipseg_ray.results import shard_records as shard_records
from clipseg_ray.results.parts import PartIndex
from clipseg_ray.results.record import DatasetRecord
from clipseg_ray.results.retrying import Redo
from clipseg_ray.results.unread import Unread, image_bytes
from clipseg_ray.sources import formats, overlap
from clipseg_ray.sources.base import Shard, Source
from clipseg_ray.sources.chunking import Chunking
from clipseg_ray.sources.listing import Listing, append_shards, discover
from clipseg_ray.storage import Store, plain_errors


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run held against its dataset.

    ``present`` is the dataset's record, None before the first run. ``new_shards`` are those this run adds to the
    listing. ``unchanged_model``: the configuration names the very checkpoint the record was made with, so that
    nothing need be loaded to know it; ``tables``: the sets' tables of queries are there too. ``refusal``: why
    nothing can be written to the output from here, None where it can or nothing need be. With ``retry_failed``
    the work is that of every prompt set, not only those asked for: ``redo`` are chunks to compute again, whose parts
    of ``all_sets`` go together. ``give_up``: see ``Reader``. ``marks``: what else the record says under ``masks``.
    ``again``: plans the same anew.
    """

    config: RunConfig
    store: Store
    present: DatasetRecord | None
    listing: Listing
    source: Source
    queries: tuple[Query, ...]
    phrases: PhraseSet | None
    assignment: sets.Assignment
    shards: tuple[Shard, ...]
    new_shards: int
    work: Work
    unchanged_model: bool
    tables: bool
    refusal: str | None
    again: Callable[[], Plan]
    marks: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = field(default=())
    retry_failed: bool = False
    all_sets: tuple[str, ...] = ()
    redo: tuple[Redo, ...] = ()
    give_up: bool = False

    @property
    def written(self) -> tuple[Query, ...]:
        """The queries of the table but those that are computed for others alone."""
        return tuple(query for query in self.queries if query.keep)

    @property
    def listed(self) -> frozenset[str]:
        """The paths of the input as it is now."""
        return frozenset(member.path for member in self.listing.objects)

    @property
    def nothing_left(self) -> bool:
        """Whether all is there, down to the tables of queries, and nothing need be loaded to know it."""
        return self.work.complete and self.unchanged_model and self.tables


def look(config: RunConfig, *, retry_failed: bool = False, give_up: bool = False) -> Plan:
    """Plan a run without writing anything. Raises UserError for anything that would stop the run.

    ``retry_failed``: also compute again the chunks with images that were not found or reached; ``give_up``: see
    ``Reader``.
    """
    store, model = Store.of(config.output.url), config.model
    overlap.refuse(config.input.url, config.output.url)
    present = record.read_to_write(store)
    queries, phrases = wanted_queries(config)
    known = sets.read(store)
    assignment = moved_thresholds.assign(store, present, known, asked(queries, phrases))
    doubt = checkpoint.look(model.checkpoint, model.revision)
    if retry_failed:
        retry.refuse(store, present, known, assignment)
    listing = discover(
        config.input.url,
        config.input.format or (present.input["format"] if present else None),
        present.input["root"] if present else None,
    )
    source = formats.source_of(
        listing.format,
        listing.root,
        image_field=config.input.image_field,
        id_field=config.input.id_field,
        text_field=config.queries.from_,
        boundary=Boundary.of_input(config.input.url, config.input.allow),
        max_image_bytes=config.input.max_image_bytes,
    )
    listing = overlap.without(listing, source, (f"{store.url}/", f"{store.url}{layout.REHEARSAL}"))
    if present:
        refuse_other_settings(config, store, present, listing.format)
    frozen, _ = inputs.read(store)
    _refuse_moved(listing, frozen, source)
    new = unseen(config, listing, source)(frozen)
    owners = retry.owners(store, known, assignment) if retry_failed else assignment.present
    folders = [layout.masks_folder(owner.name) for owner in owners]
    if assignment.new:
        folders.append(layout.masks_folder("new"))
    shards = (*frozen, *new)
    if not shards:
        raise UserError(f"input.url: {', '.join(config.input.url)} holds no image; check it and input.format")
    work = survey(config, store, shards, folders)
    refusal = None if work.complete else store.refusal()
    unchanged = present is not None and identity.is_unchanged(model.checkpoint, model.revision, present.model)
    if present is not None:
        differs = None if unchanged else identity.compare(model.checkpoint, model.revision, present.model, store.url)
        doubt = differs or (None if unchanged else doubt)
    caution = drawn_scenes.caution(model.checkpoint, (shard.path for shard in shards))
    return Plan(
        config=config,
        store=store,
        present=present,
        listing=listing,
        source=source,
        queries=tuple(queries),
        phrases=phrases,
        assignment=assignment,
        shards=shards,
        new_shards=len(new),
        work=work,
        unchanged_model=unchanged,
        tables=all(store.exists(layout.queries_file(owner.name)) for owner in owners),
        refusal=refusal,
        again=partial(look, config, retry_failed=retry_failed, give_up=give_up),
        warnings=(*filter(None, (caution, doubt)), *_warnings(config, work, refusal)),
        retry_failed=retry_failed,
        all_sets=tuple(owner.name for owner in known),
        redo=tuple(retry.redo(store, source, share_of(config, shards))) if retry_failed and present else (),
        give_up=give_up,
    )


def _refuse_moved(listing: Listing, frozen: Sequence[Shard], source: Source) -> None:
    """Refuse an input that is the frozen one under another root: every image would be done again under new ids."""
    known = {(member.path, member.size, member.etag) for shard in frozen for member in shard.members or (shard,)}
    listed = [(member.path, member.size, member.etag) for member in source.members(listing.objects)]
    paths = {path for path, _, _ in known}
    if any(path in paths for path, _, _ in listed):
        return
    tails = {(path.rpartition("/")[2], size, etag) for path, size, etag in known}
    if any((path.rpartition("/")[2], size, etag) in tails for path, size, etag in listed):
        raise UserError(
            f"input.url: none of the dataset's files are under {listing.root}, but files of the same name and bytes "
            "are: the input seems to have moved, and would be done again under other ids. Put it back where it was, "
            "or choose another output.url"
        )


def wanted_queries(config: RunConfig) -> tuple[list[Query], PhraseSet | None]:
    """The queries of the table, and the set that stands for the images' own phrases. Raises UserError."""
    settings, threshold = config.queries, config.masks.threshold
    phrases = None
    if settings.from_ is not None:
        try:
            phrases = PhraseSet(settings.from_, resolve_templates(settings.template), threshold)
        except ValueError as error:
            raise UserError(f"queries.template: {error}") from error
    if settings.table is None:
        return [], phrases
    queries = load_queries(settings.table, settings.where, threshold)
    if not queries:
        raise UserError(f"{settings.table}: no query is left; check queries.where ({settings.where})")
    return queries, phrases


def asked(queries: Sequence[Query], phrases: PhraseSet | None) -> list[sets.QueryLike]:
    """All that is claimed in a dataset."""
    return [*queries, *([phrases] if phrases else [])]


def unseen(config: RunConfig, listing: Listing, source: Source) -> Any:
    """The function ``frozen shards -> shards to add`` for this listing."""
    settings = config.input

    def additions(frozen: list[Shard]) -> list[Shard]:
        return append_shards(
            frozen,
            listing,
            source,
            slice_images=settings.slice_images,
            chunking=Chunking(settings.chunk_images, settings.chunk_bytes),
            limit=settings.limit,
            sample=settings.sample,
            seed=settings.seed,
        )

    return additions


def input_settings(config: RunConfig, listing_format: str, root: str) -> dict[str, Any]:
    """The ``input`` section of the dataset record."""
    kept = (
        "image_field",
        "id_field",
        "chunk_images",
        "chunk_bytes",
        "slice_images",
        "max_image_bytes",
        "decode",
        "limit",
        "sample",
        "seed",
    )
    settings = {key: getattr(config.input, key) for key in kept}
    return {"format": listing_format, "root": root, "reader": READER_VERSION, **settings}


def mask_settings(config: RunConfig) -> dict[str, Any]:
    """The ``masks`` section of the dataset record."""
    return {
        "size": config.masks.size,
        "keep_empty": config.masks.keep_empty,
        **({} if config.model.views_of_images is None else {"views": config.model.views_of_images.recorded()}),
        **config.masks.refinement,
        **optional_columns.recorded(config),
    }


def refuse_other_settings(
    config: RunConfig,
    store: Store,
    present: DatasetRecord,
    listing_format: str,
    marks: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Refuse settings that differ from the dataset's, as far as they are known without loading the model.

    ``auto`` and unset compute settings take the dataset's own. ``marks``: see ``Plan``.
    """
    compute = dict(present.compute)
    if config.model.precision != "auto":
        compute["precision"] = config.model.precision
    if config.model.compile != "auto":
        compute["compile"] = config.model.compile == "on"
    if config.pool.batch is not None:
        compute["batch"] = config.pool.batch
    wanted = replace(
        present,
        input=input_settings(config, listing_format, present.input["root"]),
        masks={**mask_settings(config), **marks},
        compute=compute,
    )
    record.refuse_if_different(store, present, wanted)


def share_of(config: RunConfig, shards: Sequence[Shard]) -> list[Shard]:
    """This driver's share of the shards (``input.part``)."""
    i, n = config.input.share
    return [shard for shard in shards if int(shard.shard_id, 16) % n == i - 1]


def survey(config: RunConfig, store: Store, shards: Sequence[Shard], folders: Iterable[str]) -> Work:
    """Hold the shards of this driver's share against the parts that are listed."""
    mine = share_of(config, shards)
    wanted = (layout.IMAGES, *folders)
    with plain_errors(store.url):
        index = PartIndex.listed(store, wanted)
        known_of = shard_records.counts(store)
    todo, unread, unread_done = [], [], []
    chunks = done = images = further = 0
    for shard in mine:
        known = known_of.get(shard.shard_id)
        work = ShardWork(shard, {folder: index.bits(folder, shard.shard_id) for folder in wanted}, known)
        missing = work.missing()
        if missing is None or known is None:
            unread.append(shard)
            unread_done.append(work.finished)
        else:
            chunks += known.chunks
            done += known.chunks - len(missing)
            images += known.samples
            further += known.further
        if missing is None or missing:
            todo.append(work)
    return Work(
        folders=wanted,
        todo=tuple(todo),
        shards=len(mine),
        bytes=sum(shard.size for shard in mine),
        chunks_known=chunks,
        chunks_done=done + sum(unread_done),
        images_known=images,
        unread=Unread.of(unread, unread_done),
        image_bytes=image_bytes(mine, known_of),
        further=further,
    )


def _warnings(config: RunConfig, work: Work, refusal: str | None) -> Iterable[str]:
    if refusal is not None:
        yield f"output.url: {refusal}"
    if (config.input.limit or config.input.sample) and len(work.folders) > 1 and work.chunks_done:
        yield "input.limit and input.sample were settled by the first run into this output; they add no images now"
