"""Whether the rows of one part agree with the schema, with each other, and with the part's neighbours."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipseg_ray.errors import UserError, brief
from clipseg_ray.masks import algebra
from clipseg_ray.pixels.views import Views, side_of
from clipseg_ray.results import parts, schema
from clipseg_ray.results.optional_columns import OPTIONAL, masks_schema, settings_of
from clipseg_ray.results.record import DatasetRecord
from clipseg_ray.results.sets import SetRecord
from clipseg_ray.tables import UNREADABLE, read_parquet
from clipseg_ray.upkeep.pair_checks import pair_faults

STATUSES = ("ok", "empty", "undecodable", "too_large", "missing", "truncated", "unreachable")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the dataset's record says of every part; ``schema`` and what follows it, of those of masks.

    ``model_size``: the side of what the model takes. ``views``: by which grids differ, None where they do not.
    ``some``: whether only some (image, query) pairs were asked.
    """

    fingerprint: str
    schema: pa.Schema
    model_size: int
    views: Views | None
    at_image_size: bool
    keep_empty: bool
    some: bool
    optional: Mapping[str, Any]

    @classmethod
    def of(cls, made: DatasetRecord) -> Expected:
        """From the record."""
        optional = settings_of(made.masks)
        return cls(
            fingerprint=made.fingerprint,
            schema=masks_schema(optional),
            model_size=made.model["preprocessing"]["size"],
            views=Views.from_record(made.masks.get("views")),
            at_image_size=made.masks["size"] == "image",
            keep_empty=made.masks["keep_empty"],
            some="pairs" in made.masks,
            optional=optional,
        )


def query_faults(body: bytes, digests: Mapping[str, str]) -> list[str]:
    """How a set's query table differs from its claim."""
    try:
        table = read_parquet(body, ["query_id", "digest"])
    except (*UNREADABLE, KeyError) as error:
        return [f"cannot be read ({brief(error, 200)})"]
    found = dict(zip(*(table.column(name).to_pylist() for name in ("query_id", "digest")), strict=True))
    return [
        f"query {query!r} is not as the set's claim has it"
        for query in sorted(found.keys() | digests.keys())
        if found.get(query) != digests.get(query)
    ]


def read_images(
    body: bytes, expected: Expected, place: tuple[str, int], samples: int | None
) -> tuple[pa.Table | None, list[str]]:
    """An images part and its faults; None for one that cannot be read.

    ``place``: its shard and chunk. ``samples``: rows it should have, if known.
    """
    table, faults = _read(body, schema.IMAGES, expected.fingerprint)
    if table is None:
        return None, faults
    if samples is not None and table.num_rows != samples:
        faults.append(f"has {table.num_rows} rows, its chunk {samples} samples")
    faults += _hash_faults(table, parts.hash_of_images(table), "rows")
    for name, value in zip(("shard", "chunk"), place, strict=True):
        faults += _rows_where(table, pc.not_equal(table.column(name), value), f"{name} is not {value}")
    return table, faults + _status_faults(table)


def read_images_of(
    body: bytes, expected: Expected, samples: Mapping[tuple[str, int], int | None]
) -> tuple[int, list[str]]:
    """Rows in a file of many chunks' images, and its faults. ``samples``: rows by (shard, chunk), None if unknown."""
    table, faults = _read(body, schema.IMAGES, expected.fingerprint)
    if table is None:
        return 0, faults
    counted = table.select(["shard", "chunk"]).group_by(["shard", "chunk"]).aggregate([([], "count_all")])
    found = {(row["shard"], row["chunk"]): row["count_all"] for row in counted.to_pylist()}
    for place in sorted(found.keys() | samples.keys()):
        wanted = samples.get(place, 0)
        if wanted is not None and found.get(place, 0) != wanted:
            faults.append(f"has {found.get(place, 0)} rows of chunk {place[1]} of shard {place[0]}, not {wanted}")
    return table.num_rows, faults + _status_faults(table)


def _status_faults(table: pa.Table) -> list[str]:
    strange = pc.invert(pc.is_in(table.column("status"), pa.array(STATUSES)))
    faults = _rows_where(table, strange, "status is none there is")
    unsized = pc.and_(pc.equal(table.column("status"), "ok"), pc.is_null(table.column("width")))
    return faults + _rows_where(table, unsized, "status is ok, but there is no width")


