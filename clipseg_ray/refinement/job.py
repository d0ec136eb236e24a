"""Refining: pairs of a dataset frozen in another, then computed there by the run's own graph.

    clipseg-ray refine masks finer --where "score BETWEEN 0.3 AND 0.6" -s model.views.tiles=2

What the graph is given is a dataset to fill like any: shards that are files of pairs, and the queries of the first.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from clipseg_ray.boundary import Boundary
from clipseg_ray.config import RunConfig
from clipseg_ray.errors import UserError
from clipseg_ray.model import identity
from clipseg_ray.pipeline import driver
from clipseg_ray.pipeline import plan as planning
from clipseg_ray.pipeline.outcome import Outcome
from clipseg_ray.pipeline.plan import Plan
from clipseg_ray.queries.phrase_set import PhraseSet
from clipseg_ray.queries.prompt_set import PromptSet
from clipseg_ray.queries.query import Query
from clipseg_ray.refinement.finer_settings import finer_settings
from clipseg_ray.refinement.selection import Selection, freeze, is_frozen, put_pairs
from clipseg_ray.results import inputs, layout, record, sets
from clipseg_ray.sources import formats
from clipseg_ray.sources.chunking import Chunking
from clipseg_ray.sources.listing import Listing
from clipseg_ray.sources.pairs import Pairs
from clipseg_ray.storage import Store, plain_errors
from clipseg_ray.tables import parquet_table


@dataclass(frozen=True, kw_only=True)
class Request:
    """``output``: the dataset that is refined. ``where``: which of its rows of ``masks``. ``overrides``: see
    ``finer_settings``. ``allow_source``: prefixes below which images may lie besides its bucket or parent folder.
    ``give_up``: see ``driver.run``."""

    output: str
    destination: str
    where: str
    overrides: Sequence[str]
    allow_source: Sequence[str] = ()
    give_up: bool = False


def refine(request: Request, invocation: str) -> Outcome:
    """Freeze the pairs where that is not done yet, and compute what is lacking, on Ray. See ``driver.run``.

    Raises UserError for anything that stops it before it begins.
    """
    return driver.carry_out(partial(look, request), invocation)


def look(request: Request) -> Plan:
    """What is to be computed, once the pairs are frozen. Raises UserError as ``refine`` does."""
    source, target = Store.of(request.output), Store.of(request.destination)
    if f"{target.url}/".startswith(f"{source.url}/"):
        raise UserError(f"{target.url}: lies in the dataset itself; choose a place beside it")
    with plain_errors(source.url):
        made = record.require(source)
        record.refuse_if_changed(source, made)
    config = finer_settings(made, request.destination, request.overrides)
    boundary = Boundary.around(source.url, request.allow_source)
    selection = Selection(request.where, made.fingerprint)
    selection.refuse_another(target)
    present = record.read_to_write(target)
    if not is_frozen(target):
        chunking = Chunking(config.input.chunk_images, config.input.chunk_bytes)
        found = put_pairs(source, made, target, request.where, boundary=boundary, chunking=chunking)
        _claim(source, made, target, config, found.sets)
        selection.settle(target)
        freeze(target, found.shards)
        print(
            f"selected {found.pairs:,} pairs of {found.images:,} images, frozen in {target.url_of(layout.PAIRS)}",
            file=sys.stderr,
            flush=True,
        )
    known = sets.read(target)
    queries, phrases = _asked(source, known)
    images = formats.source_of(
        made.input["format"],
        made.input["root"],
        image_field=config.input.image_field,
        id_field=config.input.id_field,
        text_field=phrases.field if phrases else None,
        boundary=boundary,
        max_image_bytes=config.input.max_image_bytes,
    )
    if present is not None:
        planning.refuse_other_settings(config, target, present, made.input["format"], selection.marks)
    shards, _ = inputs.read(target)
    work = planning.survey(config, target, shards, [layout.masks_folder(item.name) for item in known])
    model = config.model
    unchanged = present is not None and identity.is_unchanged(model.checkpoint, model.revision, present.model)
    return Plan(
        config=config,
        store=target,
        present=present,
        listing=Listing(made.input["root"], made.input["format"], ()),
        source=Pairs(images, target.url_of(layout.PAIRS), phrases.field if phrases else None),
        queries=tuple(queries),
        phrases=phrases,
        assignment=sets.Assignment(tuple(known), ()),
        shards=tuple(shards),
        new_shards=0,
        work=work,
        unchanged_model=unchanged,
        tables=all(target.exists(layout.queries_file(item.name)) for item in known),
        refusal=None if work.complete else target.refusal(),
        again=partial(look, request),
        marks=selection.marks,
        all_sets=tuple(item.name for item in known),
        give_up=request.give_up,
    )


def _claim(source: Store, made: record.DatasetRecord, target: Store, config: RunConfig, names: frozenset[str]) -> None:
    """Claim the prompt sets of these names as they are; of the same model their tables too, so that it need not embed
    anew."""
    same = identity.is_unchanged(config.model.checkpoint, config.model.revision, made.model)
    claimed = [item for item in sets.read(source) if item.name in names]
    for item in claimed:
        if same:
            target.put(layout.queries_file(item.name), source.get(layout.queries_file(item.name)))
        there = sets.read(target)
        if all(other.name != item.name for other in there):
            queries, phrases = _asked(source, [item])
            sets.claim(target, len(there), item.name, [*queries, *([phrases] if phrases else [])])


def _asked(source: Store, claimed: Sequence[sets.SetRecord]) -> tuple[list[Query], PhraseSet | None]:
    """The queries of these sets, as the tables of the dataset that is refined have them."""
    queries: list[Query] = []
    phrases: list[PhraseSet] = []
    for item in claimed:
        if item.query_ids is None:
            phrases += [PhraseSet.from_definition(each) for each in item.definitions.values()]
            continue
        path = layout.queries_file(item.name)
        queries += PromptSet.from_table(parquet_table(source.get(path), source.url_of(path))).members
    if len(phrases) > 1:
        fields = ", ".join(each.field for each in phrases)
        raise UserError(
            f"--where selects phrases of several fields ({fields}), and an image is read with those of one; add "
            "AND prompt_set = '…' and refine each by itself"
        )
    return queries, phrases[0] if phrases else None
