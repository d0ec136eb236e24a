"""The masks of both sides row by row, in one narrow table: what follows from run lengths, not these themselves.

DuckDB reads both sides' files as a stream and joins them by hashes; what its memory does not hold goes to disk.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from clipseg_ray.comparison.pairing import Pair
from clipseg_ray.comparison.side import Side
from clipseg_ray.errors import UserError, brief
from clipseg_ray.report.statistics import asked_of_row
from clipseg_ray.results import reading
from clipseg_ray.results.reading import literal
from clipseg_ray.storage import plain_errors

MEMORY = "1GB"
"""What DuckDB may take; beyond, it writes to a temporary folder of this machine."""

THREADS = 4
"""At most: each needs its share of the memory, and mask functions hold Python's lock now and then."""

_ROWS = """
CREATE TEMP VIEW {side}_rows AS
SELECT pair, image_id, CASE WHEN phrases THEN query_id ELSE '' END AS phrase, query_text, score, area, height, width,
       counts
FROM (SELECT *, {asked} AS asked FROM {side}.masks) JOIN {side}_pairs USING (asked)
"""

_GAPS = """
CREATE TEMP TABLE {side}_gaps AS
SELECT pair, image_id, true AS gap
FROM {side}_missing JOIN {side}_pairs USING (prompt_set) JOIN {side}.images USING (shard, chunk)
"""

_PHOTOS = """
CREATE TEMP TABLE photos AS
WITH a AS (SELECT image_id, any_value(status) AS status, count(*) AS n FROM a.images GROUP BY image_id),
     b AS (SELECT image_id, any_value(status) AS status, count(*) AS n FROM b.images GROUP BY image_id)
SELECT image_id, a.status AS a_status, b.status AS b_status, coalesce(a.n > 1, false) AS a_twice,
       coalesce(b.n > 1, false) AS b_twice,
       coalesce(a.status = 'ok' AND b.status = 'ok' AND a.n = 1 AND b.n = 1, false) AS compared
FROM a FULL JOIN b USING (image_id)
"""

_COMPARED = """
CREATE TEMP TABLE compared AS
WITH joined AS (
       SELECT image_id, pair, phrase, a.score AS a_score, b.score AS b_score, a.area AS a_area, b.area AS b_area,
              a.area / (a.height::BIGINT * a.width) AS a_share, b.area / (b.height::BIGINT * b.width) AS b_share,
              a.height = b.height AND a.width = b.width AS one_grid,
              greatest(a.height, b.height)::BIGINT * greatest(a.width, b.width) AS pixels,
              CASE WHEN a.area > 0 AND b.area > 0 THEN {a_fitted} END AS a_counts,
              CASE WHEN a.area > 0 AND b.area > 0 THEN {b_fitted} END AS b_counts
       FROM a_rows a FULL JOIN b_rows b USING (image_id, pair, phrase)),
     measured AS (
       SELECT *, a_area IS NULL AND (coalesce(a_gaps.gap, false) OR {a_keeps_empty}) AS a_lacks,
              b_area IS NULL AND (coalesce(b_gaps.gap, false) OR {b_keeps_empty}) AS b_lacks,
              CASE WHEN one_grid OR a_counts IS NULL THEN coalesce(a_area, 0) ELSE mask_area(a_counts) END AS a_inside,
              CASE WHEN one_grid OR b_counts IS NULL THEN coalesce(b_area, 0) ELSE mask_area(b_counts) END AS b_inside,
              CASE WHEN a_counts IS NULL THEN 0 WHEN one_grid AND a_counts = b_counts THEN a_area
                   ELSE mask_overlap(a_counts, b_counts) END AS shared
       FROM joined SEMI JOIN (FROM photos WHERE compared) USING (image_id)
            LEFT JOIN a_gaps USING (image_id, pair) LEFT JOIN b_gaps USING (image_id, pair))
SELECT image_id, pair, phrase, a_lacks, b_lacks, coalesce(a_area, 0) > 0 AS in_a, coalesce(b_area, 0) > 0 AS in_b,
       shared / nullif(a_inside + b_inside - shared, 0) AS iou,
       CASE WHEN a_counts IS NULL THEN coalesce(a_share, 0) + coalesce(b_share, 0)
            ELSE (a_inside + b_inside - 2 * shared) / pixels END AS differing,
       b_score::DOUBLE - a_score::DOUBLE AS drift
FROM measured
"""