def read_masks(
    body: bytes,
    expected: Expected,
    images: Sequence[pa.Table] | None,
    owner: SetRecord,
    pairs: pa.Table | None = None,
) -> tuple[int, list[str]]:
    """Rows in a file of masks, and its faults. ``images``: each of its chunks' images; ``owner``: its prompt set.

    ``pairs``: which it is to have (``sources.pairs.SCHEMA``, maybe of further images); None for all.
    """
    table, faults = _read(body, expected.schema, expected.fingerprint)
    if table is None:
        return 0, faults
    for what, bad in _row_checks(table, expected):
        faults += _rows_where(table, bad, what)
    faults += _order_faults(table)
    faults += _overlap_faults(table, owner.groups)
    other = pc.not_equal(table.column("prompt_set"), owner.name)
    faults += _rows_where(table, other, f"prompt_set is not {owner.name}")
    if images is not None:
        hashes = [parts.hash_of_images(each) for each in images]
        own = hashes[0] if len(hashes) == 1 else parts.joined_hash(hashes)
        faults += _hash_faults(table, own, "images")
        faults += _join_faults(table, expected, pa.concat_tables(images), owner.query_ids, pairs)
    return table.num_rows, faults


def _hash_faults(table: pa.Table, own: str, what: str) -> list[str]:
    said = schema.facts_of(table.schema).get(parts.IMAGES_HASH)
    if said == own:
        return []
    return [
        f"was put with other {what} than there are (hash of image_id and status {said}, now {own}); remove the chunk's "
        "parts of masks, then that of images, and run again"
    ]


def _read(body: bytes, wanted: pa.Schema, fingerprint: str) -> tuple[pa.Table | None, list[str]]:
    try:
        table = read_parquet(body)
    except UNREADABLE as error:
        return None, [f"cannot be read ({brief(error, 200)}); remove it and run again"]
    if not table.schema.equals(wanted):
        differing = [
            field.name
            for field in wanted
            if field.name not in table.column_names or not table.schema.field(field.name).equals(field)
        ]
        differing += [name for name in table.column_names if name not in wanted.names]
        return None, [f"has other columns than the dataset's: {', '.join(differing) or 'in another order'}"]
    if not (table.schema.metadata or {}).get(schema.METADATA_KEY):
        return table, ["lacks the metadata that says how masks are encoded"]
    made = schema.facts_of(table.schema).get("fingerprint")
    if made != fingerprint:
        return table, [f"is of a dataset with other settings (fingerprint {made}, the record has {fingerprint})"]
    return table, []


def _row_checks(table: pa.Table, expected: Expected) -> Iterator[tuple[str, Any]]:
    """(what is wrong, bool per row) for all that a row must fulfil by itself."""
    column = table.column
    height, width = (column(name).to_numpy().astype(np.int64) for name in ("height", "width"))
    area, score = column("area").to_numpy(), column("score").to_numpy()
    yield "height or width is not positive", (height < 1) | (width < 1)
    pixels = _runs(column("counts"))
    whole = pixels == height * width
    yield "counts is no run-length encoding", pixels < 0
    yield "counts has another number of pixels than height × width", ~whole & (pixels >= 0)
    good = np.flatnonzero(whole & (height > 0))
    counts = column("counts").take(pa.array(good))
    for what, name, found in (
        ("area is not that of counts", "area", algebra.area(counts)),
        ("bbox is not that of counts", "bbox", algebra.bbox(counts, pa.array(height[good]))),
    ):
        stored = column(name).take(pa.array(good)).combine_chunks()
        bad = np.zeros(len(whole), np.bool_)
        bad[good] = _differ(stored, found)
        yield what, bad
    covered = (area / np.maximum(height * width, 1)).astype(np.float32)
    yield "coverage is not area / (height · width)", column("coverage").to_numpy() != covered
    yield "score is no probability", ~((score >= 0) & (score <= 1))
    mean = np.asarray(column("score_mean").fill_null(-1.0))
    present = np.asarray(column("score_mean").is_valid())
    sane = (mean >= 0) & (mean <= 1) & (area > 0)
    yield "score_mean is no probability, or given for an empty mask", present & ~sane
    if not expected.at_image_size:
        yield "score_mean is null, but the mask is not empty", ~present & (area > 0)
    if not expected.keep_empty:
        yield "is empty (masks.keep_empty is false)", area == 0
    if expected.at_image_size:
        other = pc.or_(
            pc.not_equal(column("height"), column("image_height")), pc.not_equal(column("width"), column("image_width"))
        )
        yield "is not of its image's size", other
    elif expected.views is not None:
        yield "its grid is not the one that model.views gives its image", _other_grid(table, expected)
    for each in OPTIONAL:
        if each.name in expected.optional:
            yield each.check(column(each.name), expected.optional[each.name])


def _other_grid(table: pa.Table, expected: Expected) -> np.ndarray:
    names = ("image_width", "image_height", "width", "height")
    sizes, of_row = np.unique(
        np.stack([table.column(name).to_numpy() for name in names], 1), axis=0, return_inverse=True
    )
    other = [
        {width, height} != {side_of(expected.views, image_width, image_height, expected.model_size)}
        for image_width, image_height, width, height in sizes.tolist()
    ]
    return np.array(other, np.bool_)[of_row.reshape(-1)]


def _runs(counts: pa.ChunkedArray) -> np.ndarray:
    """int64 [P], the sum of each mask's runs, -1 for what is no run-length encoding."""
    try:
        return algebra.grid_pixels(counts).to_numpy()
    except UserError:
        if len(counts) == 1:
            return np.array([-1])
        half = len(counts) // 2
        return np.concatenate([_runs(counts.slice(0, half)), _runs(counts.slice(half))])


def _differ(a: pa.Array, b: pa.Array) -> np.ndarray:
    if pa.types.is_struct(a.type):
        return np.logical_or.reduce([_differ(x, y) for x, y in zip(a.flatten(), b.flatten(), strict=True)])
    return np.asarray(pc.not_equal(a, b))


def _order_faults(table: pa.Table) -> list[str]:
    keys = table.select(["query_id", "image_id"])
    faults = []
    if table.num_rows != keys.group_by(["query_id", "image_id"]).aggregate([]).num_rows:
        faults.append("has more than one mask of an image and a query")
    if not keys.equals(keys.sort_by([("query_id", "ascending"), ("image_id", "ascending")])):
        faults.append("its rows are not sorted by query and image")
    return faults


def _overlap_faults(table: pa.Table, groups: Sequence[Sequence[str]]) -> list[str]:
    """Masks of one group that share pixels: each image's union is to have all their areas."""
    faults = []
    for group in groups:
        own = table.filter(pc.is_in(table.column("query_id"), pa.array(group, pa.string())))
        # Sorted, so that the lists are built in order whatever threads do.
        images = own.sort_by("image_id").group_by("image_id", use_threads=False)
        each = images.aggregate([("counts", "list"), ("area", "sum")])
        try:
            united = algebra.area(algebra.union_all(each.column("counts_list")))
        except UserError:
            continue  # counts that are none are named row by row
        bad = np.flatnonzero(np.asarray(pc.not_equal(united, each.column("area_sum").combine_chunks())))
        if len(bad):
            image = each.column("image_id")[int(bad[0])].as_py()
            more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            faults.append(f"image {image!r}{more}: masks of the group of {', '.join(group[:3])} share pixels")
    return faults


def _join_faults(
    table: pa.Table, expected: Expected, images: pa.Table, queries: Collection[str] | None, pairs: pa.Table | None
) -> list[str]:
    """What does not go with the chunk's images and the set's queries."""
    ok = images.filter(pc.equal(images.column("status"), "ok"))
    place = pc.index_in(table.column("image_id"), ok.column("image_id").combine_chunks()).combine_chunks()
    faults = _rows_where(table, pc.is_null(place), "has no such image")
    for name, own in (("image_height", "height"), ("image_width", "width")):
        differs = pc.not_equal(table.column(name), ok.column(own).combine_chunks().take(place))
        faults += _rows_where(table, pc.fill_null(differs, False), f"{name} is not that of its image")
    if pairs is not None:
        faults += pair_faults(table, pairs.filter(pc.is_in(pairs.column("image_id"), ok.column("image_id"))), queries)
    if queries is None:
        return faults
    strange = pc.invert(pc.is_in(table.column("query_id"), pa.array(queries, pa.string())))
    faults += _rows_where(table, strange, "has no such query in its set")
    if not expected.some and expected.keep_empty and table.num_rows != ok.num_rows * len(queries):
        faults.append(f"has {table.num_rows} rows for {ok.num_rows} images and {len(queries)} queries")
    return faults


def _rows_where(table: pa.Table, bad: Any, what: str) -> list[str]:
    """One line that names the first row of those."""
    rows = np.flatnonzero(np.asarray(bad))
    if not len(rows):
        return []
    names = [name for name in ("image_id", "query_id") if name in table.column_names]
    key = ", ".join(repr(table.column(name)[int(rows[0])].as_py()) for name in names)
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    return [f"row {rows[0]} ({key}){more}: {what}"]