@contextmanager
def joined(a: Side, b: Side, pairs: Sequence[Pair]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the views of both sides (``a.masks``, …), and these tables of its own:

    photos: one row an image: a_status, b_status (null where a side has no such image), a_twice, b_twice (its id is
    that of several), compared (both have it once and could read it).

    compared: one row a mask of an image that is compared: image_id, pair (its index), phrase (the query's id where it
    came with the image, else empty), a_lacks and b_lacks (the side has no answer), in_a and in_b (it is not empty),
    iou (pixels inside both / inside either; null where both are empty), differing (pixels inside one alone / those of
    the grid), drift (score in B − score in A; null without a row). Masks on two grids are held against each other on
    the larger height and width, every pixel that of the nearest centre. Rows that both sides left out because they are
    empty are not there.

    a_gaps, b_gaps: (pair, image_id) without an answer because its chunk was not computed. a_rows, b_rows: ``masks``
    with ``pair``.

    DuckDB takes ``MEMORY`` at most, whatever the size of either side.
    """
    both = {"a": a, "b": b}
    with (
        plain_errors(a.store.url),
        _explained(a, b),
        tempfile.TemporaryDirectory() as spilled,
        reading.connect_each({name: side.store for name, side in both.items()}) as connection,
    ):
        connection.execute(f"SET memory_limit = '{MEMORY}'; SET temp_directory = {literal(spilled)}")
        connection.execute(f"SET threads = {min(THREADS, os.cpu_count() or 1)}; SET preserve_insertion_order = false")
        for name, side in both.items():
            queries = [getattr(pair, name) for pair in pairs]
            columns = {
                "pair": pa.array(range(len(queries)), pa.int32()),
                "asked": pa.array([query.query_id for query in queries], pa.string()),
                "prompt_set": pa.array([query.prompt_set for query in queries], pa.string()),
                "phrases": pa.array([query.from_images for query in queries], pa.bool_()),
            }
            connection.register(f"{name}_pairs", pa.table(columns))
            connection.register(f"{name}_missing", _missing(side))
            connection.execute(_ROWS.format(side=name, asked=asked_of_row(side.queries)))
            connection.execute(_GAPS.format(side=name))
        connection.execute(_PHOTOS)
        connection.execute(
            _COMPARED.format(
                a_fitted=_fitted("a"),
                b_fitted=_fitted("b"),
                a_keeps_empty=a.keeps_empty,
                b_keeps_empty=b.keeps_empty,
            )
        )
        yield connection


@contextmanager
def _explained(a: Side, b: Side) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise UserError(
            f"{a.url}, {b.url}: cannot be compared ({brief(error)}); clipseg-ray verify says what is wrong with one"
        ) from error


def _fitted(side: str) -> str:
    """SQL for the counts of ``side`` (``a`` or ``b``) on the grid that holds both masks' pixels."""
    own = f"{side}.counts, {side}.height, {side}.width"
    return (
        f"CASE WHEN a.height = b.height AND a.width = b.width THEN {side}.counts "
        f"ELSE mask_resize({own}, greatest(a.height, b.height), greatest(a.width, b.width)) END"
    )


def _missing(side: Side) -> pa.Table:
    sets, shards, chunks = zip(*side.gaps, strict=True) if side.gaps else ((), (), ())
    return pa.table(
        {
            "prompt_set": pa.array(sets, pa.string()),
            "shard": pa.array(shards, pa.string()),
            "chunk": pa.array(chunks, pa.int32()),
        }
    )
